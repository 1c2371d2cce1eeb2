"""What mmagic's transforms lack for SEM images."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomSEMCrop(BaseTransform):
    """A square of an image, mirrored and turned at random: clean images have no scan direction.

    An image smaller than the square is mirrored outwards first.

    Args:
        size: Side of the square in pixels.
        key: Of the (H, W, 1) image. Defaults to 'gt'.
        gain: Range of a factor on the grey levels, for other contrasts than
            those of the training images. Defaults to (1, 1).
        scale: Range of a factor on the size, below 1 for smaller particles
            with steeper edges (averaged over areas), above 1 for larger and softer ones. A
            network trained on references of one sharpness draws every edge as steep as those.
            Defaults to (1, 1).

    Raises:
        ValueError: If the size is below 1 or scale is not a range of positive numbers.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.datasets import RandomSEMCrop
        >>> crop = RandomSEMCrop(size=32)
        >>> crop(dict(gt=np.zeros((64, 96, 1), np.float32)))['gt'].shape
        (32, 32, 1)
    """

    def __init__(
        self,
        size: int,
        key: str = 'gt',
        gain: tuple[float, float] = (1.0, 1.0),
        scale: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        if size < 1:
            raise ValueError(f'size must be at least 1, got {size}')
        if not 0 < scale[0] <= scale[1] < np.inf:
            raise ValueError(f'scale must be a range of positive numbers, got {scale}')
        self.size, self.key, self.gain, self.scale = size, key, tuple(gain), tuple(scale)

    def transform(self, results: dict) -> dict:
        """Cut the square out, in place of the image."""
        image = results[self.key]
        scale = np.random.uniform(*self.scale) if self.scale != (1.0, 1.0) else 1.0
        side = max(1, round(self.size / scale))
        missing = [max(0, side - length) for length in image.shape[:2]]
        if any(missing):
            image = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode='symmetric')
        top, left = (np.random.randint(length - side + 1) for length in image.shape[:2])
        square = image[top : top + side, left : left + side]
        if side != self.size:
            interpolation = cv2.INTER_AREA if side > self.size else cv2.INTER_CUBIC
            square = cv2.resize(
                square.astype(np.float32), (self.size, self.size), interpolation=interpolation
            ).reshape(self.size, self.size, -1)
        square = np.rot90(square, np.random.randint(4))
        if np.random.randint(2):
            square = square[:, ::-1]
        factor = np.float32(np.random.uniform(*self.gain)) if self.gain != (1.0, 1.0) else 1
        results[self.key] = np.ascontiguousarray(np.clip(square * factor, 0, 255))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, key={self.key!r}, gain={self.gain}, '
            f'scale={self.scale})'
        )
