"""A restorer from its config and checkpoint, and how its tiles have to overlap."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import load_weights

from ..general.network import GeneralUNet
from ..models.restorers import generator_of

__all__ = ['build_restorer', 'default_overlap']


def build_restorer(
    config: str | Path | Config, checkpoint: str | Path, device: str = 'cpu'
) -> nn.Module:
    """Builds a restorer of mmagic and loads its weights, in evaluation mode.

    Where training kept a moving average of the weights (mmengine's EMAHook), ``state_dict`` of its
    checkpoints is the average: it is what gets loaded.

    Raises:
        UsageError: the config has no model, or the checkpoint is missing, damaged, or of another
            model.
        TypeError: the model is no restorer.
    """
    cfg = config if isinstance(config, Config) else load_config(str(config))
    if 'model' not in cfg:
        raise UsageError(f'{cfg.filename or "the config"} has no model')
    from mmagic.registry import MODELS  # its models may be named in the config

    # not for good: the caller may work with another library's scope
    with DefaultScope.overwrite_default_scope('mmagic'):
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
