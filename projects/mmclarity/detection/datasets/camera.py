"""Bad light and bad cameras for training; for measuring robustness see :mod:`.corruptions`.

What is drawn comes from numpy's global generator, which mmengine seeds in every worker.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from mmdet.registry import TRANSFORMS

from .augmentation import RandomChange
from .weather import line_kernel, uniform

__all__ = ['RandomCamera', 'RandomLight']


def by_table(image: np.ndarray, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Every grey level changed by a function of levels in [0, 1]."""
    levels = curve(np.arange(256) / 255.0)
    return cv2.LUT(image, (levels * 255).round().clip(0, 255).astype(np.uint8))


def darkened(image: np.ndarray) -> np.ndarray:
    """Darker by gamma and gain; a dark frame only as far as there is something to be seen."""
    brightness = float(image[::4, ::4].mean())
    gamma = uniform(1.1, float(np.interp(brightness, [15, 60, 110], [1.2, 2.0, 4.5])))
    gain = uniform(float(np.interp(brightness, [15, 90], [0.8, 0.5])), 1.0)
    return by_table(image, lambda level: gain * level**gamma)


def brightened(image: np.ndarray) -> np.ndarray:
    """Brighter than it should be, with lights that burn out."""
    gamma, gain = uniform(0.45, 0.9), uniform(1.0, 1.4)
    return by_table(image, lambda level: gain * level**gamma)


def of_low_contrast(image: np.ndarray) -> np.ndarray:
    """All levels drawn towards one of them."""
    left, towards = uniform(0.25, 0.75), uniform(0.15, 0.75)
    return by_table(image, lambda level: towards + left * (level - towards))


def out_of_focus(image: np.ndarray) -> np.ndarray:
    """Blurred by a Gaussian of up to 2 pixels."""
    return cv2.GaussianBlur(image, (0, 0), uniform(0.5, 2.0))


def in_motion(image: np.ndarray) -> np.ndarray:
    """Blurred along a line, more often a level one: a car turns and shakes."""
    angle = uniform(-20, 20) if np.random.rand() < 0.5 else uniform(0, 180)
    return cv2.filter2D(image, -1, line_kernel(uniform(3, 13), angle))


def noisy(image: np.ndarray) -> np.ndarray:
    """Noise of a sensor: some of all pixels alike, some that grows with the light.

    Its variance is ``a + b x`` for a grey level x (Foi et al., IEEE TIP 2008).
    """
    generator = np.random.default_rng(np.random.randint(2**31))
    noise = generator.standard_normal(image.shape, np.float32)
    if np.random.rand() < 0.3:  # of brightness alone
        noise = np.repeat(noise[..., :1], image.shape[2], axis=2)
    levels = np.arange(256, dtype=np.float32)
    spread = np.sqrt(uniform(2, 25) ** 2 + uniform(0, 3) * levels)
    noise *= spread[image]
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def packed(image: np.ndarray) -> np.ndarray:
    """JPEG of low quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(uniform(8, 50))]
    return cv2.imdecode(cv2.imencode('.jpg', image, quality)[1], cv2.IMREAD_COLOR)


def coarse(image: np.ndarray) -> np.ndarray:
    """Made smaller and enlarged again, as by a camera of fewer pixels."""
    height, width = image.shape[:2]
    share = uniform(0.45, 0.85)
    small = max(round(width * share), 1), max(round(height * share), 1)
    small = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


@TRANSFORMS.register_module()
class RandomLight(RandomChange):
    """Now and then too dark, of low contrast, or too bright with lights that burn out.

    Images are uint8 (H, W, 3) in any order of channels; boxes stay as they are.

    Args:
        prob: Of a frame to be changed, 0 to 1.

    Raises:
        ValueError: If the probability is none.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.datasets import RandomLight
        >>> frame = dict(img=np.full((90, 160, 3), 90, np.uint8))
        >>> bool(RandomLight(prob=1.0)(frame)['img'].mean() == 90)
        False
    """

    changes = ((darkened, 0.5), (of_low_contrast, 0.35), (brightened, 0.15))


@TRANSFORMS.register_module()
class RandomCamera(RandomChange):
    """Now and then out of focus, in motion, noisy, packed too small or of few pixels.

    Images are uint8 (H, W, 3) in any order of channels; boxes stay as they are.

    Args:
        prob: Of a frame to be changed, 0 to 1.

    Raises:
        ValueError: If the probability is none.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.datasets import RandomCamera
        >>> frame = dict(img=np.random.randint(0, 255, (90, 160, 3), np.uint8))
        >>> RandomCamera(prob=1.0)(frame)['img'].shape
        (90, 160, 3)
    """

    changes = ((in_motion, 0.3), (noisy, 0.25), (out_of_focus, 0.2), (packed, 0.15), (coarse, 0.1))
