"""Names of a config beside those that there are: what was meant, and what a class takes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine import registry

from mmclarity.errors import UsageError

# Below a model: what is built with keys that its class does not have.
_OWN_KEYS = (
    *('norm_cfg', 'conv_cfg', 'act_cfg', 'init_cfg', 'upsample_cfg', 'plugins', 'dcn'),
    'ema_config',
)
_CLOSE, _CLOSER = 0.8, 0.88


def close_to(name: str, known: Iterable[str], cutoff: float = _CLOSE) -> str | None:
    """The name that was meant, if one is near enough; ``batchsize`` is ``batch_size``."""
    return next(iter(close_ones(name, known, 1, cutoff)), None)


def close_ones(name: str, known: Iterable[str], most: int = 3, cutoff: float = _CLOSE) -> list[str]:
    """The names that may have been meant, the nearest first.

    Examples:
        >>> close_ones('sa_frcnn.py', ['sta_frcnn.py', 'unet.py', 'frcnn.py'])
        ['sta_frcnn.py', 'frcnn.py']
    """
    names = {item.replace('_', '').lower(): item for item in known}
    found = difflib.get_close_matches(name.replace('_', '').lower(), names, most, cutoff)
    return [names[item] for item in found]


def hint(name: str, known: Iterable[str]) -> str:
    """What to say after 'there is no NAME'."""
    known = sorted(known)
    near = close_to(name, known)
    return f'did you mean {near!r}?' if near else f'it may have {", ".join(known)}'


def items(place: str, value: Any) -> Iterator[tuple[str, dict]]:
    """A dict, or the dicts of a list, with their places."""
    if isinstance(value, dict):
        yield place, value
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from items(f'{place}[{index}]', item)


def nested(place: str, value: Any) -> Iterator[tuple[str, dict]]:
    """All dicts with a type, however deep."""
    for where, item in items(place, value):
        if 'type' in item:
            yield where, item
        for key, inner in item.items():
            if key not in _OWN_KEYS:
                yield from nested(f'{where}.{key}', inner)


def check_keys(place: str, value: dict, kind: Any) -> None:
    """Compare the keys of a config with what its class takes."""
    found = registered(value.get('type'), kind)
    if found is None:
        refuse_type(place, value.get('type'), kind)
        return
    name = getattr(found, '__name__', str(found))
    known, takes_more = parameters(found)
    cutoff = _CLOSE
    if kind in (registry.MODELS, registry.TASK_UTILS):
        # Models hand further keys to their parts, and take keys out of what their parts get.
        deep = place.count('.') > 1
        takes_more |= deep or any(
            one.kind is one.VAR_KEYWORD for one in inspect.signature(found).parameters.values()
        )
        cutoff = _CLOSE if place == 'model' else _CLOSER
    if kind is registry.PARAM_SCHEDULERS:
        known.add('convert_to_iter_based')
        # Of its two bases one passes on to the other, whose names are known.
        takes_more &= not getattr(found, '__module__', '').startswith('mmengine.')
    if kind is registry.OPTIM_WRAPPERS:
        known |= {'constructor', 'paramwise_cfg'}
    known |= {'type', '_scope_', '_delete_', 'priority'}
    for key in value:
        if key in known or (takes_more and close_to(key, known, cutoff) is None):
            continue
        raise UsageError(f'{place}: {name} has no {key!r}; {hint(key, known - _PRIVATE)}')


def registered(name: Any, kind: Any) -> Any:
    """What a ``type`` stands for, as building would find it from the default scope."""
    if not isinstance(name, str):
        return name if callable(name) else None
    with kind.switch_scope_and_registry(None) as room:
        return room.get(name)


def refuse_type(place: str, name: Any, kind: Any) -> None:
    """What nothing is registered under could not be built.

    Raises:
        UsageError: naming the nearest that there is.
    """
    if not isinstance(name, str):
        return  # none at all, or something with a default
    with kind.switch_scope_and_registry(None) as room:
        rooms = [room]
        while rooms[-1].parent is not None:
            rooms.append(rooms[-1].parent)
        near = close_to(name.rpartition('.')[2], {key for one in rooms for key in one.module_dict})
    if near is None and kind is registry.MODELS:
        return  # models of optional packages; building tells it
    meant = f'did you mean {near!r}?' if near else 'a name of custom_imports, perhaps?'
    raise UsageError(f'{place}.type: there is no {name!r} (a {kind.name}); {meant}')


_PRIVATE = {'_scope_', '_delete_', 'self', 'args', 'kwargs', 'params', 'priority'}


def parameters(found: Any) -> tuple[set[str], bool]:
    """Names of the parameters of a class or function, and whether it passes further ones on."""
    kinds = found.__mro__ if inspect.isclass(found) else (found,)
    known: set[str] = set()
    # With several bases nobody but the class knows whom it hands what.
    several = any(len(getattr(one, '__bases__', ())) > 1 for one in kinds)
    for one in kinds:
        try:
            target = one.__dict__.get('__init__') if inspect.isclass(one) else one
            taken = inspect.signature(target).parameters if target is not None else {}
        except (TypeError, ValueError):  # built into Python
            return known, True
        known |= set(taken)
        more = any(item.kind is item.VAR_KEYWORD for item in taken.values())
        if target is not None and not more and not (several and one is not found):
            return known, False  # what is above gets nothing that is not named here
    return known, True


def check_whole(place: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or too small a one."""
    if isinstance(value, float) and value.is_integer() and value >= least:
        return  # such as 2e4
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f'{place} must be a whole number of {least} or more, got {value!r}')


def check_number(place: str, value: Any) -> None:
    """Refuse what is no number, or one below 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise UsageError(f'{place} must be a number, 0 or more, got {value!r}')
