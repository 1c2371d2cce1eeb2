"""The noise of quick scans beyond what slow ones seem to have.

Noise is measured by differences between lines, and fine texture passes for it, in quick scans and
slow ones alike. What a quick scan has more is noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmclarity.errors import DataError

from ..degradation.measure import NoiseSample
from ..degradation.physics import line_filter

__all__ = ['Excess', 'excess_noise']

# Share of the variance that has to be left.
LEAST = 0.15
# Correlations below this are taken for none.
NO_MORE = 0.01


@dataclass(frozen=True)
class Excess:
    """Noise alone.

    Attributes:
        strength: its standard deviation, in units of what is measured on quick scans.
        correlation: with the next pixels of the line.
    """

    strength: float
    correlation: tuple[float, ...]


def excess_noise(
    quick: Sequence[NoiseSample], slow: Sequence[NoiseSample], names: Sequence[str]
) -> Excess:
    """Variance and covariances of quick scans less those of slow ones.

    Args:
        quick: measured on quick scans.
        slow: measured on slow scans, in the grey levels of the quick ones and blurred as they are.
        names: of the slow scans, for messages.

    Raises:
        DataError: a slow scan by itself leaves hardly anything.
    """
    (all_power, all_shared), (texture, alike) = _means(quick), _means(slow)
    for name, one in zip(names, slow):
        own, _ = _means([one])
        if own > (1 - LEAST) * all_power:
            raise DataError(
                f'{name}: is no clean image: from line to line it varies by {np.sqrt(own):.2g} of '
                f'255 grey levels, the noisy images by {np.sqrt(all_power):.2g}. Leave it out, or '
                'change the two sides; where texture is as strong as noise, adapt without --clean'
            )
    power = all_power - texture
    correlation = (all_shared - alike) / power
    least = np.flatnonzero(np.abs(correlation) >= NO_MORE)
    kept = tuple(float(value) for value in correlation[: least[-1] + 1]) if len(least) else ()
    try:
        line_filter(kept)
    except ValueError:  # no noise has them: differences of small numbers
        kept = tuple(float(value) for value in all_shared / all_power)
    return Excess(float(np.sqrt(power / all_power)), kept)


def _means(samples: Sequence[NoiseSample]) -> tuple[float, np.ndarray]:
    """Variance, and covariances along the line, of all samples together."""
    power, shared, pixels = 0.0, 0.0, 0.0
    for one in samples:
        known = np.isfinite(one.variance) & (one.pixels > 0)
        own = float((one.variance * one.pixels)[known].sum())
        power, shared = power + own, shared + own * np.nan_to_num(one.correlation)
        pixels += float(one.pixels[known].sum())
    return power / max(pixels, 1.0), np.asarray(shared) / max(pixels, 1.0)
