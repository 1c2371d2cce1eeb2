"""Scores and noise ceilings of resampled stimuli and subjects, without writing them out."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mmclarity.utils.cpus import available_cpus

from ..rdms.pairs import num_stimuli, to_square
from ..similarity.compare import FURTHER_METHODS, compare_known, patterns
from ..similarity.drawn_ranks import DrawnRanks
from ..similarity.kendall import tau_a
from .noise_ceiling import bounds, normalise

# Resamplings worked on together: their weights of 4186 pairs stay in the cache.
CHUNK = 32
# (B, n) how often each stimulus is drawn and (B, S) each subject, to (B, M) scores, means over the
# subjects, and (B, 2) ceilings.
Resample = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def make_resampler(
    models: np.ndarray, subjects: np.ndarray, method: str, ceiling: bool
) -> Resample:
    """How scores of models are found in resamplings.

    Args:
        models: (M, P), may hold NaN.
        subjects: (S, P), may hold NaN.
        method: Of :func:`compare_rdms`.
        ceiling: Also the noise ceilings; needs two subjects.
    """
    rows, columns = np.triu_indices(num_stimuli(models.shape[1]), 1)
    if method in FURTHER_METHODS:
        return _WrittenOut(models, subjects, method, ceiling)
    mine, others = patterns(models), patterns(subjects)
    if len(mine) == len(others) == 1:
        known = mine[0][1] & others[0][1]
        return _of_known(
            models[:, known], subjects[:, known], method, ceiling, rows[known], columns[known]
        )
    return _Mixed(models, subjects, method, ceiling, rows, columns)


def _of_known(
    models: np.ndarray,
    subjects: np.ndarray,
    method: str,
    ceiling: bool,
    rows: np.ndarray,
    columns: np.ndarray,
) -> Resample:
    """:func:`make_resampler` of finite (M, K) and (S, K); (K,) the two stimuli of each pair."""
    if method in ('pearson', 'cosine'):
        return _Moments(models, subjects, method, ceiling, rows, columns)
    if method != 'kendall':
        return DrawnRanks(models, subjects, rows, columns, method == 'rho-a', ceiling)
    return _Kendall(models, subjects, ceiling, rows, columns)


def in_parts(
    resample: Resample, stimuli: np.ndarray, people: np.ndarray, models: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """(B, M) scores and (B, 2) ceilings, a few resamplings at a time, on all processors."""
    places = [slice(start, start + CHUNK) for start in range(0, len(stimuli), CHUNK)]
    workers = min(len(places), available_cpus())
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda part: resample(stimuli[part], people[part]), places))
    ceilings = [bounds for _, bounds in parts if bounds is not None]
    samples = np.concatenate([scores for scores, _ in parts])
    return samples.reshape(len(stimuli), models), np.concatenate(ceilings) if ceilings else None


class _WrittenOut:
    """Methods without a weighted form: each resampling is a new set of stimuli."""

    def __init__(
        self, models: np.ndarray, subjects: np.ndarray, method: str, ceiling: bool
    ) -> None:
        self.models, self.subjects = to_square(models), to_square(subjects)
        # Copies of a stimulus are no pair; the kernels of Bures' similarity need all pairs.
        place = np.arange(self.models.shape[1])
        self.models[:, place, place] = 0 if method == 'bures' else np.nan
        self.method, self.ceiling = method, ceiling

    def __call__(
        self, stimuli: np.ndarray, people: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        scores, ceilings = zip(*map(self._one, stimuli, people))
        return np.stack(scores), (np.array(ceilings) if self.ceiling else None)

    def _one(
        self, stimuli: np.ndarray, people: np.ndarray
    ) -> tuple[np.ndarray, tuple[float, float]]:
        order, drawn = np.repeat(np.arange(len(stimuli)), stimuli.astype(int)), people > 0
        rows, columns = (order[index] for index in np.triu_indices(len(order), 1))
        models, subjects = self.models[:, rows, columns], self.subjects[drawn][:, rows, columns]
        if self.method != 'bures':
            subjects[:, rows == columns] = np.nan
        table = compare_known(models, subjects, self.method)
        times = people[drawn]
        limits = (math.nan, math.nan)
        if self.ceiling and len(times) > 1 and ((~np.isnan(subjects)).sum(1) >= 3).all():
            limits = bounds(subjects, self.method, 'rank', times)
        return table @ times / times.sum(), limits


class _Mixed:
    """Models and subjects that lack different pairs: those alike are resampled together."""

    def __init__(
        self,
        models: np.ndarray,
        subjects: np.ndarray,
        method: str,
        ceiling: bool,
        rows: np.ndarray,
        columns: np.ndarray,
    ) -> None:
        self.models, self.subjects, self.method = len(models), subjects, method
        self.ceiling, self.rows, self.columns = ceiling, rows, columns
        self.parts = []
        for theirs, known in patterns(subjects):
            for mine, known_too in patterns(models):
                both = known & known_too
                if both.sum() >= 3:
                    part = models[mine][:, both], subjects[theirs][:, both]
                    resample = _of_known(*part, method, False, rows[both], columns[both])
                    self.parts.append((mine, theirs, resample))

    def __call__(
        self, stimuli: np.ndarray, people: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        total = np.zeros((len(stimuli), self.models))
        count = np.zeros_like(total)
        for mine, theirs, resample in self.parts:
            weight = people[:, theirs].sum(1)
            drawn = np.flatnonzero(weight)
            if drawn.size:
                scores, _ = resample(stimuli[drawn], people[np.ix_(drawn, theirs)])
                place = np.ix_(drawn, mine)
                total[place] += scores * weight[drawn, None]
                count[place] += weight[drawn, None]
        # Who was drawn and could not be compared leaves no score, as among complete RDMs.
        with np.errstate(invalid='ignore', divide='ignore'):
            scores = np.where(count == people.sum(1)[:, None], total / count, np.nan)
        ceilings = np.array(list(map(self._bounds, stimuli, people))) if self.ceiling else None
        return scores, ceilings

    def _bounds(self, stimuli: np.ndarray, people: np.ndarray) -> tuple[float, float]:
        """The ceiling of one resampling, written out."""
        copies = (stimuli[self.rows] * stimuli[self.columns]).astype(int)
        drawn = np.flatnonzero(people)
        subjects = np.repeat(self.subjects[drawn], copies, axis=1)
        if len(drawn) < 2 or ((~np.isnan(subjects)).sum(1) < 3).any():
            return math.nan, math.nan
        return bounds(subjects, self.method, 'rank', people[drawn])


def _mean_of_drawn(lower: np.ndarray, upper: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(B, 2), means of (B, S) bounds over the subjects that were drawn."""
    with np.errstate(invalid='ignore'):
        return np.stack(
            [np.where(drawn, bound, 0).sum(1) / drawn.sum(1) for bound in (lower, upper)], 1
        )


