"""Which similarities, and which differences between models, are more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rdms.rdms import as_condensed, num_stimuli, to_square
from ..similarity.compare import check_method, compare_rdms, drop_unknown, prepare
from ..similarity.kendall import tau_a
from .resampling import make_resampler

RESAMPLED = ('stimuli', 'subjects', 'both')
# Resamplings worked on together: their weights of 4186 pairs stay in the cache.
CHUNK = 32


@dataclass(frozen=True)
class PairedDifferences:
    """Scores of models compared in the same resamplings.

    Args:
        difference (np.ndarray): (M, M), observed score of the row's model minus the column's.
        interval (np.ndarray): (M, M, 2), percentile limits.
        p (np.ndarray): (M, M), two-sided: twice the share of resamplings on the rarer side of
            zero, at least 1 / (resamplings + 1) and at most 1.
    """

    difference: np.ndarray
    interval: np.ndarray
    p: np.ndarray


@dataclass(frozen=True)
class BootstrapResult:
    """Scores of M models in B resamplings.

    Args:
        observed (np.ndarray): (M,), scores of the data as they are.
        samples (np.ndarray): (B, M), mean over subjects; NaN where a resampling had too few
            stimuli.
        ceilings (np.ndarray, optional): (B, 2), lower and upper noise ceiling of each.
        over (str): What was resampled.
        method (str): How RDMs were compared.
    """

    observed: np.ndarray
    samples: np.ndarray
    ceilings: np.ndarray | None
    over: str
    method: str

    @property
    def standard_error(self) -> np.ndarray:
        """(M,): standard deviation over resamplings."""
        return np.nanstd(self.samples, axis=0, ddof=1)

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Percentile limits (M, 2)."""
        tail = (1 - level) / 2
        return np.nanquantile(self.samples, [tail, 1 - tail], axis=0).T

    def paired_differences(self, level: float = 0.95) -> PairedDifferences:
        """Every model against every other, resampling by resampling."""
        differences = self.samples[:, :, None] - self.samples[:, None]
        tail = (1 - level) / 2
        limits = np.nanquantile(differences, [tail, 1 - tail], axis=0)
        count = np.isfinite(differences).sum(0)
        rarer = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
        p = np.minimum(1, 2 * (rarer + 1) / (count + 1))
        return PairedDifferences(
            self.observed[:, None] - self.observed, np.moveaxis(limits, 0, -1), p
        )


def _inputs(models: Any, subjects: Any, method: str) -> tuple[np.ndarray, np.ndarray]:
    check_method(method)
    models, subjects = as_condensed(models, 'models'), as_condensed(subjects, 'subjects')
    if models.shape[1] != subjects.shape[1]:
        raise ValueError(
            f'models have {num_stimuli(models.shape[1])} stimuli, subjects '
            f'{num_stimuli(subjects.shape[1])}; they must be the same'
        )
    return models, subjects


def bootstrap(
    models: Any,
    subjects: Any,
    method: str = 'spearman',
    over: str = 'stimuli',
    num_samples: int = 1000,
    seed: int = 0,
    ceiling: bool = True,
) -> BootstrapResult:
    """Scores when stimuli, subjects or both are drawn again with replacement.

    A stimulus drawn twice makes pairs with itself, of dissimilarity zero by construction: they
    are dropped (as in rsatoolbox). A resampling is never written out: stimulus i drawn w_i times
    gives the pair (i, j) the weight w_i w_j, so all comparisons are weighted sums over the
    original pairs. Ranks are sorted anew among the pairs that are left, some 40 % of them.

    Args:
        models: (M, P) RDMs of models.
        subjects: (S, P) RDMs of subjects.
        method (str): Of :func:`compare_rdms`. Defaults to 'spearman'.
        over (str): 'stimuli', 'subjects' or 'both'. Defaults to 'stimuli'.
        num_samples (int): Resamplings. Defaults to 1000.
        seed (int): Of the draws. Defaults to 0.
        ceiling (bool): Also the noise ceiling of every resampling, where there are two subjects
            or more. Defaults to True.

    Returns:
        BootstrapResult: See there. A resampling of fewer than 3 different stimuli is NaN.

    Raises:
        ValueError: If an option is unknown, sizes differ, or one subject is to be resampled.
    """
    models, subjects = _inputs(models, subjects, method)
    if over not in RESAMPLED:
        raise ValueError(f'over must be one of {", ".join(RESAMPLED)}, got {over!r}')
    if num_samples < 1:
        raise ValueError(f'num_samples must be at least 1, got {num_samples}')
    if over != 'stimuli' and len(subjects) < 2:
        raise ValueError("one subject cannot be resampled; use over='stimuli'")
    rng, n = np.random.default_rng(seed), num_stimuli(models.shape[1])
    stimuli, people = np.ones((num_samples, n)), np.ones((num_samples, len(subjects)))
    if over != 'subjects':
        stimuli = _counts(rng, num_samples, n)
    if over != 'stimuli':
        people = _counts(rng, num_samples, len(subjects))
    known = ~(np.isnan(models).any(0) | np.isnan(subjects).any(0))
    models, subjects = drop_unknown(models, subjects)
    rows, columns = (index[known] for index in np.triu_indices(n, 1))
    ceiling = ceiling and len(subjects) > 1
    resample = make_resampler(models, subjects, method, ceiling, rows, columns)
    samples = np.empty((num_samples, len(models)))
    ceilings = np.empty((num_samples, 2)) if ceiling else None
    for start in range(0, num_samples, CHUNK):
        part = slice(start, start + CHUNK)
        samples[part], bounds = resample(stimuli[part], people[part])
        if ceilings is not None:
            ceilings[part] = bounds
    few = (stimuli > 0).sum(1) < 3
    samples[few] = np.nan
    if ceilings is not None:
        ceilings[few | ((people > 0).sum(1) < 2)] = np.nan
    observed = _quiet_compare(models, subjects, method).mean(1)
    return BootstrapResult(observed, samples, ceilings, over, method)


