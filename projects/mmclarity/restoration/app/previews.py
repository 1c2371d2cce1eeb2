"""What the page shows of a picture: before and after as PNG, and its particles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmclarity.utils.files import write_bytes

from ..general.appraisal import NARROW
from ..inference.uncertainty import find_doubtful

# Larger pictures are shown reduced; files are never.
MOST_PIXELS = 2400
# Of the restored grey levels, shown as black and white.
DARKEST, BRIGHTEST = 0.001, 0.999
# The share of its range that a micrograph usually takes.
USUAL = 0.6

__all__ = ['particles_of', 'save_previews', 'shown_range']


def shown_range(restored: np.ndarray) -> tuple[float, float]:
    """The levels shown as black and white: those of nearly all pixels of the restored picture.

    A 16 bit image of which a narrow range is used would be black on the screen.
    """
    step = max(1, min(restored.shape) // 2048)
    low, high = np.quantile(restored[::step, ::step], (DARKEST, BRIGHTEST))
    return (float(low), float(high)) if high - low > 1e-6 else (0.0, 1.0)


def save_previews(
    folder: Path, page: int, before: np.ndarray, after: np.ndarray
) -> tuple[int, int, float]:
    """Writes ``PAGE_before.png`` and ``PAGE_after.png``, both in one scale of grey.

    Args:
        folder: where to.
        page: from 0.
        before: (H, W) in [0, 1].
        after: as ``before``.

    Returns:
        Width and height of the previews, and their scale: 1, or less for a large picture.
    """
    low, high = shown_range(after)
    scale = min(1.0, MOST_PIXELS / max(after.shape))
    size = tuple(max(1, round(length * scale)) for length in after.shape[::-1])
    for name, picture in (('before', before), ('after', after)):
        small = picture
        if scale < 1:
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        grey = ((small - low) / (high - low)).clip(0, 1) * 255
        _, data = cv2.imencode(
            '.png', np.rint(grey).astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1]
        )
        write_bytes(folder / f'{page}_{name}.png', data.tobytes())
    return size[0], size[1], scale


def particles_of(
    restored: np.ndarray, mean: np.ndarray, std: np.ndarray, scale: float = 1.0
) -> list[Sequence[float]]:
    """Particles of a picture for the page.

    Args:
        restored: (H, W) in [0, 1].
        mean: of several restorations, (H, W).
        std: their standard deviation, (H, W).
        scale: of the previews.

    Returns:
        ``(x, y, radius, doubtful)`` of each, in pixels of the preview; ``doubtful`` is 0 or 1.
    """
    low, high = shown_range(restored)
    if high - low < NARROW:  # else nothing stands out in a picture that uses 3 % of its range
        gain = np.float32(USUAL / (high - low))
        restored, mean, std = (restored - low) * gain, (mean - low) * gain, std * gain
    particles, doubtful = find_doubtful(restored, mean, std)
    return [
        (
            round(float(column) * scale, 1),
            round(float(row) * scale, 1),
            round(max(float(radius), 2.0) * scale + 1, 1),
            int(doubted),
        )
        for (row, column, radius, _), doubted in zip(particles, doubtful)
    ]
