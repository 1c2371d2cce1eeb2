"""How an image is best cut for a network: in what precision, how large, and overlapping how far.

What a network sees in theory (its receptive field) is far more than what sways its output: in a
U-net the influence of a pixel falls off like a bell (Luo et al., NeurIPS 2016). The overlap of
tiles is therefore measured: how far from a false edge the output still differs by more than one
grey level of 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mmclarity.engine.hooks.precision import has_bfloat16_units
from mmclarity.utils.memory import memory_of_machine

__all__ = [
    'EDGE_TOLERANCE',
    'best_dtype',
    'default_tile',
    'measured_overlap',
    'memory_of_machine',
    'workers_by_memory',
]

# Where tiles are blended, they may differ from the whole image by this much of the range.
EDGE_TOLERANCE = 1 / 255
# Of the network that ships: at 33 % noise a third of the tolerance is used, with 128 more than all;
# benchmarks/restore_overlap.py measures it, and tests/restoration/inference.
GENERAL_OVERLAP = 160
# Bytes a pixel that a U-net of 32 channels at full resolution takes in float32, rounded up so that
# the overlap has room; the network that ships takes half.
BYTES_PER_PIXEL = 1000
# Larger tiles gain little: those of 2048 cost a tenth more than the image at once.
LARGEST_TILE, SMALLEST_TILE = 2048, 256
# Share of the memory that tiles may take.
SHARE = 4
# Side of the picture on which the influence of an edge is measured; half of it is cut away.
PROBE = 512


def best_dtype(network: nn.Module, device: str) -> torch.dtype | None:
    """The precision that a network is restored with where none is asked for.

    Args:
        network: bfloat16 is chosen only for one that says ``float32_output = True``: that what it
            makes of bfloat16 features comes out finer than bfloat16's 1/256.
        device: of torch.

    Returns:
        bfloat16 on a processor that computes in it; else None, float32.
    """
    able = getattr(network, 'float32_output', False)
    return torch.bfloat16 if able and device == 'cpu' and has_bfloat16_units() else None


def default_tile(device: str, batch_size: int) -> int:
    """The side of the tiles where none is asked for, less their overlap.

    It depends on the memory that the machine has, not on what is free at the moment: the same
    image gives the same result today and tomorrow.

    Args:
        device: of torch.
        batch_size: tiles at once.

    Returns:
        Pixels, a multiple of 64 between 256 and 2048.
    """
    pixels = memory_of_machine(device) / SHARE / BYTES_PER_PIXEL / batch_size
    return int(min(max(pixels**0.5 // 64 * 64, SMALLEST_TILE), LARGEST_TILE))


def workers_by_memory() -> int:
    """How many processes may work in tiles of :func:`default_tile` at once on the processor."""
    memory = memory_of_machine('cpu')
    each = min(memory / SHARE, LARGEST_TILE**2 * BYTES_PER_PIXEL)
    return max(1, int(0.75 * memory / each))


def measured_overlap(
    function: Callable[[Tensor], Tensor], align: int, tolerance: float = EDGE_TOLERANCE
) -> int | None:
    """Measures how far tiles have to overlap for a network.

    A noisy picture is restored whole and cut in two, along rows and along columns. From the false
    edge inwards, the last place is looked for where the two differ by more than the tolerance.

    Args:
        function: (N, 1, h, w) float32 in [0, 1] to the same shape.
        align: the network's stride.
        tolerance: of the range.

    Returns:
        Pixels, so that :func:`.tiling.tile_weights` gives no weight to what the edge sways; None
        where the edge is felt in more than half of the half picture, as with networks that
        normalise with statistics of the image.
    """
    side = -(-PROBE // (2 * align)) * 2 * align
    middle, picture = side // 2, _probe(side)
    whole = _apply(function, picture)
    reach = 0
    for turn in (False, True):
        for part in (slice(0, middle), slice(middle, side)):
            cut = (slice(None), part) if turn else (part, slice(None))
            differ = np.abs(_apply(function, picture[cut]) - whole[cut])
            swayed = (differ > tolerance).any(axis=0 if turn else 1)
            if part.start:
                swayed = swayed[::-1]  # now the false edge is at the end
            reach = max(reach, len(swayed) - int(swayed.argmax()) if swayed.any() else 0)
    if reach > middle // 2:
        return None
    # three eighths of the overlap have no weight
    return -(-8 * max(reach, 1) // 3)


def _apply(function: Callable[[Tensor], Tensor], picture: np.ndarray) -> np.ndarray:
    batch = torch.from_numpy(np.ascontiguousarray(picture))[None, None]
    return function(batch)[0, 0].float().cpu().numpy()


def _probe(side: int) -> np.ndarray:
    """(side, side) float32 in [0, 1]: patches of five grey levels under noise."""
    random = np.random.default_rng(0)
    patches = cv2.GaussianBlur(random.standard_normal((side, side)).astype(np.float32), (0, 0), 10)
    patches = np.round(4 * (patches - patches.min()) / max(float(np.ptp(patches)), 1e-6)) / 4
    noise = random.standard_normal((side, side)).astype(np.float32)
    return (0.1 + 0.8 * patches + 0.1 * noise).clip(0, 1).astype(np.float32)