def _counts(rng: np.random.Generator, draws: int, size: int) -> np.ndarray:
    """How often each of ``size`` things is drawn in ``size`` draws: (draws, size)."""
    drawn = rng.integers(0, size, (draws, size)) + np.arange(draws)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size).astype(float)


def permutation_test(
    models: Any,
    subjects: Any,
    method: str = 'spearman',
    num_permutations: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Chance of a score this high if the stimuli of the models were labelled at random.

    Args:
        models: (M, P) RDMs of models.
        subjects: (S, P) RDMs of subjects.
        method (str): Of :func:`compare_rdms`. Defaults to 'spearman'.
        num_permutations (int): Relabellings; the least p is 1 / (num_permutations + 1).
            Defaults to 1000.
        seed (int): Of the relabellings. Defaults to 0.

    Returns:
        np.ndarray: (M,) one-sided p (greater), of the mean over subjects; NaN where the score is
        undefined.

    Raises:
        ValueError: If an option is unknown, sizes differ or num_permutations is below 1.
    """
    models, subjects = _inputs(models, subjects, method)
    if num_permutations < 1:
        raise ValueError(f'num_permutations must be at least 1, got {num_permutations}')
    observed = compare_rdms(models, subjects, method).mean(1)
    rng, n = np.random.default_rng(seed), num_stimuli(models.shape[1])
    square = to_square(models)
    rows, columns = np.triu_indices(n, 1)
    unknown = np.isnan(models).any() or np.isnan(subjects).any()
    pooled = None
    if method != 'kendall' and not unknown:
        # Relabelling moves the entries of a row about and changes neither their mean nor their
        # ranks: prepared once, and subjects averaged once.
        square = to_square(prepare(models, method))
        pooled = prepare(subjects, method).mean(0)
    exceed = np.zeros(len(models))
    for _ in range(num_permutations):
        order = rng.permutation(n)
        shuffled = square[:, order[rows], order[columns]]
        score = (
            shuffled @ pooled
            if pooled is not None
            else _quiet_compare(shuffled, subjects, method).mean(1)
        )
        exceed += score >= observed - 1e-12
    p = (exceed + 1) / (num_permutations + 1)
    p[np.isnan(observed)] = np.nan
    return p


def _quiet_compare(a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray:
    """:func:`compare_rdms` without its warnings, which the first comparison has given."""
    known = ~(np.isnan(a).any(0) | np.isnan(b).any(0))
    a, b = a[:, known], b[:, known]
    return tau_a(a, b) if method == 'kendall' else prepare(a, method) @ prepare(b, method).T


def fdr(p: Any, axis: int | None = None) -> np.ndarray:
    """Benjamini and Hochberg's (1995) q: the false discovery rate at which each is found.

    Args:
        p: p values of any shape; NaN is kept and not counted.
        axis (int, optional): Correct along this axis only. Defaults to None: over all.

    Returns:
        np.ndarray: q of the same shape, in [0, 1].

    Raises:
        ValueError: If a value lies outside [0, 1].
    """
    p = np.asarray(p, np.float64)
    if ((p < 0) | (p > 1)).any():
        raise ValueError('p values must lie between 0 and 1')
    if axis is not None:
        return np.apply_along_axis(fdr, axis, p)
    flat = p.ravel()
    q, known = np.full(flat.shape, np.nan), np.flatnonzero(~np.isnan(flat))
    order = known[np.argsort(flat[known])]
    raw = flat[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1)
    return q.reshape(p.shape)
