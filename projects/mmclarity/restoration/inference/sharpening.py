"""Narrower edges for what the general network restored, in tiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..general.appraisal import Appraisal
from ..general.weights import sharpen_general
from ..ops.edges import REACH
from .tiling import restore_tiled

__all__ = ['sharpened']

# Three eighths of an overlap have no weight, next to the false edge of a tile.
OVERLAP = -(-8 * REACH // 3)


def sharpened(
    restored: np.ndarray,
    like: Appraisal,
    amount: float,
    tiling: Mapping[str, int],
    device: torch.device,
) -> np.ndarray:
    """Narrows the edges of a restored image; see :func:`..general.weights.sharpen_general`.

    Args:
        restored: (H, W) float32 in [0, 1], by the general network.
        like: of the noisy image.
        amount: factor on how much.
        tiling: options of :func:`.tiling.restore_tiled`; the overlap is what edges need.
        device: that computes.

    Returns:
        (H, W) float32 in [0, 1].
    """

    def function(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            return sharpen_general(batch.to(device), like, amount)

    overlap = min(OVERLAP, tiling['tile'])
    return restore_tiled(function, restored, **{**tiling, 'overlap': overlap})
