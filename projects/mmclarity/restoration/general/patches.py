"""Training examples of the general restorer: clean patches, made worse in many ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from ..degradation.physics import detector_noise, line_filter

__all__ = ['Example', 'Ranges', 'draw_example', 'stretched']


@dataclass(frozen=True)
class Ranges:
    """What training covers; grey levels in units of the image's own contrast.

    Attributes:
        sigma: standard deviation of the noise at half contrast, drawn evenly on a log scale.
        correlation: of the noise with the next pixel of the line, where it has any.
        blur: standard deviation of the beam in pixels, beyond the clean image's.
        line_blur: the same along the line alone.
        zoom: of the clean images.
        contrast: of the clean patch's image, after it was brought to full contrast.
    """

    sigma: tuple[float, float] = (0.008, 0.35)
    correlation: tuple[float, float] = (0.05, 0.75)
    blur: tuple[float, float] = (0.0, 0.7)
    line_blur: tuple[float, float] = (0.0, 0.7)
    zoom: tuple[float, float] = (0.6, 1.3)
    contrast: tuple[float, float] = (0.4, 1.1)


@dataclass(frozen=True)
class Example:
    """Noisy and clean (size, size) float32, and what the network is told of the noise (3,)."""

    noisy: np.ndarray
    clean: np.ndarray
    noise: np.ndarray


def stretched(image: np.ndarray) -> np.ndarray:
    """The image with its darkest and brightest thousandth at 0.05 and 0.95, float32."""
    low, high = np.quantile(image, (0.001, 0.999))
    return (0.05 + 0.9 * (image - low) / max(high - low, 1e-6)).astype(np.float32)


def draw_example(
    image: np.ndarray, size: int, rng: np.random.Generator, ranges: Ranges | None = None
) -> Example:
    """Cuts a patch out of a clean image and makes it worse.

    Args:
        image: (H, W) in [0, 1], clean, at least ``size / zoom`` a side (smaller ones are mirrored).
        size: of the patch.
        rng: where all of it comes from.
        ranges: what is drawn from.
    """
    ranges = ranges or Ranges()
    clean = _patch(image, size, rng, ranges)
    blurred = clean
    if rng.uniform() < 0.7:
        blurred = gaussian_filter(blurred, rng.uniform(*ranges.blur), mode='reflect')
    if rng.uniform() < 0.5:
        blurred = gaussian_filter1d(blurred, rng.uniform(*ranges.line_blur), axis=1, mode='reflect')
    sigma = float(np.exp(rng.uniform(*np.log(ranges.sigma))))
    share = rng.choice([0.0, 1.0, rng.uniform()])  # of shot noise
    slope, intercept = share * sigma**2 / 0.5, (1 - share) * sigma**2
    correlation = 0.0 if rng.uniform() < 0.4 else rng.uniform(*ranges.correlation)
    noisy = _noisy(blurred, slope, intercept, correlation, rng)
    if rng.uniform() < 0.15:  # lines of uneven brightness
        noisy += rng.uniform(0.05, 0.4) * sigma * rng.standard_normal((size, 1), np.float32)
    if rng.uniform() < 0.4:
        noisy = np.rint(np.clip(noisy, 0, 1) * 255) / 255
    # a user's noise is measured, not known
    told = np.array([slope, intercept]) * np.exp(0.15 * rng.standard_normal())
    told = np.append(told, np.clip(correlation + 0.05 * rng.standard_normal(), 0, 0.95))
    return Example(noisy.astype(np.float32), clean, told.astype(np.float32))


def _patch(image: np.ndarray, size: int, rng: np.random.Generator, ranges: Ranges) -> np.ndarray:
    zoom = rng.uniform(*ranges.zoom)
    side = round(size / zoom)
    missing = [max(0, side - length) for length in image.shape]
    if any(missing):
        image = np.pad(image, [(0, missing[0]), (0, missing[1])], mode='symmetric')
    top, left = (rng.integers(length - side + 1) for length in image.shape)
    patch = image[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    patch = cv2.resize(np.ascontiguousarray(patch, np.float32), (size, size), interpolation=how)
    patch = np.rot90(patch, rng.integers(4))
    patch = patch[:, ::-1] if rng.integers(2) else patch
    if rng.uniform() < 0.15:
        patch = 1 - patch
    contrast = rng.uniform(*ranges.contrast)
    room = 1 - contrast
    patch = patch * contrast + rng.uniform(min(0, room), max(0, room))
    return np.ascontiguousarray(patch, np.float32)


def _noisy(
    image: np.ndarray,
    slope: float,
    intercept: float,
    correlation: float,
    rng: np.random.Generator,
) -> np.ndarray:
    lags: Sequence[float] = ()
    if correlation:
        # between an autoregressive detector (power 2) and a Gaussian one (power 4)
        second = correlation ** rng.uniform(2, 3.9)
        lags = (correlation, second, second**2)
    shot = slope * np.maximum(image, 0)
    counted = shot if rng.uniform() < 0.5 else None
    return detector_noise(image, shot + intercept, line_filter(lags), rng, counted)
