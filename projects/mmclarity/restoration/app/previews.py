"""What the page shows of a picture: before and after as PNG, and its particles."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmclarity.utils.files import write_bytes

from ..inference.uncertainty import shown_range

# Larger pictures are shown reduced; files are never.
MOST_PIXELS = 2400

__all__ = ['save_previews']


def save_previews(
    folder: Path,
    page: int,
    before: np.ndarray,
    after: np.ndarray,
    sharp: np.ndarray | None = None,
) -> tuple[int, int, float]:
    """Writes ``PAGE_before.png``, ``PAGE_after.png`` and the like, all in one scale of grey.

    Args:
        folder: where to.
        page: from 0.
        before: (H, W) in [0, 1].
        after: as ``before``.
        sharp: as ``before``; None for no ``PAGE_sharp.png``.

    Returns:
        Width and height of the previews, and their scale: 1, or less for a large picture.
    """
    low, high = shown_range(after)
    scale = min(1.0, MOST_PIXELS / max(after.shape))
    size = tuple(max(1, round(length * scale)) for length in after.shape[::-1])
    for name, picture in (('before', before), ('after', after), ('sharp', sharp)):
        if picture is None:
            continue
        small = picture
        if scale < 1:
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        grey = ((small - low) / (high - low)).clip(0, 1) * 255
        _, data = cv2.imencode(
            '.png', np.rint(grey).astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1]
        )
        write_bytes(folder / f'{page}_{name}.png', data.tobytes())
    return size[0], size[1], scale
