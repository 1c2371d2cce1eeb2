"""What was found in an image."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np

from mmclarity.errors import DataError, UsageError

#: Objects judged so many times smaller than in other images are lost in great number.
_MUCH_SMALLER = 2.0
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

    def moved(self, right: int, down: int) -> Detections:
        """The same, each box so many pixels to the right and down."""
        return replace(self, boxes=self.boxes + np.array([right, down] * 2, self.boxes.dtype))

    @property
    def names(self) -> list[str]:
        """Name of each detection."""
        return [self.classes[label] for label in self.labels]


def too_long(image: np.ndarray, scale: Sequence[int] | None) -> str:
    """What to say of an image so long that it is shrunk far more than others; '' if it is not.

    Args:
        image: (H, W, ...), not empty.
        scale: Longer and shorter side to which a detector brings images, their ratio kept; None if
            it does not.

    Examples:
        >>> too_long(np.zeros((1080, 1920, 3)), (1333, 800))
        ''
        >>> too_long(np.zeros((100, 1600, 3)), (1333, 800))[:58]
        '1600 x 100 pixels are brought to 1333 x 83, which shows ob'
    """
    if scale is None:
        return ''
    height, width = image.shape[:2]
    factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
    smaller = min(scale) / (min(height, width) * factor)
    if smaller < _MUCH_SMALLER:
        return ''
    return (
        f'{width} x {height} pixels are brought to {width * factor:.0f} x {height * factor:.0f}, '
        f'which shows objects {smaller:.1f} times smaller than in images that are less long. '
        'Unless the detector was trained on such, cut it into parts that overlap'
    )


def check_images(
    images: Iterable[np.ndarray], scale: Sequence[int] | None = None
) -> list[np.ndarray]:
    """Refuse one image in the place of several, and of several what :func:`check_image` refuses.

    Args:
        images: A list, or whatever else can be gone through once.
        scale: As of :func:`too_long`, whose words become a warning.

    Returns:
        The images.

    Raises:
        DataError: Saying what it is.
    """
    one = isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4)
    if one or not isinstance(images, Iterable):
        given = type(images).__name__
        raise DataError(
            f'a detector takes a list of images: write detector([image])[0] for one; got a {given} '
            '(mmclarity.detection.inference.read_image reads files)'
        )
    images = list(images)
    for image in images:
        check_image(image)
        if text := too_long(image, scale):
            warnings.warn(text, stacklevel=3)
    return images


def check_threshold(threshold: float) -> float:
    """Refuse what is no score.

    Raises:
        UsageError: Saying what it must be.
    """
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise UsageError(f'threshold must be a score from 0 to 1, got {threshold!r}')
    return threshold


def check_image(image: np.ndarray) -> None:
    """Refuse what is no (H, W, 3) of 8 bit, or so narrow that nothing of it would be left.

    Raises:
        DataError: Saying what it is.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(
            f'an image must be a numpy array (H, W, 3) of 8 bit, blue first, got {_short(image)}; '
            'read a file by mmclarity.detection.inference.read_image'
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f'an image must be (H, W, 3) of 8 bit, blue first, got {image.shape} of '
            f'{image.dtype}; mmclarity.detection.inference.read_image reads files so'
        )
    height, width = image.shape[:2]
    if not height or not width:
        raise DataError(f'{width} x {height} pixels: the image is empty')
    if max(height, width) > MOST_RATIO * min(height, width):
        raise DataError(
            f'{width} x {height} pixels: one side is more than {MOST_RATIO} times the other; '
            'cut the image into parts'
        )


def _short(value: object) -> str:
    """A path as it is, of all else the kind: arrays of other libraries would be printed in full."""
    if value is None:
        return 'None'
    return repr(str(value)) if isinstance(value, str | Path) else f'a {type(value).__name__}'