class _Moments:
    """Pearson and cosine: weighted sums over all pairs, of many resamplings at once.

    Stimulus i drawn w_i times gives the pair (i, j) the weight w_i w_j.
    """

    def __init__(
        self,
        models: np.ndarray,
        subjects: np.ndarray,
        method: str,
        ceiling: bool,
        rows: np.ndarray,
        columns: np.ndarray,
    ) -> None:
        self.method, self.ceiling, self.rows, self.columns = method, ceiling, rows, columns
        if method == 'pearson':  # sums of squares then keep their digits; nothing else changes
            models, subjects = (part - part.mean(1, keepdims=True) for part in (models, subjects))
        self.models, self.subjects = models, subjects
        self.stack = np.concatenate([models, subjects])
        if ceiling:
            self.upper = np.triu_indices(len(subjects))
            self.products = (subjects[self.upper[0]] * subjects[self.upper[1]]).T

    def __call__(
        self, stimuli: np.ndarray, people: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        weights = stimuli[:, self.rows] * stimuli[:, self.columns]
        with np.errstate(invalid='ignore', divide='ignore'):
            scores = np.einsum('bms,bs->bm', self._each(weights), people)
            return (
                scores / people.sum(1)[:, None],
                self._ceilings(weights, people) if self.ceiling else None,
            )

    def _each(self, weights: np.ndarray) -> np.ndarray:
        """(B, M, S) comparisons, as matrix products."""
        m, s = self.models, self.subjects
        cross = (weights @ (m[:, None] * s).reshape(-1, m.shape[1]).T).reshape(
            len(weights), len(m), len(s)
        )
        squares = weights @ np.square(self.stack).T
        if self.method == 'pearson':
            total = weights.sum(1)
            sums = weights @ self.stack.T
            squares = squares - sums**2 / total[:, None]
            cross = cross - (
                sums[:, : len(m), None] * sums[:, None, len(m) :] / total[:, None, None]
            )
        scale = 1 / np.sqrt(squares)
        return cross * scale[:, : len(m), None] * scale[:, None, len(m) :]

    def _ceilings(self, weights: np.ndarray, people: np.ndarray) -> np.ndarray:
        """(B, 2): pools are sums of subjects scaled to unit length.

        Their products with subjects and with themselves follow from those between subjects, one
        matrix product for all resamplings. Subjects drawn several times are left out together,
        and count once.
        """
        gram = np.empty((len(weights), len(self.subjects), len(self.subjects)))
        gram[:, self.upper[0], self.upper[1]] = weights @ self.products
        gram[:, self.upper[1], self.upper[0]] = gram[:, self.upper[0], self.upper[1]]
        if self.method == 'pearson':
            sums = weights @ self.subjects.T
            gram -= sums[:, :, None] * sums[:, None] / weights.sum(1)[:, None, None]
        scale = 1 / np.sqrt(np.einsum('bss->bs', gram))
        gram *= scale[:, :, None] * scale[:, None]
        each = np.einsum('bst,bt->bs', gram, people)  # pool of all times each subject
        length = np.einsum('bs,bs->b', each, people)[:, None]
        upper = each / np.sqrt(length)
        lower = (each - people) / np.sqrt(length - 2 * people * each + people**2)
        return _mean_of_drawn(lower, upper, people > 0)


class _Kendall:
    """Kendall has no weighted form: each resampling is written out."""

    def __init__(
        self,
        models: np.ndarray,
        subjects: np.ndarray,
        ceiling: bool,
        rows: np.ndarray,
        columns: np.ndarray,
    ) -> None:
        self.split, self.ceiling, self.rows, self.columns = len(models), ceiling, rows, columns
        self.stack = np.concatenate([models, subjects])

    def __call__(
        self, stimuli: np.ndarray, people: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        scores, limits = zip(*map(self._one, stimuli, people))
        return np.stack(scores), (np.stack(limits) if self.ceiling else None)

    def _one(self, stimuli: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) scores and (2,) ceilings of (n,) and (S,) counts."""
        weights = stimuli[self.rows] * stimuli[self.columns]
        if (stimuli > 0).sum() < 3 or not weights.any():
            return np.full(self.split, np.nan), np.full(2, np.nan)
        drawn = np.flatnonzero(people)
        rows = np.concatenate([np.arange(self.split), self.split + drawn])
        copies, times = np.repeat(np.arange(len(weights)), weights.astype(int)), people[drawn]
        with np.errstate(invalid='ignore', divide='ignore'):
            models, subjects = np.split(self.stack[rows].take(copies, axis=1), [self.split])
            scores = tau_a(models, subjects) @ times / times.sum()
            if not self.ceiling or len(times) < 2:
                return scores, np.full(2, np.nan)
            table = tau_a(_pools(normalise(subjects, 'kendall', 'rank'), times), subjects)
        return scores, np.array([np.diag(table).mean(), table[-1].mean()])


def _pools(ranks: np.ndarray, people: np.ndarray) -> np.ndarray:
    """(S + 1, K) sums of ranks (S, K): without all copies of each subject, and of all."""
    pooled = people @ ranks
    return np.concatenate([pooled - people[:, None] * ranks, pooled[None]])
