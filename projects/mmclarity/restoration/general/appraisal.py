"""What one image is like: its noise, its grey levels, and whether training covered that."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..degradation.measure import fit_noise, measure_noise

__all__ = ['Appraisal', 'appraise']

# Pixels of the middle of a large image on which noise is measured, a side.
WINDOW = 1536
# Where the darkest and brightest thousandth of the smoothed image go, as in training.
DARK, BRIGHT = 0.05, 0.95
# What training covered: noise in units of the contrast, and its correlation along the line.
LEAST_SIGMA, MOST_SIGMA, MOST_CORRELATION = 0.008, 0.35, 0.75
# Correlation between lines that a detector alone does not make.
MOST_ACROSS = 0.2
# Noise below this is drowned by the picture's own structure when lines are compared.
VISIBLE = 0.02
# Share of the noise that has to grow with the grey level to be worth a word.
SHOT = 0.5
# Factors on the noise that the network is told of in its two looks, chosen on pairs 006-035; see
# the benchmarks. Told of what was measured it keeps the grey levels, told of more it invents less.
LOOKS = (1.0, 3.6)
# Sharpening takes this blur off (half of its variance in square pixels) where the noise is at least
# BLURRING of the contrast, and as much less below as the noise's variance is: what the network
# leaves blurred grows with it. Slopes count as faint below FAINT of the noise a pixel.
NARROWING, BLURRING, FAINT = 0.75, 0.08, 0.43
# A range of grey levels that is said to be narrow, in units of what the file can hold.
NARROW = 0.35


@dataclass(frozen=True)
class Appraisal:
    """One image.

    Attributes:
        slope, intercept: the noise's variance is ``slope * level + intercept``, in the network's
            units: there the picture's dark and bright ends are 0.05 and 0.95, wherever the
            microscope's knobs for brightness and contrast stood.
        correlation: of the noise with the next pixel of the line.
        across: of the noise with the next line.
        low, high: levels of the darkest and brightest thousandth, noise smoothed away, in units
            of the file's range (0 black, 1 white).
    """

    slope: float
    intercept: float
    correlation: float
    across: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Factor from the file's levels to those of the network: ``gain * level + offset``."""
        contrast = self.high - self.low
        return (BRIGHT - DARK) / contrast if contrast > 1e-6 else 1.0

    @property
    def offset(self) -> float:
        """See :attr:`gain`."""
        return DARK - self.gain * self.low if self.high - self.low > 1e-6 else 0.0

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in the middle of the contrast, in units of it."""
        return math.sqrt(max(0.5 * self.slope + self.intercept, 0.0)) / (BRIGHT - DARK)

    def told(self, strength: float = 1.0) -> tuple[float, float, float]:
        """Slope, intercept and correlation as the network is told.

        Args:
            strength: factor on the noise's standard deviation; above 1 more is taken away.
        """
        power = strength**2
        correlation = min(max(self.correlation, 0.0), 0.95)
        return self.slope * power, self.intercept * power, correlation

    def narrowing(self, amount: float = 1.0) -> tuple[float, float]:
        """Variance and faint slope of :func:`..ops.narrow_edges`, in the network's units.

        Args:
            amount: factor on the blur's variance.
        """
        share = min(1.0, (self.sigma / BLURRING) ** 2)
        return amount * NARROWING * share, FAINT * self.sigma

    def describe(self) -> list[str]:
        """The noise and the grey levels, in plain words."""
        sigma = self.sigma
        words = 'hardly any' if sigma < 0.02 else 'little' if sigma < 0.06 else 'moderate'
        words = words if sigma < 0.13 else 'strong' if sigma < 0.3 else 'very strong'
        total = 0.5 * self.slope + self.intercept
        shot = 0.5 * self.slope / total if total > 0 else 0.0
        parts = [f'noise is {words}: {100 * sigma:.2g} % of the contrast']
        if shot > SHOT:
            parts.append(f'more of it where it is bright ({100 * shot:.0f} % is shot noise)')
        if self.correlation > 0.1:
            parts.append(
                f'smeared along the scan line (neighbouring pixels share {self.correlation:.2f})'
            )
        else:
            parts.append('independent from pixel to pixel')
        lines = ['; '.join(parts)]
        span = self.high - self.low
        text = f'grey levels: the picture uses {100 * self.low:.3g} to {100 * self.high:.3g} %'
        text += ' of its range'
        if 1e-6 < span < NARROW:
            text += f'; stretched {self.gain:.3g} times for the network, and back afterwards'
        return [*lines, text]

    def warnings(self) -> list[str]:
        """What lies outside of training; empty for an image that does not."""
        found = []
        if self.high - self.low <= 1e-6:
            return ['the picture has no contrast: there is nothing to restore']
        if self.sigma > MOST_SIGMA:
            found.append(
                f'its noise is {100 * self.sigma:.0f} % of the contrast, most of training had less '
                f'than {100 * MOST_SIGMA:.0f} %: small and faint things will be missing or made '
                'up; take a slower scan'
            )
        elif self.sigma < LEAST_SIGMA:
            found.append('it has hardly any noise: restoring it may only take detail away')
        if self.correlation > MOST_CORRELATION:
            found.append(
                f'neighbouring pixels share {self.correlation:.2f} of their noise, training went '
                f'up to {MOST_CORRELATION}: was the image enlarged or smoothed? Take the original'
            )
        if self.across > MOST_ACROSS and self.sigma > VISIBLE:
            found.append(
                f'neighbouring lines share noise ({self.across:.2f}): the image was enlarged, '
                'filtered or stored as JPEG, and its noise is underestimated; take the original, '
                'or raise the strength'
            )
        return found


def appraise(image: np.ndarray, scale: float = 1.0, black: float = 0.0) -> Appraisal:
    """Measures one image.

    Args:
        image: (H, W), an array or a memory map.
        scale: levels are ``(image - black) / scale``.
        black: grey level of black.

    Returns:
        What it is like. Images that are too small or too even to measure are taken to be free of
        noise that grows with the grey level or is smeared.
    """
    height, width = image.shape
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    part = image[top : top + WINDOW, left : left + WINDOW].astype(np.float64)
    part = (part - black) / scale
    flat = Appraisal(0.0, 0.0, 0.0, 0.0, *_range(image, scale, black))
    correlation = across = slope = 0.0
    intercept = (flat.gain * _spread(part)) ** 2
    if min(part.shape) >= 48 and np.ptp(part) > 0:
        # measured in grey levels of 8 bits, where clipped ones are known; fitted in the network's
        sample = measure_noise(part * 255)
        correlation, across = float(sample.correlation[0]), _shared_by_lines(sample.down)
        sample = replace(
            sample,
            level=flat.gain * sample.level / 255 + flat.offset,
            variance=sample.variance * (flat.gain / 255) ** 2,
        )
        with suppress(ValueError):  # nearly all levels are clipped
            slope, intercept = fit_noise([sample])
    if not math.isfinite(correlation + across):
        correlation = across = 0.0
    return replace(flat, slope=slope, intercept=intercept, correlation=correlation, across=across)


def _shared_by_lines(down: float) -> float:
    """Correlation of the noise of neighbouring lines, by that of their second differences.

    For noise smoothed by a Gaussian, whose correlations fall as r, r^4, r^9.
    """
    r = np.linspace(0, 0.95, 96)
    second = (-4 + 7 * r - 4 * r**4 + r**9) / (6 - 8 * r + 2 * r**4)
    return float(np.interp(down, second, r))


def _range(image: np.ndarray, scale: float, black: float) -> tuple[float, float]:
    """Levels of the darkest and brightest thousandth of the image, reduced four times."""
    step = max(1, min(image.shape) // 4096)  # of a huge image, some of the pixels
    some = np.ascontiguousarray(image[::step, ::step]).astype(np.float32)
    size = tuple(max(1, length // 4) for length in some.shape[::-1])
    small = cv2.resize(some, size, interpolation=cv2.INTER_AREA)
    low, high = np.quantile((small - black) / scale, (0.001, 0.999))
    return float(low), float(high)


def _spread(image: np.ndarray) -> float:
    """Standard deviation of white noise, from the median second difference down the columns."""
    if min(image.shape) < 3:
        return 0.0
    second = image[:-2] - 2 * image[1:-1] + image[2:]
    return float(np.median(np.abs(second)) / 0.6745 / math.sqrt(6))
