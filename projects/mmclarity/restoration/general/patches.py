"""Training examples of the general restorer: clean patches, made worse in many ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from ..degradation.physics import detector_noise, line_filter
from .content import log_uniform

__all__ = ['Example', 'Ranges', 'draw_example', 'placed', 'stretched']

# Noise below which less and less sharpening is learnt: what is clean should stay as it is.
SHARPENED = 0.03
# Deviation up to which texture is taken for noise, where it is.
MISTAKEN = 0.03


@dataclass(frozen=True)
class Ranges:
    """What training covers; grey levels in units of the image's own contrast.

    Attributes:
        sigma: standard deviation of the noise at half contrast, drawn evenly on a log scale.
        faint: the same for a tenth of the examples: images that are clean already.
        drowned: the same for another tenth.
        steps: grey levels that the image is stored in, for a tenth; 256 for a third.
        impulses: share of the pixels that are black or white, for one example of 25; one of 20 has
            noise with heavy tails.
        correlation: of the noise with the next pixel of the line, where it has any.
        blur: standard deviation of the beam in pixels, beyond the clean image's.
        line_blur: the same along the line alone.
        zoom: of the clean images.
        contrast: of the clean patch's image, after it was brought to full contrast.
    """

    sigma: tuple[float, float] = (0.008, 0.35)
    faint: tuple[float, float] = (0.0005, 0.008)
    drowned: tuple[float, float] = (0.35, 0.7)
    steps: tuple[float, float] = (12, 200)
    impulses: tuple[float, float] = (0.001, 0.05)
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
    extent = rng.choice([ranges.faint, ranges.sigma, ranges.drowned], p=[0.1, 0.8, 0.1])
    sigma = log_uniform(rng, *extent)
    blurred = _blurred(clean, min(1.0, sigma / SHARPENED), rng, ranges)
    share = rng.choice([0.0, 1.0, rng.uniform()])  # of shot noise
    slope, intercept = share * sigma**2 / 0.5, (1 - share) * sigma**2
    correlation = 0.0 if rng.uniform() < 0.4 else rng.uniform(*ranges.correlation)
    noisy = _noisy(blurred, slope, intercept, correlation, rng)
    kind = rng.uniform()
    if kind < 0.15:  # lines of uneven brightness
        noisy += rng.uniform(0.05, 0.4) * sigma * rng.standard_normal((size, 1), np.float32)
    elif kind < 0.2:
        noisy = blurred + (noisy - blurred) * _tails(noisy.shape, rng)
    elif kind < 0.24:
        noisy = _impulses(noisy, rng, ranges)
    noisy, intercept = _stored(noisy, intercept, rng, ranges)
    # A user's noise is measured, not known; fine texture may pass for noise.
    told = np.array([slope, intercept]) * np.exp(0.15 * rng.standard_normal())
    if rng.uniform() < 0.25:
        told *= np.exp(0.5 * rng.standard_normal())
        told[1] += rng.uniform(0, MISTAKEN) ** 2
    told = np.append(told, np.clip(correlation + 0.05 * rng.standard_normal(), 0, 0.95))
    return Example(noisy.astype(np.float32), clean, told.astype(np.float32))


def _tails(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Factors of mean square 1 that make Gaussian noise t-distributed."""
    freedom = rng.uniform(3, 8)
    return np.sqrt((freedom - 2) / rng.chisquare(freedom, shape))


def _impulses(noisy: np.ndarray, rng: np.random.Generator, ranges: Ranges) -> np.ndarray:
    """Single pixels black or white: of a dead counter, a discharge, or a transmission's errors.

    The network is not told of them: the measured noise is that of the other pixels.
    """
    share = log_uniform(rng, *ranges.impulses)
    white = rng.choice([0.0, 0.5, 0.5, 1.0])  # of them
    value = np.where(rng.random(noisy.shape) < white, rng.uniform(0.9, 1.3), rng.uniform(-0.3, 0.1))
    return np.where(rng.random(noisy.shape) < share, value, noisy)


def _blurred(
    image: np.ndarray, amount: float, rng: np.random.Generator, ranges: Ranges
) -> np.ndarray:
    """The beam's blur, which the network learns to undo; none where there is no noise."""
    if rng.uniform() < 0.7:
        image = gaussian_filter(image, amount * rng.uniform(*ranges.blur), mode='reflect')
    if rng.uniform() < 0.5:
        width = amount * rng.uniform(*ranges.line_blur)
        image = gaussian_filter1d(image, width, axis=1, mode='reflect')
    return image


def _stored(
    noisy: np.ndarray, intercept: float, rng: np.random.Generator, ranges: Ranges
) -> tuple[np.ndarray, float]:
    """What the file makes of it: grey levels, smoothing, JPEG; and the noise's intercept then."""
    kind = rng.uniform()
    if kind < 0.07:  # enlarged or smoothed: less noise, shared by lines
        noisy = gaussian_filter(noisy, rng.uniform(0.3, 0.6), mode='reflect')
    elif kind < 0.14:
        grey = np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)
        options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))]
        noisy = cv2.imdecode(cv2.imencode('.jpg', grey, options)[1], cv2.IMREAD_GRAYSCALE) / 255
    elif kind < 0.57:
        few = kind < 0.24
        steps = log_uniform(rng, *ranges.steps) if few else 255.0
        noisy = np.rint(np.clip(noisy, 0, 1) * steps) / steps
        intercept += 1 / (12 * steps**2)
    return noisy, intercept


def placed(image: np.ndarray, size: int, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """A square somewhere in an image, resized, and turned and mirrored at random.

    Args:
        image: (H, W); smaller ones are mirrored.
        size: of the square, afterwards.
        zoom: factor on the image's size.
        rng: where place and position come from.
    """
    side = round(size / zoom)
    missing = [max(0, side - length) for length in image.shape]
    if any(missing):
        image = np.pad(image, [(0, missing[0]), (0, missing[1])], mode='symmetric')
    top, left = (rng.integers(length - side + 1) for length in image.shape)
    patch = np.ascontiguousarray(image[top : top + side, left : left + side], np.float32)
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    patch = cv2.resize(patch, (size, size), interpolation=how)
    patch = np.rot90(patch, rng.integers(4))
    return patch[:, ::-1] if rng.integers(2) else patch


def _patch(image: np.ndarray, size: int, rng: np.random.Generator, ranges: Ranges) -> np.ndarray:
    patch = placed(image, size, rng.uniform(*ranges.zoom), rng)
    if rng.uniform() < 0.15:
        patch = 1 - patch
    if rng.uniform() < 0.15:  # uneven light
        slopes = rng.uniform(-0.2, 0.2, 2)
        across = np.linspace(-1, 1, size)
        patch = patch + slopes[0] * across[:, None] + slopes[1] * across
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
