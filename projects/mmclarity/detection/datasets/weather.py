"""Fog, snow and rain for training: cheap enough for every frame, like enough to learn from.

For measuring robustness see :mod:`.corruptions`, which looks otherwise: what was trained on is no
test. What is drawn comes from numpy's global generator, which mmengine seeds in every worker.
"""

from __future__ import annotations

import cv2
import numpy as np
from mmdet.registry import TRANSFORMS

from .augmentation import RandomChange

__all__ = ['RandomWeather', 'in_fog', 'in_rain', 'in_snow', 'line_kernel']


def uniform(low: float, high: float) -> float:
    """A number drawn evenly from numpy's global generator."""
    return float(np.random.uniform(low, high))


def line_kernel(length: float, angle: float) -> np.ndarray:
    """The trace of a point that moves: a line through the middle of a square kernel, of sum 1.

    Args:
        length: Of the line, in pixels; 1 or less leaves an image as it is.
        angle: In degrees: 0 is level, 90 upright.

    Examples:
        >>> from mmclarity.detection.datasets.weather import line_kernel
        >>> (6 * line_kernel(3, 0)).tolist()
        [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]
    """
    radius = max(int(np.ceil((length - 1) / 2)), 0)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    step = np.array([np.cos(np.radians(angle)), -np.sin(np.radians(angle))]) * (length - 1) / 2
    # OpenCV draws between pixels when told how many binary digits of the ends are behind the point.
    first, last = (tuple(int(v) for v in np.round((radius + s * step) * 16)) for s in (-1, 1))
    cv2.line(kernel, first, last, 1.0, 1, cv2.LINE_8, 4)
    return kernel / kernel.sum()


def falling(
    shape: tuple[int, int], share: float, size: float, length: float, angle: float
) -> np.ndarray:
    """What falls through the air while the shutter is open.

    Args:
        shape: Height and width, pixels.
        share: Of the frame's pixels that flakes or drops of one pixel would cover, before they
            are enlarged and drawn out.
        size: Of a flake or drop, pixels.
        length: Of its trace, pixels.
        angle: Of the trace, degrees; 90 is straight down.

    Returns:
        How much of each pixel is covered: float32 in [0, 1], of the shape.
    """
    height, width = shape
    small = max(round(height / size), 1), max(round(width / size), 1)
    layer = np.zeros(small, np.uint8)
    count = int(share * layer.size)
    if not count:
        return np.zeros(shape, np.float32)
    places = np.random.randint(0, layer.size, count)
    layer.flat[places] = np.random.randint(90, 256, count)
    if small != (height, width):
        layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC)
    if length > 1:
        # A drop keeps some of its brightness when it is drawn out: it passes a pixel quickly.
        kernel = line_kernel(length, angle) * np.sqrt(length / max(size, 1))
        layer = cv2.filter2D(layer, -1, kernel, borderType=cv2.BORDER_REFLECT)
    return layer.astype(np.float32) / 255


def blend(image: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """The image where ``cover`` is 0, the colour where it is 1 (float32, height x width)."""
    over = np.empty_like(image)
    over[:] = np.clip(colour, 0, 255)
    cover = np.asarray(cover, np.float32)
    return cv2.blendLinear(image, over, 1 - cover, cover)


def airlight(image: np.ndarray) -> np.ndarray:
    """The colour of air that scatters light: bright by day, dim at night; BGR, float."""
    brightness = float(image[::4, ::4].mean())
    return np.interp(brightness, [20, 110], [70, 205]) + uniform(-25, 35) + np.array([4.0, 0, -4])


def in_fog(image: np.ndarray, weakest: float = 0.22, strongest: float = 0.85) -> np.ndarray:
    """Fog that grows denser towards the horizon, in drifts.

    Light from a place at distance d comes through by ``t = exp(-b d)``, the rest is airlight:
    ``t I + (1 - t) A`` (Koschmieder 1924). A frame has no depth: it is taken from the row, as on a
    flat road below the horizon and a little nearer again above it, where poles and signs stand.

    Args:
        image: uint8 (H, W, 3), BGR.
        weakest: Least share of light that comes through from the horizon, above 0.
        strongest: Largest share, at most 1.

    Returns:
        Of the same shape and type.
    """
    height, width = image.shape[:2]
    horizon = uniform(0.4, 0.55)
    row = (np.arange(height, dtype=np.float32) + 0.5) / height
    below, above = (row - horizon) / (1 - horizon), (horizon - row) / horizon
    distance = np.where(below > 0, 0.2 / (0.2 + np.maximum(below, 0)), 1 - 0.35 * above)
    drifts = np.random.uniform(0.75, 1.25, (4, 7)).astype(np.float32)
    drifts = cv2.resize(drifts, (width, height), interpolation=cv2.INTER_LINEAR)
    depth = -np.log(uniform(weakest, strongest)) * distance.astype(np.float32)
    return blend(image, airlight(image), 1 - cv2.exp(-depth[:, None] * drifts))


def in_snow(image: np.ndarray) -> np.ndarray:
    """Falling flakes of three sizes, far ones small and many, before somewhat milky air.

    Args:
        image: uint8 (H, W, 3), BGR.

    Returns:
        Of the same shape and type.
    """
    shape = image.shape[:2]
    angle = uniform(50, 130)
    hurry, much = uniform(0.3, 1.0), uniform(0.3, 1.0)
    cover = np.zeros(shape, np.float32)
    for size, share, length in ((1.0, 0.03, 6), (2.2, 0.02, 10), (4.5, 0.007, 16)):
        layer = falling(shape, share * much, size, 1 + length * hurry, angle + uniform(-12, 12))
        np.maximum(cover, layer, out=cover)
    light = airlight(image)
    if np.random.rand() < 0.7:
        image = in_fog(image, 0.5, 0.95)
    return blend(image, np.maximum(light + 30, 150), cover * uniform(0.55, 1.0))


def in_rain(image: np.ndarray) -> np.ndarray:
    """Streaks of one slant under a darker sky, at times with the blur of a wet lens.

    Args:
        image: uint8 (H, W, 3), BGR.

    Returns:
        Of the same shape and type.
    """
    shape = image.shape[:2]
    angle, length = uniform(65, 115), uniform(8, 30)
    cover = falling(shape, uniform(0.004, 0.02), 1.0, length, angle)
    cover = np.maximum(cover, falling(shape, uniform(0, 0.006), 1.6, 1.4 * length, angle))
    light = airlight(image)
    image = cv2.convertScaleAbs(image, alpha=uniform(0.6, 1.0))
    if np.random.rand() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), uniform(0.5, 1.3))
    return blend(image, light, cover * uniform(0.4, 0.9))


@TRANSFORMS.register_module()
class RandomWeather(RandomChange):
    """Now and then snow, rain or fog.

    For frames from a road, uint8 (H, W, 3) in BGR; boxes stay as they are. Put it right behind the
    loading: a frame is smaller there than after enlarging. Of 640x360 pixels a change
    takes 7 ms of a processor on average.

    Args:
        prob: Of a frame to be changed, 0 to 1.

    Raises:
        ValueError: If the probability is none.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.datasets import RandomWeather
        >>> frame = dict(img=np.random.randint(0, 60, (90, 160, 3), np.uint8))
        >>> weather = RandomWeather(prob=1.0)(dict(frame))['img']
        >>> weather.shape, weather.dtype, bool((weather == frame['img']).all())
        ((90, 160, 3), dtype('uint8'), False)
    """

    changes = ((in_snow, 0.4), (in_rain, 0.3), (in_fog, 0.3))
