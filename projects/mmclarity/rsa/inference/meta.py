"""One answer from several sessions that were shown different pictures.

RDMs of different stimuli cannot be pooled; their correlations with a model can. They are combined
on Fisher's z scale with a random effect of the session (DerSimonian and Laird, 1986). How much
sessions differ is itself not well known from a few of them: intervals and p are those of Hartung
and Knapp (2001), of Student's t, and never narrower than without. (Of a normal distribution, they
held the truth 80 to 86 times in a hundred for two to four sessions that differ.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2, norm
from scipy.stats import t as student

from ..similarity.compare import compare_rdms, present_subjects

if TYPE_CHECKING:
    from ..result import RSAResult


@dataclass(frozen=True)
class MetaAnalysis:
    """Combined correlations of M models; on the scale of correlations but where z is said.

    Args:
        mean: (M,).
        interval: (M, 2).
        p: (M,), two-sided, of a mean of zero.
        tau2: (M,), variance between sessions on the z scale.
        i2: (M,), part of the variance that is between sessions, 0 to 1.
        q: (M,), Cochran's Q.
        q_p: (M,), p of as much difference between sessions by chance.
        weights: (K, M), of the sessions; they add up to 1.
        level: Coverage of the interval.
    """

    mean: np.ndarray
    interval: np.ndarray
    p: np.ndarray
    tau2: np.ndarray
    i2: np.ndarray
    q: np.ndarray
    q_p: np.ndarray
    weights: np.ndarray
    level: float


def combine(scores: Any, errors: Any, level: float = 0.95, random: bool = True) -> MetaAnalysis:
    """Combine correlations of K sessions.

    Args:
        scores: (K,) or (K, M) correlations, in (-1, 1).
        errors: Standard errors of their Fisher z, of the same shape: from a bootstrap, as pairs of
            an RDM are not independent.
        level: Coverage of the interval.
        random: With a variance between sessions; without, all are taken to measure one value, and
            intervals are of a normal distribution.

    Raises:
        ValueError: If shapes differ or a value is out of range.

    Examples:
        >>> from mmclarity.rsa.inference import combine
        >>> combined = combine([[0.30], [0.40], [0.35]], [[0.05], [0.05], [0.10]])
        >>> combined.mean.round(2), combined.tau2.round(3)
        (array([0.35]), array([0.001]))
    """
    r, sigma = (np.asarray(values, np.float64) for values in (scores, errors))
    if r.shape != sigma.shape or r.ndim not in (1, 2) or not r.size:
        raise ValueError(f'scores have shape {r.shape}, errors {sigma.shape}; give (K, M) both')
    if not (np.abs(r) < 1).all() or not ((sigma > 0) & np.isfinite(sigma)).all():
        raise ValueError('scores must lie between -1 and 1, errors be positive; leave NaN out')
    if not 0 < level < 1:
        raise ValueError(f'level must lie between 0 and 1, got {level}')
    r, sigma = (x[:, None] if x.ndim == 1 else x for x in (r, sigma))
    z, fixed, free = np.arctanh(r), sigma**-2.0, len(r) - 1
    q = (fixed * (z - (fixed * z).sum(0) / fixed.sum(0)) ** 2).sum(0)
    spread = fixed.sum(0) - np.square(fixed).sum(0) / fixed.sum(0)
    tau2 = np.zeros_like(q)
    if random and free:
        tau2 = np.maximum(0, (q - free) / spread)
    weights = 1 / (sigma**2 + tau2)
    mean, error = (weights * z).sum(0) / weights.sum(0), weights.sum(0) ** -0.5
    few = random and free > 0
    if few:  # Hartung and Knapp: what sessions differ by in fact, beside what is expected.
        error = error * np.sqrt(np.maximum(1, (weights * (z - mean) ** 2).sum(0) / free))
    known = student(free) if few else norm
    reach = known.ppf((1 + level) / 2) * error
    with np.errstate(invalid='ignore', divide='ignore'):
        i2 = np.where(q > 0, np.maximum(0, (q - free) / q), 0)
    return MetaAnalysis(
        mean=np.tanh(mean),
        interval=np.tanh(np.stack([mean - reach, mean + reach], 1)),
        p=2 * known.sf(np.abs(mean / error)),
        tau2=tau2,
        i2=i2,
        q=q,
        q_p=chi2.sf(q, free) if free else np.ones_like(q),
        weights=weights / weights.sum(0),
        level=level,
    )


def combine_results(results: Sequence[RSAResult], area: str, level: float = 0.95) -> MetaAnalysis:
    """Combine the scores of the same layers with one area, over sessions.

    Standard errors of z come from the bootstrap intervals of each result: their width over that of
    a normal distribution. Over subjects they come from the scores of these.

    Args:
        results: Of the sessions, each analysed with bootstraps.
        area: That all of them have.
        level: Coverage of the interval.

    Raises:
        ValueError: If layers differ, or a result lacks the area or intervals.
    """
    if not results:
        raise ValueError('there is no result to combine')
    scores, errors = [], []
    for i, result in enumerate(results):
        if result.layers != results[0].layers:
            raise ValueError(f'result {i} has other layers than the first')
        if area not in result.areas:
            raise ValueError(f'result {i} has no area {area!r}; it has {", ".join(result.areas)}')
        if result.intervals is None:
            raise ValueError(f'result {i} has no intervals; analyse with bootstraps=1000')
        column = result.areas.index(area)
        scores.append(result.scores[:, column])
        errors.append(_errors(result, area, column))
    return combine(np.array(scores), np.array(errors), level)


def _errors(result: RSAResult, area: str, column: int) -> np.ndarray:
    """(L,) standard errors of Fisher's z."""
    assert result.intervals is not None
    limits = result.intervals[:, column]
    if result.settings.bootstrap_over == 'subjects' and np.isfinite(limits).any():
        # Their limits are wide for few subjects, by more than their errors.
        models = result.grouped(result.rdms)
        subjects = present_subjects(result.area_rdms[area], f'area {area!r}')
        scores = compare_rdms(models, subjects, result.settings.method)
        own = scores.std(1, ddof=1) / np.sqrt(scores.shape[1])
        return own / (1 - result.scores[:, column] ** 2)
    wide = 2 * norm.ppf((1 + result.settings.level) / 2)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.diff(np.arctanh(limits), axis=1)[:, 0] / wide
