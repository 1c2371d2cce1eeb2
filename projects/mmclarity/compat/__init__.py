"""What lets the frozen OpenMMLab releases run on today's libraries, without a compiler.

:func:`install` puts one finder of imports in place (:mod:`.finder`); the start-up file of the
installed package has called it already. All else happens when OpenMMLab's modules are imported:
operators (:mod:`.mmcv_ext`), what has gone from Python and numpy (:mod:`.shims`), packages that
mmagic imports and does not need (:mod:`.stand_ins`), our own classes (:mod:`.registration`).
"""

from __future__ import annotations

from .finder import EXT_NAME, install

__all__ = [
    'EXT_NAME',
    'MissingOperatorError',
    'allow_checkpoint_types',
    'install',
    'nms',
    'operators',
    'register_on_demand',
    'roi_align_backward',
    'roi_align_forward',
]

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from .mmcv_ext import (
        MissingOperatorError,
        nms,
        operators,
        roi_align_backward,
        roi_align_forward,
    )
    from .registration import register_on_demand
    from .shims import allow_checkpoint_types


def __getattr__(name: str) -> object:
    """The rest, whose modules import torch, when it is asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    if name == 'register_on_demand':
        from . import registration as module
    elif name == 'allow_checkpoint_types':
        from . import shims as module
    else:
        from . import mmcv_ext as module
    value = getattr(module, name)
    globals()[name] = value
    return value
