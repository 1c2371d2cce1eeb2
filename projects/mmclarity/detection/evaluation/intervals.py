"""From draws of a bootstrap to intervals and p: the statistics of :mod:`.comparison`."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

NOTHING = 1e-12  # of AP: rounding


@dataclass
class Estimate:
    """A number with its interval.

    Attributes:
        value: On the images as they are; NaN where there is nothing to find.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def degrees_of_freedom(variances: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Degrees of freedom of what was measured (first axis), by row and number.

    Args:
        variances: (measured, groups, categories, numbers), over the draws.
        images: (groups, categories, numbers): how many hold the category.
    """
    single = np.maximum(images - 1, 1)
    with np.errstate(invalid='ignore'):
        means = variances.sum(axis=2) ** 2 / (variances**2 / single).sum(axis=2)
    means = np.where(np.isnan(means), single.min(axis=1), means)  # nothing strays at all
    classes = np.broadcast_to(single[0], (len(variances), *single.shape[1:]))
    return np.concatenate([means, classes], axis=1)


def interval(
    value: float, draws: np.ndarray, freedom: float, confidence: float, biased: bool = False
) -> Estimate:
    """A value with its interval; NaN where draws are lacking or do not tell.

    Args:
        value: On the images as they are.
        draws: Of the bootstrap.
        freedom: Degrees of freedom of their spread.
        confidence: Of the interval.
        biased: The value is AP, not a difference: the interval is moved by the bias that the draws
            show (Davison and Hinkley 1997, eq. 5.5), and ends at 0 and 1.
    """
    if not len(draws) or np.isnan(value):
        return Estimate(float(value), float('nan'), float('nan'))
    spread = draws.std()
    if spread < NOTHING and (biased or abs(value) > NOTHING):  # of a single image, or always AP 0
        return Estimate(float(value), float('nan'), float('nan'))
    half = stdtrit(freedom, (1 + confidence) / 2) * spread
    if not biased:
        return Estimate(float(value), float(value - half), float(value + half))
    centre = 2 * value - draws.mean()
    low, high = np.clip([centre - half, centre + half], 0, 1)  # AP is not less, nor more
    return Estimate(float(value), float(low), float(high))


def change(value: float, draws: np.ndarray, freedom: float, confidence: float) -> Estimate:
    """The interval of a difference of two AP, which is not less than -1, nor more than 1."""
    found = interval(value, draws, freedom, confidence)
    low, high = np.clip([found.low, found.high], -1, 1)
    return Estimate(found.value, float(low), float(high))


def two_sided(value: float, draws: np.ndarray, freedom: float) -> float:
    """Significance of a difference: the t test that belongs to :func:`interval`.

    Where nothing strays it is 1 for no difference, and NaN (not to be told) for any other.
    """
    if not len(draws) or np.isnan(value):
        return float('nan')
    spread = draws.std()
    if spread < NOTHING:
        return 1.0 if abs(value) < NOTHING else float('nan')
    return float(2 * stdtr(freedom, -abs(value) / spread))


def over_seeds(pairs: np.ndarray, draws: np.ndarray, freedom: float, confidence: float) -> Estimate:
    """The interval of a difference for other seeds of both trainings and other images.

    Two variances add up: that of the images, and that of the mean over the seeds. What seeds and
    images do together counts in both, so that the interval is a little too wide rather than too
    narrow; degrees of freedom after Welch and Satterthwaite.

    Args:
        pairs: (seeds, ): the difference of each pair of seeds, on the images as they are.
        draws: Of the bootstrap, of the mean over the seeds.
        freedom: Degrees of freedom of their spread.
        confidence: Of the interval.

    Returns:
        The mean difference and its interval; NaN ends with a single seed.

    Examples:
        >>> found = over_seeds(np.array([0.01, 0.02, 0.03]), np.array([0.018, 0.022]), 500, 0.95)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (0.02, -0.002, 0.042)
    """
    value = float(np.mean(pairs))
    if len(pairs) < 2 or not len(draws) or np.isnan(value):
        return Estimate(value, float('nan'), float('nan'))
    parts = np.array([np.var(draws), np.var(pairs, ddof=1) / len(pairs)])
    total, freedoms = parts.sum(), np.array([freedom, len(pairs) - 1])
    degrees = total**2 / (parts**2 / freedoms).sum() if total > 0 else freedom
    half = stdtrit(degrees, (1 + confidence) / 2) * total**0.5
    low, high = np.clip([value - half, value + half], -1, 1)
    return Estimate(value, float(low), float(high))
