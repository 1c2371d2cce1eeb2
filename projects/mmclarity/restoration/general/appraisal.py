"""What one image is like: its noise, its grey levels, and whether training covered that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ['Appraisal', 'before_smoothing']

# Where the darkest and brightest thousandth of the smoothed image go, as in training.
DARK, BRIGHT = 0.05, 0.95
# What training covered: noise in units of the contrast, and its correlation along the line.
LEAST_SIGMA, MOST_SIGMA, MOST_CORRELATION = 0.008, 0.35, 0.75
# Correlation between lines that a detector alone does not make.
MOST_ACROSS = 0.2
# Strength that is recommended at most.
MOST_STRENGTH = 3.0
# Noise below this is drowned by the picture's own structure when lines are compared.
VISIBLE = 0.02
# Share of the noise's variance that is common to whole lines, and worth a word.
MOST_LINES = 0.3
# Deviations of a Gaussian's outer thousandth; share of the contrast that noise alone has.
THOUSANDTH, NOISE_ALONE = 3.09, 0.9
# Share of the noise that has to grow with the grey level to be worth a word.
SHOT = 0.5
# Factor on the noise told in the second look, where means along the line would have LITTLE noise
# (of the contrast) and MUCH: told of more, the network invents less and loses more. CAREFUL was
# chosen on pairs 006-015 and 031-035 (0.1 and more), the rest on pictures made worse; see the
# benchmarks. Beyond DROWNED it grows with the root of the noise. UNSURE comes on top where lines
# share this much more than MOST_ACROSS.
BOLD, CAREFUL, UNSURE, SMOOTHED = 2.0, 3.3, 2.0, 0.57
LITTLE, MUCH, DROWNED = 0.03, 0.1, 0.25
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
        upright: the noise is smeared along the columns, as of a scan from top to bottom; slope,
            intercept, correlation and across are those of the picture laid on its side.
        measured: whether the image was large enough to measure its noise at all.
        structure: what was told from noise by its spectrum: 'fine' structure; 'all' where there is
            nothing but what lines share; 'mixed' where that may be structure or noise that was
            smoothed a little; '' where there was nothing to tell.
        lines: share of the noise's variance that whole lines have in common.
        spikes: share of pixels far off their neighbours, where these are most of the noise.
    """

    slope: float
    intercept: float
    correlation: float
    across: float
    low: float
    high: float
    upright: bool = False
    measured: bool = True
    structure: str = ''
    lines: float = 0.0
    spikes: float = 0.0

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

    @property
    def is_noise_alone(self) -> bool:
        """Whether noise of that strength has as much contrast, in four by four pixels."""
        # of the mean of four neighbours that share as a Gaussian's do: r, r^4, r^9
        r = self._shared
        of_four = (1 + 1.5 * r + r**4 + 0.5 * r**9) / 4
        return (
            self.structure in ('', 'mixed')
            and self.sigma * 2 * THOUSANDTH * math.sqrt(of_four / 4) > NOISE_ALONE
            and not self.lines > MOST_LINES
        )

    @property
    def second_look(self) -> float:
        """Factor on the noise that the network is told of when it looks again.

        At first it is told of what was measured: so it keeps the grey levels.
        """
        if self.across > MOST_ACROSS and self.structure != 'fine':
            # there may be far more noise than was measured
            return CAREFUL * UNSURE ** min((self.across - MOST_ACROSS) / SMOOTHED, 1.0)
        r = self._shared
        broad = max(self.sigma, 1e-6) * math.sqrt((1 + r) / (1 - r))
        share = math.log(broad / LITTLE) / math.log(MUCH / LITTLE)
        careful = BOLD * (CAREFUL / BOLD) ** min(max(share, 0.0), 1.0)
        return careful * math.sqrt(max(broad / DROWNED, 1.0))

    def variance(self, level: np.ndarray, strength: float = 1.0) -> np.ndarray:
        """Of the noise, as the network is told, at levels of the file.

        Args:
            level: 0 black, 1 white; of any shape.
            strength: see :meth:`told`.
        """
        slope, intercept, _ = self.told(strength)
        stretched = np.maximum(level * self.gain + self.offset, 0)
        return (slope * stretched + intercept) / self.gain**2

    @property
    def _shared(self) -> float:
        """The correlation, of a noise that can be."""
        return min(max(self.correlation, 0.0), 0.95)

    @property
    def _unsmoothed(self) -> float:
        """Strength for noise that was smoothed alike in all directions."""
        return min(math.sqrt(before_smoothing(self.across)), MOST_STRENGTH)

    def told(self, strength: float = 1.0) -> tuple[float, float, float]:
        """Slope, intercept and correlation as the network is told.

        Args:
            strength: factor on the noise's standard deviation; above 1 more is taken away.
        """
        power = strength**2
        return self.slope * power, self.intercept * power, self._shared

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
            line = 'columns, which are taken for the scan lines' if self.upright else 'scan line'
            parts.append(
                f'smeared along the {line} (neighbouring pixels share {self.correlation:.2f})'
            )
        else:
            parts.append('independent from pixel to pixel')
        if self.structure == 'fine':
            parts.append('fine structure is all over the picture and was not counted as noise')
        lines = ['; '.join(parts)]
        span = self.high - self.low
        text = f'grey levels: the picture uses {100 * self.low:.3g} to {100 * self.high:.3g} %'
        text += ' of its range'
        if 1e-6 < span < NARROW:
            text += f'; stretched {self.gain:.3g} times for the network, and back afterwards'
        return [*lines, text]

    def warnings(self) -> list[str]:
        """What lies outside of training; empty for an image that does not."""
        if self.high - self.low <= 1e-6:
            return ['the picture has no contrast: there is nothing to restore']
        if not self.measured:
            return ['it is too small to measure its noise: what is done to it is a guess']
        return [*self._of_amount(), *self._of_kind()]

    def _of_amount(self) -> Iterator[str]:
        if self.is_noise_alone:
            yield (
                'noise alone would have such a contrast: nothing is seen in it, and nothing in '
                'the restored image means anything; take a slower scan'
            )
        elif self.sigma > MOST_SIGMA:
            yield (
                f'its noise is {100 * self.sigma:.0f} % of the contrast, most of training had less '
                f'than {100 * MOST_SIGMA:.0f} %: small and faint things will be missing or made '
                'up, and grey levels may be shifted; take a slower scan'
            )
        elif self.sigma < LEAST_SIGMA and not self.spikes:
            yield 'it has hardly any noise: restoring it may only take detail away'

    def _of_kind(self) -> Iterator[str]:
        if self.spikes:
            yield (
                f'{100 * self.spikes:.2g} % of its pixels are far off their neighbours, and are '
                'most of its noise: some will stay, or look like particles; a median filter of '
                '3 x 3 pixels (Fiji: Process > Noise > Despeckle) takes such pixels away'
            )
        if self.lines > MOST_LINES and self.sigma >= LEAST_SIGMA:
            yield (
                f'{100 * self.lines:.0f} % of its noise is shared by whole lines: their brightness '
                'flickers, and stripes may stay'
            )
        elif self.correlation > MOST_CORRELATION and self.sigma >= LEAST_SIGMA:
            yield (
                f'neighbouring pixels share {self.correlation:.2f} of their noise, training went '
                f'up to {MOST_CORRELATION}: was the image enlarged or smoothed? Take the original'
            )
        if self.structure == 'all':
            yield (
                f'neighbouring lines share what may be noise ({self.across:.2f}), and there is '
                'little else: it is taken for fine texture and left. If the image was enlarged or '
                'filtered, take the original'
            )
        elif self.across > MOST_ACROSS and self.sigma > VISIBLE and self.structure != 'fine':
            yield (
                f'neighbouring lines share noise ({self.across:.2f}): the image was enlarged, '
                'filtered or stored as JPEG, and its noise is underestimated: take the original, '
                f'or a strength of {self._unsmoothed:.1f}. Or it has fine texture all over, which '
                'is taken away: compare with the original'
            )


def before_smoothing(r: float) -> float:
    """Variance of noise over that of its second differences, where lines share r of it."""
    return 6 / max(6 - 8 * r + 2 * r**4, 0.05)
