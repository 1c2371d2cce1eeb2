"""What was found in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmclarity.errors import DataError

#: Longer side over shorter one: resized to a detector's size, more would leave no pixel.
MOST_RATIO = 200


@dataclass(frozen=True)
class Detections:
    """What was found in one image, most certain first.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the image, half-open.
        scores: (N,) from 0 to 1.
        labels: (N,) place of each class in ``classes``.
        classes: Names of the classes that the detector knows.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.inference import Detections
        >>> scores, labels = np.array([0.9]), np.array([1])
        >>> found = Detections(np.zeros((1, 4)), scores, labels, classes=('car', 'bus'))
        >>> found.names
        ['bus']
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """Name of each detection."""
        return [self.classes[label] for label in self.labels]


def check_images(images: Sequence[np.ndarray]) -> None:
    """Refuse one image in the place of a list, and in a list what :func:`check_image` refuses.

    Raises:
        DataError: Saying what it is.
    """
    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise DataError('a detector takes a list of images: write detector([image])[0] for one')
    for image in images:
        check_image(image)


def check_image(image: np.ndarray) -> None:
    """Refuse what is no (H, W, 3) of 8 bit, or so narrow that nothing of it would be left.

    Raises:
        DataError: Saying what it is.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(
            f'an image must be an array (H, W, 3) of 8 bit, got {image!r:.60}; read a file by '
            'mmclarity.detection.inference.read_image'
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f'an image must be (H, W, 3) of 8 bit, blue first, got {image.shape} of '
            f'{image.dtype}; mmclarity.detection.inference.read_image reads files so'
        )
    height, width = image.shape[:2]
    if max(height, width) > MOST_RATIO * min(height, width):
        raise DataError(
            f'{width} x {height} pixels: one side is more than {MOST_RATIO} times the other; '
            'cut the image into parts'
        )
