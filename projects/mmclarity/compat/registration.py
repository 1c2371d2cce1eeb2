"""Classes that are registered when their registry is looked into, not on import."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

from . import finder

__all__ = ['register_on_demand']


def register_on_demand(module: str, *holders: str) -> None:
    """Adds a module to the locations that mmengine's registries import at their first look-up.

    mmengine's ``Registry(locations=[...])`` is how mmdet registers its own classes late. Nothing is
    imported here: a holder that has not been imported is waited for; where one of its registries
    has imported its locations already, ``module`` is imported at once.

    Args:
        module: What registers its classes when it is imported.
        *holders: Modules that hold registries, such as ``mmdet.registry``.
    """
    for holder in holders:
        finder.when_imported(holder, partial(_add_location, module, holder))


def _add_location(module: str, holder: str) -> None:
    from mmengine.registry import Registry

    scope = holder.partition('.')[0]
    found = [item for item in vars(sys.modules[holder]).values() if isinstance(item, Registry)]
    own = [item for item in found if item.scope == scope]
    for registry in own:
        if module not in registry._locations:
            # A new list: registries without locations share their default one.
            registry._locations = [*registry._locations, module]
    if any(registry._imported for registry in own):
        import_module(module)
