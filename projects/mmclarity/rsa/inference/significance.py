"""Which similarities, and which differences between models, are more than chance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from ..rdms.pairs import num_stimuli, to_square
from ..rdms.rdms import as_condensed
from ..similarity.compare import (
    PREPARED,
    check_method,
    check_same_stimuli,
    compare_known,
    counted_pairs,
    groups_of,
    kinds_of,
    prepare,
    present_subjects,
    warn_unknown,
    without_groups,
)
from ..similarity.ranks import all_finite
from .resampling import in_parts, make_resampler
from .student import Spread

RESAMPLED = ('stimuli', 'subjects', 'both')
# Relabellings multiplied together: models are read once for all of them.
PERMUTED = 32


@dataclass(frozen=True)
class PairedDifferences:
    """Scores of models compared in the same resamplings.

    Args:
        difference: (M, M), observed score of the row's model minus the column's.
        interval: (M, M, 2), limits.
        p: (M, M), two-sided, at least 1 / (resamplings + 1) and at most 1. Over stimuli: twice the
            share of resamplings on the rarer side of zero. Where subjects were drawn: of Student's
            t. NaN where a score is undefined.
    """

    difference: np.ndarray
    interval: np.ndarray
    p: np.ndarray


@dataclass(frozen=True)
class BootstrapResult:
    """Scores of M models in B resamplings.

    Args:
        observed: (M,), scores of the data as they are.
        samples: (B, M), mean over subjects; NaN where a resampling had too few
            stimuli.
        ceilings: (B, 2), lower and upper noise ceiling of each.
        over: What was resampled.
        method: How RDMs were compared.
        by_subject: (M, S), scores with each subject. Where subjects were drawn, intervals and
            tests go by their spread and number (Student's t), as draws from a few never leave the
            range of these.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import BootstrapResult, bootstrap
        >>> rng = np.random.default_rng(0)
        >>> models = rng.random((2, 45))
        >>> subjects = models[0] + 0.3 * rng.normal(size=(4, 45))
        >>> differences = bootstrap(models, subjects, num_samples=200).paired_differences()
        >>> bool(differences.difference[0, 1] > 0)
        True
    """

    observed: np.ndarray
    samples: np.ndarray
    ceilings: np.ndarray | None
    over: str
    method: str
    by_subject: np.ndarray | None = None

    @property
    def standard_error(self) -> np.ndarray:
        """(M,): standard deviation over resamplings; that of new subjects where these are drawn."""
        spread = self._spread(self.samples, lambda scores: scores)
        return np.nanstd(self.samples, axis=0, ddof=1) if spread is None else spread.error

    def interval(self, level: float = 0.95) -> np.ndarray:
        """Limits (M, 2): percentiles over stimuli, Student's t where subjects were drawn."""
        spread = self._spread(self.samples, lambda scores: scores)
        if spread is not None:
            return spread.limits(self.observed, level)
        tail = (1 - level) / 2
        return quantiles(self.samples, tail).T

    def paired_differences(self, level: float = 0.95) -> PairedDifferences:
        """Every model against every other, resampling by resampling."""
        differences = self.samples[:, :, None] - self.samples[:, None]
        observed = self.observed[:, None] - self.observed
        count = np.isfinite(differences).sum(0)
        spread = self._spread(differences, lambda scores: scores[:, None] - scores)
        if spread is not None:
            p = np.maximum(spread.two_sided(observed), 1 / (count + 1))
            return PairedDifferences(observed, spread.difference_limits(observed, level), p)
        tail = (1 - level) / 2
        limits = quantiles(differences, tail)
        rarer = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
        p = np.where(count, np.minimum(1, 2 * (rarer + 1) / (count + 1)), np.nan)
        return PairedDifferences(observed, np.moveaxis(limits, 0, -1), p)

    def _spread(self, samples: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> Spread | None:
        """That of what is made of scores, where subjects were drawn."""
        if self.over == 'stimuli' or self.by_subject is None:
            return None
        drawn = None if self.over == 'subjects' else np.nanvar(samples, axis=0, ddof=1)
        return Spread(of(self.by_subject), drawn)


def quantiles(samples: np.ndarray, tail: float) -> np.ndarray:
    """(2, ...) of (B, ...), the limits that cut off a tail each; NaN where all samples are."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'All-NaN slice')
        return np.nanquantile(samples, [tail, 1 - tail], axis=0)


def _inputs(
    models: Any, subjects: Any, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[str, ...] | None]:
    """Models (M, P), subjects (S, P), which pairs count, and the groups of the stimuli."""
    check_method(method)
    groups, mask = groups_of(subjects, models), counted_pairs(models, subjects)
    rows, others = as_condensed(models, 'models'), as_condensed(subjects, 'subjects')
    check_same_stimuli(rows, others, 'models', 'subjects')
    if mask is None:
        warn_unknown(rows, others, stacklevel=4)
    else:
        warn_unknown(rows[:, mask], others[:, mask], stacklevel=4)
        others = without_groups(others, mask)
    return rows, present_subjects(others), mask, groups


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

    Pairs that a subject lacks (NaN) count for the others. Of stimuli in groups (see
    :class:`RDMs`) whole groups are drawn.

    Args:
        models: (M, P) RDMs of models.
        subjects: (S, P) RDMs of subjects.
        method: Of :func:`compare_rdms`.
        over: 'stimuli', 'subjects' or 'both'.
        num_samples: Resamplings.
        seed: Of the draws.
        ceiling: Also the noise ceiling of every resampling, where there are two subjects or more.

    Returns:
        See there. A resampling of fewer than 3 different stimuli is NaN.

    Raises:
        ValueError: If an option is unknown, sizes differ, or one subject is to be resampled.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import bootstrap
        >>> rng = np.random.default_rng(0)
        >>> models = rng.random((2, 45))
        >>> subjects = models[0] + 0.3 * rng.normal(size=(4, 45))
        >>> result = bootstrap(models, subjects, num_samples=200)
        >>> result.observed.shape, result.interval().shape
        ((2,), (2, 2))
    """
    models, subjects, _, groups = _inputs(models, subjects, method)
    if over not in RESAMPLED:
        raise ValueError(f'over must be one of {", ".join(RESAMPLED)}, got {over!r}')
    if num_samples < 1:
        raise ValueError(f'num_samples must be at least 1, got {num_samples}')
    if over != 'stimuli' and len(subjects) < 2:
        raise ValueError("one subject cannot be resampled; use over='stimuli'")
    rng, n = np.random.default_rng(seed), num_stimuli(models.shape[1])
    stimuli, people = np.ones((num_samples, n)), np.ones((num_samples, len(subjects)))
    kinds = kinds_of(groups, n)
    if over != 'subjects':
        stimuli = _counts(rng, num_samples, int(kinds.max()) + 1)[:, kinds]
    if over != 'stimuli':
        people = _counts(rng, num_samples, len(subjects))
    ceiling = ceiling and len(subjects) > 1
    resample = make_resampler(models, subjects, method, ceiling)
    samples, ceilings = in_parts(resample, stimuli, people, len(models))
    few = (stimuli > 0).sum(1) < 3
    if over != 'subjects' and kinds.max() + 1 == (3 if groups is None else 2):
        what = 'three stimuli' if groups is None else 'two groups of stimuli'
        warnings.warn(
            f'{what}: every draw that counts is of all of them, so that there is no interval over '
            'stimuli (NaN); show more',
            stacklevel=2,
        )
        few[:] = True
    samples[few] = np.nan
    if ceilings is not None:
        ceilings[few | ((people > 0).sum(1) < 2)] = np.nan
    table = compare_known(models, subjects, method)
    return BootstrapResult(table.mean(1), samples, ceilings, over, method, table)


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

    Of stimuli in groups (see :class:`RDMs`) groups of one size change places, and stimuli within
    a group: what resembles one another for belonging together stays together.

    Args:
        models: (M, P) RDMs of models.
        subjects: (S, P) RDMs of subjects.
        method: Of :func:`compare_rdms`.
        num_permutations: Relabellings; the least p is 1 / (num_permutations + 1).
        seed: Of the relabellings.

    Returns:
        (M,) one-sided p (greater), of the mean over subjects; NaN where the score is undefined.

    Raises:
        ValueError: If an option is unknown, sizes differ or num_permutations is below 1.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import permutation_test
        >>> rng = np.random.default_rng(0)
        >>> models = rng.random((2, 45))
        >>> subjects = models[0] + 0.3 * rng.normal(size=(4, 45))
        >>> p = permutation_test(models, subjects, num_permutations=99)
        >>> p.shape, bool(p[0] < 0.05)
        ((2,), True)
    """
    models, subjects, mask, groups = _inputs(models, subjects, method)
    if num_permutations < 1:
        raise ValueError(f'num_permutations must be at least 1, got {num_permutations}')
    observed = compare_known(models, subjects, method).mean(1)
    rng, n = np.random.default_rng(seed), num_stimuli(models.shape[1])
    rows, columns = np.triu_indices(n, 1)
    counted = np.ones(models.shape[1], bool) if mask is None else mask
    orders = (
        rng.permutation(n) if groups is None else _relabelled(groups, rng)
        for _ in range(num_permutations)
    )
    exceed = np.zeros(len(models))
    if method in PREPARED and all_finite(models) and all_finite(subjects[:, counted]):
        # Relabelling moves the entries of a row about and changes neither their mean nor their
        # ranks: prepared once, and subjects averaged once. That one row is moved, the other way,
        # in the place of all models.
        whole, pooled = np.zeros(models.shape), np.zeros((1, models.shape[1]))
        whole[:, counted] = prepare(models[:, counted], method)
        pooled[:, counted] = prepare(subjects[:, counted], method).mean(0)
        table = to_square(pooled)[0]
        while chunk := list(islice(orders, PERMUTED)):
            back = np.argsort(chunk, axis=1).astype(np.int32)
            moved = np.stack([table[one[:, None], one][rows, columns] for one in back])
            exceed += (moved @ whole.T >= observed - 1e-12).sum(0)
    else:
        square = to_square(models)
        for order in orders:
            shuffled = square[:, order[rows], order[columns]]
            exceed += compare_known(shuffled, subjects, method).mean(1) >= observed - 1e-12
    p = (exceed + 1) / (num_permutations + 1)
    p[np.isnan(observed)] = np.nan
    return p


def _relabelled(groups: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """(n,) an order in which every place goes to a group of the same size."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    sizes: dict[int, list[list[int]]] = {}
    for places in members.values():
        sizes.setdefault(len(places), []).append(places)
    order = np.empty(len(groups), int)
    for alike in sizes.values():
        for places, source in zip(alike, rng.permutation(len(alike))):
            order[places] = rng.permutation(alike[source])
    return order


def fdr(p: Any, axis: int | None = None) -> np.ndarray:
    """Benjamini and Hochberg's (1995) q: the false discovery rate at which each is found.

    Args:
        p: p values of any shape; NaN is kept and not counted.
        axis: Correct along this axis only; over all if it is not given.

    Returns:
        q of the same shape, in [0, 1].

    Raises:
        ValueError: If a value lies outside [0, 1].

    Examples:
        >>> from mmclarity.rsa import fdr
        >>> fdr([0.01, 0.02, 0.5]).round(3)
        array([0.03, 0.03, 0.5 ])
    """
    p = np.asarray(p, np.float64)
    if ((p < 0) | (p > 1)).any():
        raise ValueError('p values must lie between 0 and 1')
    if axis is not None:
        return np.apply_along_axis(fdr, axis, p)
    q, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q
