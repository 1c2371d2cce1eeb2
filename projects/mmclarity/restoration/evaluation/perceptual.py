"""LPIPS, where its weights are at hand: nothing is downloaded."""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

# ImageNet weights of torchvision's AlexNet, in the cache of torch.hub.
ALEXNET = 'alexnet-owt-7be5be79.pth'


def lpips_weights() -> Path | None:
    """The file of AlexNet's weights, or None where it or the package ``lpips`` is missing.

    Examples:
        >>> from mmclarity.restoration.evaluation import lpips_weights
        >>> path = lpips_weights()
        >>> path is None or path.suffix == '.pth'
        True
    """
    file = Path(torch.hub.get_dir()) / 'checkpoints' / ALEXNET
    return file if find_spec('lpips') is not None and file.is_file() else None


@lru_cache(maxsize=1)
def _network(file: Path) -> nn.Module:
    from lpips import LPIPS

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torchvision's on how the package asks for the weights
        return LPIPS(net='alex', verbose=False).eval().requires_grad_(False)


def lpips_distance(restored: np.ndarray, reference: np.ndarray) -> float | None:
    """LPIPS with AlexNet, version 0.1 (Zhang et al., CVPR 2018); 0 for equal images.

    It was made to agree with people on photographs: of micrographs it is one more opinion.

    Args:
        restored: (H, W) in [0, 1], at least 32 x 32.
        reference: Of the same shape, in [0, 1].

    Returns:
        The distance; None where :func:`lpips_weights` finds no weights.

    Raises:
        ValueError: If shapes differ or are too small.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.evaluation import lpips_distance
        >>> distance = lpips_distance(np.zeros((64, 64)), np.zeros((64, 64)))
        >>> distance in (None, 0.0)
        True
    """
    if restored.shape != reference.shape or min(restored.shape) < 32:
        raise ValueError(
            'LPIPS compares images of one shape of at least 32 x 32, got '
            f'{restored.shape} and {reference.shape}'
        )
    file = lpips_weights()
    if file is None:
        return None
    images = (
        torch.from_numpy(np.ascontiguousarray(image)).float().expand(1, 3, -1, -1)
        for image in (restored, reference)
    )
    return float(_network(file)(*images, normalize=True))
