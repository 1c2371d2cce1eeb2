"""Names of the layers of a network, and those that a user means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from torch import nn

from mmclarity.errors import LayerError, MissingLayerError
from mmclarity.utils.models import unwrap

from .script import refuse_frozen


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Submodules by dotted name, as ``named_modules``; names do not show wrappers inside."""
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()

    def walk(prefix: str, module: nn.Module) -> None:
        for name, child in module.named_children():
            child = unwrap(child)
            if id(child) in seen:  # One module under two names has the first.
                continue
            seen.add(id(child))
            found[f'{prefix}{name}'] = child
            walk(f'{prefix}{name}.', child)

    walk('', unwrap(model))
    return found


def resolve_layers(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Names of submodules that are given by name or matched by a regular expression.

    Args:
        model: The network.
        layers: Dotted names, or expressions that match a whole name, such as
            ``features\\.\\d+``. ``name#2`` is the second time that a module is run in one pass.

    Returns:
        In the order of ``named_modules``, each once.

    Raises:
        KeyError: If one names nothing, with the nearest names there are.
        ValueError: If there is none, an expression cannot be read, or a script has no parts.
        TypeError: If ``layers`` is a string, not a sequence of them.
    """
    if isinstance(layers, str):
        raise TypeError(
            f'layers must be a sequence of names, got the string {layers!r}; write [{layers!r}]'
        )
    if not layers:
        raise LayerError(
            'layers is empty: name at least one, e.g. those of '
            '[name for name, _ in model.named_modules()]'
        )
    refuse_frozen(model)
    names = list(named_layers(model))
    chosen: dict[str, set[str]] = {}
    for layer in layers:
        plain, call = split_call(layer)
        for name in _matches(plain, names, model):
            chosen.setdefault(name, set()).add(f'#{call}' if call else '')
    order = [
        (name, suffix)
        for name in names
        for suffix in sorted(chosen.get(name, ()), key=lambda s: (len(s), s))
    ]
    return [name + suffix for name, suffix in order]


def split_call(layer: str) -> tuple[str, int | None]:
    """``name#2`` to its name and 2; None where no run is meant."""
    match = re.fullmatch(r'(.+)#([1-9]\d*)', layer)
    return (match[1], int(match[2])) if match else (layer, None)


def _matches(layer: str, names: Sequence[str], model: nn.Module) -> list[str]:
    """What one entry of ``layers`` names."""
    if layer in names:
        return [layer]
    # Names from a compiled or wrapped model show the wrapper.
    bare = '.'.join(part for part in layer.split('.') if part not in ('_orig_mod', 'module'))
    if bare in names:
        return [bare]
    try:
        found = [name for name in names if re.fullmatch(layer, name)]
    except re.error as error:
        raise LayerError(
            f'layer {layer!r} is no module and no regular expression: {error}'
        ) from error
    if not found:
        shared = dict(model.named_modules(remove_duplicate=False)).get(layer)
        first = [name for name, module in named_layers(model).items() if module is shared]
        if first:
            raise MissingLayerError(
                f'layer {layer!r} is the same module as {first[0]!r}: give that name, with #2 '
                'for its second run'
            )
        near = difflib.get_close_matches(layer, names, 5, 0.3) or names[:5]
        raise MissingLayerError(
            f'{type(model).__name__} has no layer {layer!r}; the nearest names are '
            f'{", ".join(near)}'
        )
    return found
