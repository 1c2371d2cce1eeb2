"""Top-level variables of a config, set on the command line.

Python puts the value of ``data_root``, ``vis_backends``, ``stimuli`` or any other variable into the
settings while the file is read; an option that arrives afterwards has to follow it there.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmclarity.errors import UsageError

_SETTINGS = set(inspect.signature(Runner.__init__).parameters)
_SHOWN = 6


def set_options(cfg: Config, options: dict) -> None:
    """Merge ``--cfg-options``; variables are carried to all settings that were made from them.

    - Text with a slash (a folder, a file) is replaced where it stands, and where it begins a path.
    - Lists, tuples and dicts with text in them are replaced wherever the old value stands.
    - Numbers, words and lists of numbers stand for too much to be known again: they are refused,
      with the settings that now have their value, unless there are none.
    - Visualisation backends may be given by their names.

    Options for settings themselves win over variables.

    Args:
        cfg: Changed in place.
        options: Values by dotted name.

    Raises:
        UsageError: If a number or word has been used already.
    """
    options = dict(_backends(cfg, *item) for item in options.items())
    roots = {name.partition('.')[0] for name in options}
    # Paths first: lists and dicts may hold them.
    variables = [root for root in roots if root in cfg and root not in _SETTINGS]
    for root in sorted(variables, key=lambda root: (not _is_path(cfg[root]), root)):
        old = copy.deepcopy(cfg[root])
        if not _is_path(old) and not _is_structure(old):
            _refuse_used(cfg, root, old, options.get(root, old))
            continue
        cfg.merge_from_dict({k: v for k, v in options.items() if k.partition('.')[0] == root})
        new = cfg[root]
        for key in [key for key in cfg if key != root]:
            if _is_path(old):
                cfg[key] = replace_root(cfg[key], old, str(new))
            else:
                cfg[key] = _replace_equal(cfg[key], old, new)
    for name in options:
        _open(cfg, name.split('.')[:-1])
    cfg.merge_from_dict(options)


def _open(cfg: Any, path: list[str]) -> None:
    """What is None where an option goes below it becomes an empty dict, as mmengine wants it."""
    at = cfg
    for name in path:
        is_place = isinstance(at, list) and name.isdigit() and int(name) < len(at)
        key: Any = int(name) if is_place else name
        if not is_place and not (isinstance(at, Config | dict) and name in at):
            return
        if at[key] is None:
            at[key] = {}
        at = at[key]


def _backends(cfg: Config, name: str, value: Any) -> tuple[str, Any]:
    """Visualisation backends by their names alone."""
    if name not in ('vis_backends', 'visualizer.vis_backends'):
        return name, value
    items = value if isinstance(value, list | tuple) else [value]
    name = name if name in cfg else 'visualizer.vis_backends'
    return name, [dict(type=item) if isinstance(item, str) else item for item in items]


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and '/' in value and '://' not in value


def _is_structure(value: Any) -> bool:
    """Whether a value is so much itself that it is known again: more than a few numbers."""
    if not isinstance(value, dict | list | tuple):
        return False
    return any(isinstance(leaf, str) for _, leaf in _leaves(value, ''))


def replace_root(value: Any, old: str, new: str) -> Any:
    """A copy of ``value`` with ``new`` in every path that is, or begins with, ``old``."""
    if isinstance(value, dict):
        return {key: replace_root(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replace_root(item, old, new) for item in value)
    if isinstance(value, str):
        folder = old.rstrip('/')
        if value.rstrip('/') == folder:
            return new
        if value.startswith(f'{folder}/'):
            return f'{new.rstrip("/")}/{value[len(folder) + 1 :]}'
    return value


def _replace_equal(value: Any, old: Any, new: Any) -> Any:
    if type(value) is type(old) and value == old:
        return copy.deepcopy(new)
    if isinstance(value, dict):
        return {key: _replace_equal(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replace_equal(item, old, new) for item in value)
    return value


def _refuse_used(cfg: Config, name: str, old: Any, new: Any) -> None:
    if old is None or isinstance(old, bool) or new == old:
        return
    places = [
        place
        for key in cfg
        if key in _SETTINGS
        for place, value in _nodes(cfg[key], key)
        if type(value) is type(old) and value == old
    ]
    if places:
        shown = ', '.join(places[:_SHOWN]) + (', ...' if len(places) > _SHOWN else '')
        raise UsageError(
            f'--cfg-options {name}={new}: the config has already used its {name}={old}, and a '
            f'number or word cannot be followed. Set what was made from it: {shown}'
        )


def _nodes(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """A value and all that is in it, with dotted names."""
    yield place, value
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _nodes(item, f'{place}.{key}')


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    for node in _nodes(value, place):
        if not isinstance(node[1], dict | list | tuple):
            yield node
