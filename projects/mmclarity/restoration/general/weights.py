"""The weights that ship with the package, and one batch restored with them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmclarity.errors import CheckpointError

from .appraisal import Appraisal
from .network import GeneralUNet

__all__ = ['WEIGHTS', 'load_general', 'restore_general']

WEIGHTS = Path(__file__).parent / 'general.safetensors'
# Pixels mirrored around an image: training priced the outermost ones of a patch too little.
EDGE = 16


def load_general(path: str | Path = WEIGHTS, device: str = 'cpu') -> GeneralUNet:
    """The general network, in evaluation mode.

    Args:
        path: safetensors of ``tools/train_general_restorer.py``.
        device: of torch.

    Raises:
        CheckpointError: missing, damaged, or weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        remedy = 'install the package again' if path == WEIGHTS else 'check the name'
        raise CheckpointError(f'{path}: no such file; {remedy}')
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path}: can not be read: {error}; copy it again') from error
    net = GeneralUNet()
    try:
        net.load_state_dict({name: value.float() for name, value in state.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f'{path}: are weights of another network than the general restorer; those of '
            'mmclarity-adapt fit, others need their config'
        ) from error
    return net.to(device, memory_format=torch.channels_last).eval()


def restore_general(
    net: GeneralUNet, levels: Tensor, image: Appraisal, strength: float = 1.0
) -> Tensor:
    """Restores tiles of one image.

    Args:
        net: from :func:`load_general`.
        levels: (N, 1, H, W), 0 black and 1 white.
        image: of the whole image.
        strength: factor on the noise the network is told of.

    Returns:
        (N, 1, H, W) float32 in [0, 1].
    """
    noise = levels.new_tensor(image.told(strength)).expand(len(levels), 3)
    padded = F.pad(
        levels, (EDGE,) * 4, mode='reflect' if min(levels.shape[2:]) > EDGE else 'replicate'
    )
    restored = net(padded * image.gain + image.offset, noise)
    restored = restored[..., EDGE:-EDGE, EDGE:-EDGE]
    return ((restored - image.offset) / image.gain).clamp(0, 1)
