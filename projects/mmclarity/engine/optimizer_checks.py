"""What can be known of optimisers before anything is built."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.device import get_device
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from mmclarity.errors import UsageError

from .names import check_keys, check_number, hint, items

_CLIPPERS = {'norm': clip_grad_norm_, 'value': clip_grad_value_}
# Of mmengine's DefaultOptimWrapperConstructor, which takes any other and does nothing with it.
_PARAMWISE = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult'),
    *('dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate'),
)


def check_optimizers(cfg: Config) -> None:
    """Refuse misspelt keys and values out of range in ``optim_wrapper``.

    Raises:
        UsageError: naming the key, and what it may have been meant to be.
    """
    for place, wrapper in items('optim_wrapper', cfg.get('optim_wrapper')):
        several = 'constructor' in wrapper and 'optimizer' not in wrapper
        parts = (
            {f'{place}.{k}': v for k, v in wrapper.items() if isinstance(v, dict)}
            if several
            else {place: wrapper}
        )
        for where, part in parts.items():
            _check_amp(where, part.get('type'))
            if 'constructor' not in part and 'optimizer' in part:  # which may take further keys
                typed = dict(part, type=part.get('type', 'OptimWrapper'))
                check_keys(where, typed, registry.OPTIM_WRAPPERS)
                _check_paramwise(where, part.get('paramwise_cfg'))
            _check_clipping(f'{where}.clip_grad', part.get('clip_grad'))
            optimizer = part.get('optimizer')
            if not isinstance(optimizer, dict):
                continue
            check_keys(f'{where}.optimizer', optimizer, registry.OPTIMIZERS)
            for key in ('lr', 'weight_decay', 'momentum', 'eps'):
                if key in optimizer and optimizer[key] is not None:
                    check_number(f'{where}.optimizer.{key}', optimizer[key])


def _check_amp(place: str, kind: Any) -> None:
    """Refuse mixed precision as mmengine has it, and published configs ask for it, on a CPU."""
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    if name.rpartition('.')[2] == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise UsageError(
            f"{place}: mmengine's AmpOptimWrapper works on a GPU only, and there is none: give "
            f'--amp, or --cfg-options {place}.type=AutocastOptimWrapper'
        )


def _check_clipping(place: str, clip: Any) -> None:
    """Only torch would look at it, at the first step."""
    if not clip:
        return
    if not isinstance(clip, dict):
        raise UsageError(f'{place} must be a dict such as dict(max_norm=35), got {clip!r}')
    kind = clip.get('type', 'norm')
    if kind not in _CLIPPERS:
        raise UsageError(f'{place}.type must be one of {", ".join(_CLIPPERS)}, got {kind!r}')
    known = set(inspect.signature(_CLIPPERS[kind]).parameters) - {'parameters'}
    for key in clip:
        if key not in known and key != 'type':
            raise UsageError(f'{place} has no {key!r}; {hint(key, known)}')
    limit = {'norm': 'max_norm', 'value': 'clip_value'}[kind]
    if limit not in clip:
        raise UsageError(f'{place} needs {limit}')
    check_number(f'{place}.{limit}', clip[limit])


def _check_paramwise(place: str, given: Any) -> None:
    if not given:
        return
    if not isinstance(given, dict):
        raise UsageError(f'{place}.paramwise_cfg must be a dict, got {given!r}')
    for key, value in given.items():
        if key not in _PARAMWISE:
            raise UsageError(f'{place}.paramwise_cfg has no {key!r}; {hint(key, _PARAMWISE)}')
        if key.endswith('_mult'):
            check_number(f'{place}.paramwise_cfg.{key}', value)
