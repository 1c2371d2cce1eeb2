"""A restorer from its config and checkpoint, and how its tiles have to overlap."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmclarity.engine.config import building, load_config
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import load_weights
from mmclarity.utils.devices import check_device

from ..general.network import GeneralUNet
from ..models.restorers import generator_of

__all__ = ['DTYPES', 'build_restorer', 'check_options', 'default_overlap', 'is_general', 'listed']

DTYPES = ('float32', 'bfloat16', 'float16')


def check_options(
    device: object,
    strength: object,
    dtype: object,
    tell: object,
    sharpen: object = 0.0,
    **whole: object,
) -> None:
    """Refuses options of a restorer that are of a wrong type or out of range.

    Args:
        device: of torch.
        strength: factor on the noise.
        dtype: one of :data:`DTYPES`, or None.
        tell: can be called, or None.
        sharpen: factor on how much edges are narrowed.
        **whole: whole numbers of at least 1 (an overlap: 0), or None.

    Raises:
        ValueError: naming the option and what it may be.
        UsageError: the device is not there.
    """
    if dtype not in (None, *DTYPES):
        names = ', '.join(map(repr, DTYPES))
        raise ValueError(f'dtype must be None, {names}, not {dtype!r}')
    if not isinstance(strength, Real) or not 0.1 <= strength <= 10:
        raise ValueError(f'strength must lie within 0.1 and 10, not {strength!r}')
    if not isinstance(sharpen, Real) or not 0 <= sharpen <= 3:
        raise ValueError(f'sharpen must lie within 0 and 3, not {sharpen!r}')
    if tell is not None and not callable(tell):
        raise ValueError(f'tell is called with lines of text, such as print; got {tell!r}')
    for name, value in whole.items():
        least = 0 if name == 'overlap' else 1
        if value is not None and not (isinstance(value, Integral) and value >= least):
            raise ValueError(f'{name} must be a whole number of at least {least}, got {value!r}')
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device must be a name of torch such as 'cpu', got {device!r}")
    check_device(str(device))


def build_restorer(
    config: str | Path | Config, checkpoint: str | Path, device: str = 'cpu'
) -> nn.Module:
    """Builds a restorer of mmagic and loads its weights, in evaluation mode.

    Where training kept a moving average of the weights (mmengine's EMAHook), ``state_dict`` of its
    checkpoints is the average: it is what gets loaded.

    Raises:
        UsageError: the config has no model, a detector or one that cannot be built; or the
            checkpoint is missing, damaged, or of another model.
        TypeError: the model is no restorer.
    """
    cfg = config if isinstance(config, Config) else load_config(str(config))
    if 'model' not in cfg:
        raise UsageError(f'{cfg.filename or "the config"} has no model')
    if cfg.get('default_scope') == 'mmdet':
        raise UsageError(
            f'{cfg.filename or "the config"} is of a detector (its default_scope is mmdet); give '
            'one of a restorer, such as configs/ssim_unet_sem.py of the repository, or none for '
            'the general network'
        )
    from mmagic.registry import MODELS  # its models may be named in the config

    # not for good: the caller may work with another library's scope
    with building(cfg), DefaultScope.overwrite_default_scope('mmagic'):
        model = MODELS.build(cfg.model)
    generator_of(model)
    load_weights(model, str(checkpoint))
    return model.to(device, memory_format=torch.channels_last).eval()


def default_overlap(model: nn.Module, tile: int) -> int:
    """Pixels of overlap that keep a tile's false edges below 1e-3 of the range.

    Twice the radius that the network sees leaves no trace of them; two thirds of that were enough
    in a trial with a U-net of random weights (7e-4). Networks that do not tell their radius get a
    quarter of a tile.
    """
    network = model if isinstance(model, GeneralUNet) else generator_of(model)
    radius = getattr(network, 'receptive_radius', None)
    return min(-(-4 * radius // 3) if radius is not None else tile // 4, tile // 2)


def listed(checkpoint: str | Path | Sequence[str | Path] | None) -> list[str | Path]:
    """One file or address of weights, or several; none for those of the package."""
    if checkpoint is None:
        return []
    return [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)


def is_general(weights: Sequence[str | Path]) -> bool:
    """Whether these are of the general network, which needs no config."""
    return all(str(path).endswith('.safetensors') for path in weights)
