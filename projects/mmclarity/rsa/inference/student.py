"""Intervals and tests over few subjects.

Draws from three subjects never leave the range of these three: percentiles of such draws hold the
mean of all subjects 72 times in a hundred, not 95, and a test finds differences that are none in
27. Student's t knows how few they are. Where stimuli are drawn as well, the reach for new subjects
and the one for new stimuli are added as squares, each with the quantile of its own.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

# Of Fisher's z: correlations that differ from 1.
GREATEST_Z = 17.0
# Halvings of the logarithm of p, from 1 to LEAST_P.
HALVINGS, LEAST_P = 40, 1e-12


class Spread:
    """How far a mean over subjects may lie from that of all.

    Args:
        subjects: (..., S) of each, S >= 2.
        drawn: (...) variance when stimuli and subjects are drawn; None where stimuli are fixed.
    """

    def __init__(self, subjects: np.ndarray, drawn: np.ndarray | None) -> None:
        count = subjects.shape[-1]
        self.freedom = count - 1
        self.subjects = subjects.var(-1, ddof=1) / count
        self.stimuli = np.zeros_like(self.subjects)
        if drawn is not None:
            # Drawn subjects vary by (S - 1) / S less than new ones.
            self.stimuli = np.maximum(drawn - self.subjects * self.freedom / count, 0)

    @property
    def error(self) -> np.ndarray:
        """(...), the standard error."""
        return np.sqrt(self.subjects + self.stimuli)

    def reach(self, tail: np.ndarray | float) -> np.ndarray:
        """(...), beyond which a mean lies with this probability on one side."""
        of_subjects = student.isf(tail, self.freedom) ** 2 * self.subjects
        return np.sqrt(of_subjects + norm.isf(tail) ** 2 * self.stimuli)

    def limits(self, scores: np.ndarray, level: float) -> np.ndarray:
        """(M, 2) of correlations (M,), on Fisher's z scale: they do not leave [-1, 1]."""
        with np.errstate(invalid='ignore', divide='ignore'):
            z, reach = np.arctanh(scores), self.reach((1 - level) / 2) / (1 - scores**2)
            both = np.stack([z - reach, z + reach], -1)
        found = np.tanh(np.clip(both, -GREATEST_Z, GREATEST_Z))
        return np.where(np.abs(scores)[:, None] >= 1, scores[:, None], found)

    def difference_limits(self, differences: np.ndarray, level: float) -> np.ndarray:
        """(..., 2) of differences of two correlations, in [-2, 2]."""
        reach = self.reach((1 - level) / 2)
        return np.clip(np.stack([differences - reach, differences + reach], -1), -2, 2)

    def two_sided(self, differences: np.ndarray) -> np.ndarray:
        """P of a mean difference as great where there is none: whose interval ends at zero."""
        size = np.abs(differences)
        low, high = np.full(size.shape, np.log(LEAST_P)), np.zeros(size.shape)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            far = self.reach(np.exp(middle) / 2) < size
            low, high = np.where(far, low, middle), np.where(far, middle, high)
        return np.where(np.isnan(size), np.nan, np.where(size == 0, 1.0, np.exp(high)))
