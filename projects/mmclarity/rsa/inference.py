"""Which similarities, and which differences between models, are more than chance."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .ceiling import normalise
from .compare import check_method, compare_rdms, drop_unknown, prepare
from .kendall import tau_a
from .validation import as_condensed, num_stimuli, to_square

RESAMPLED = ('stimuli', 'subjects', 'both')
# Resamplings worked on together: their weights of 4186 pairs stay in the cache.
# Ranks take a row of pairs for every RDM of every resampling: fewer fit.
CHUNK, RANKED_CHUNK = 32, 6


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
        return PairedDifferences(self.observed[:, None] - self.observed,
                                 np.moveaxis(limits, 0, -1), p)


def _inputs(models: Any, subjects: Any, method: str) -> tuple[np.ndarray, np.ndarray]:
    check_method(method)
    models, subjects = as_condensed(models, 'models'), as_condensed(subjects, 'subjects')
    if models.shape[1] != subjects.shape[1]:
        raise ValueError(f'models have {num_stimuli(models.shape[1])} stimuli, subjects '
                         f'{num_stimuli(subjects.shape[1])}; they must be the same')
    return models, subjects


def bootstrap(models: Any, subjects: Any, method: str = 'spearman', over: str = 'stimuli',
              num_samples: int = 1000, seed: int = 0, ceiling: bool = True) -> BootstrapResult:
    """Scores when stimuli, subjects or both are drawn again with replacement.

    A stimulus drawn twice makes pairs with itself, of dissimilarity zero by construction: they
    are dropped (as in rsatoolbox). A resampling is never written out: stimulus i drawn w_i times
    gives the pair (i, j) the weight w_i w_j, so all comparisons are weighted sums over the
    original pairs, and weighted ranks are cumulative weights in an order that is sorted once.

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
    scorer = _Resampler(models, subjects, method, ceiling and len(subjects) > 1)
    samples = np.empty((num_samples, len(models)))
    ceilings = np.empty((num_samples, 2)) if scorer.ceiling else None
    rows, columns = (index[known] for index in np.triu_indices(n, 1))
    chunk = RANKED_CHUNK if scorer.ranked else CHUNK
    for start in range(0, num_samples, chunk):
        part = slice(start, start + chunk)
        weights = stimuli[part][:, rows] * stimuli[part][:, columns]
        samples[part], bounds = scorer(weights, people[part])
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


def _mean_of_drawn(lower: np.ndarray, upper: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(B, 2), means of (B, S) bounds over the subjects that were drawn."""
    with np.errstate(invalid='ignore'):
        return np.stack([np.where(drawn, bound, 0).sum(1) / drawn.sum(1)
                         for bound in (lower, upper)], 1)


class _Resampler:
    """Scores of all models under weights of the pairs."""

    def __init__(self, models: np.ndarray, subjects: np.ndarray, method: str,
                 ceiling: bool) -> None:
        if method == 'pearson':  # sums of squares then keep their digits; nothing else changes
            models, subjects = (rows - rows.mean(1, keepdims=True) for rows in (models, subjects))
        self.models, self.subjects, self.method, self.ceiling = models, subjects, method, ceiling
        self.stack = np.concatenate([models, subjects])
        self.ranked = method in ('spearman', 'rho-a')
        if ceiling and method in ('cosine', 'pearson'):
            self.upper = np.triu_indices(len(subjects))
            self.products = (subjects[self.upper[0]] * subjects[self.upper[1]]).T
        if self.ranked:
            self.orders = [_Order(row) for row in self.stack]

    def __call__(self, weights: np.ndarray,
                 people: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(B, M) scores and (B, 2) ceilings under weights (B, P) and (B, S)."""
        split = len(self.models)
        if self.method == 'kendall':
            scores, bounds = zip(*(self._expanded(w, p) for w, p in zip(weights, people)))
            return np.stack(scores), (np.stack(bounds) if self.ceiling else None)
        if self.ranked:
            ranks = np.stack([order.ranks(weights) for order in self.orders], 1)
            rows = _standardised(ranks, weights, self.method)
            each = rows[:, :split] @ (rows[:, split:] * weights[:, None]).transpose(0, 2, 1)
        else:
            each = self._moments(weights)
        scores = np.einsum('bms,bs->bm', each, people) / people.sum(1)[:, None]
        if not self.ceiling:
            return scores, None
        if self.ranked:
            return scores, self._ceilings(weights, people, rows, ranks)
        return scores, self._gram_ceilings(weights, people)

    def _moments(self, weights: np.ndarray) -> np.ndarray:
        """(B, M, S) weighted pearson or cosine from weighted sums, as matrix products."""
        m, s = self.models, self.subjects
        cross = (weights @ (m[:, None] * s).reshape(-1, m.shape[1]).T).reshape(
            len(weights), len(m), len(s))
        squares = weights @ np.square(self.stack).T
        if self.method == 'pearson':
            total = weights.sum(1)
            sums = weights @ self.stack.T
            squares = squares - sums**2 / total[:, None]
            cross = cross - (sums[:, :len(m), None] * sums[:, None, len(m):]
                             / total[:, None, None])
        with np.errstate(invalid='ignore', divide='ignore'):
            scale = 1 / np.sqrt(squares)
        return cross * scale[:, :len(m), None] * scale[:, None, len(m):]

    def _gram_ceilings(self, weights: np.ndarray, people: np.ndarray) -> np.ndarray:
        """(B, 2) of pearson and cosine: pools are sums of subjects scaled to unit length.

        Their products with subjects and with themselves follow from those between subjects, one
        matrix product for all resamplings.
        """
        gram = np.empty((len(weights), len(self.subjects), len(self.subjects)))
        gram[:, self.upper[0], self.upper[1]] = weights @ self.products
        gram[:, self.upper[1], self.upper[0]] = gram[:, self.upper[0], self.upper[1]]
        if self.method == 'pearson':
            sums = weights @ self.subjects.T
            gram -= sums[:, :, None] * sums[:, None] / weights.sum(1)[:, None, None]
        with np.errstate(invalid='ignore', divide='ignore'):
            scale = 1 / np.sqrt(np.einsum('bss->bs', gram))
            gram *= scale[:, :, None] * scale[:, None]
            each = np.einsum('bst,bt->bs', gram, people)  # pool of all times each subject
            length = np.einsum('bs,bs->b', each, people)[:, None]
            upper = each / np.sqrt(length)
            lower = (each - people) / np.sqrt(length - 2 * people * each + people**2)
        return _mean_of_drawn(lower, upper, people > 0)

    def _ceilings(self, weights: np.ndarray, people: np.ndarray, rows: np.ndarray,
                  ranks: np.ndarray) -> np.ndarray:
        """(B, 2): subjects drawn several times are left out together, and count once."""
        split = len(self.models)
        subjects = rows[:, split:]
        # Ranks are pooled as they are: scaled, equal sums of them would differ by rounding.
        parts = ranks[:, split:]
        total = np.einsum('bs,bsp->bp', people, parts)
        pools = total[:, None] - people[:, :, None] * parts
        pools = np.concatenate([pools, total[:, None]], 1)
        # One resampling at a time: its pools stay in the cache.
        pools = np.stack([_weighted_ranks(group, w) for group, w in zip(pools, weights)])
        weighted = subjects * weights[:, None]
        lower = np.einsum('bsp,bsp->bs', pools[:, :-1], weighted)
        upper = np.einsum('bp,bsp->bs', pools[:, -1], weighted)
        # Subjects are centred, so that pools need not be; only their lengths are wanted.
        total = weights.sum(1)[:, None]
        with np.errstate(invalid='ignore', divide='ignore'):
            if self.method == 'rho-a':
                length = np.broadcast_to(np.sqrt((total**3 - total) / 12), pools.shape[:2])
            else:
                sums = (pools @ weights[:, :, None])[..., 0]
                squares = np.einsum('brp,brp,bp->br', pools, pools, weights)
                length = np.sqrt(squares - sums**2 / total)
            return _mean_of_drawn(lower / length[:, :-1], upper / length[:, -1:], people > 0)

    def _expanded(self, weights: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kendall has no weighted form in matrix products: the resampling is written out."""
        take = np.repeat(np.arange(len(weights)), weights.astype(int))
        drawn = np.flatnonzero(people)
        bounds = np.full(2, np.nan)
        if len(take) < 3:
            return np.full(len(self.models), np.nan), bounds
        subjects = self.subjects[drawn][:, take]
        scores = tau_a(self.models[:, take], subjects) @ people[drawn] / people.sum()
        if self.ceiling and len(drawn) > 1:
            ranks = normalise(subjects, self.method, 'rank')
            total = people[drawn] @ ranks
            pools = np.concatenate([total - people[drawn][:, None] * ranks, total[None]])
            table = tau_a(pools, subjects)
            bounds = np.array([np.diag(table).mean(), table[-1].mean()])
        return scores, bounds


class _Order:
    """A vector sorted once, whose ranks under any weights are cumulative sums."""

    def __init__(self, row: np.ndarray) -> None:
        self.order = np.argsort(row, kind='stable')
        ordered = row[self.order]
        starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.group = None if starts.all() else np.cumsum(starts) - 1
        self.starts = np.flatnonzero(starts)

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Mean rank of the copies of each entry: (B, P) integer weights to (B, P)."""
        mine = weights[:, self.order]
        if self.group is not None:
            mine = np.add.reduceat(mine, self.starts, axis=1)
        ranks = np.cumsum(mine, axis=1)
        ranks -= (mine - 1) / 2
        if self.group is not None:
            ranks = ranks[:, self.group]
        out = np.empty_like(weights)
        out[:, self.order] = ranks
        return out


def _weighted_ranks(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks of the copies of each entry: rows (R, P) of multiples of 1/2, weights (P,).

    Value and place are packed into one integer: numpy sorts integers an order of magnitude faster
    than it finds the sorting order of floats.
    """
    count = rows.shape[-1]
    bits = max(1, (count - 1).bit_length())
    keys = np.rint(2 * rows).astype(np.int64) << bits
    keys += np.arange(count)
    keys.sort(axis=-1)
    place = keys & ((1 << bits) - 1)
    keys >>= bits
    mine = weights[place]
    after = np.cumsum(mine, -1)
    before = after - mine
    # Equal values share the mean of their ranks, from the start of the first to the end of the
    # last: running extremes carry both over the group.
    new = np.empty(keys.shape, bool)
    new[..., 0] = True
    np.not_equal(keys[..., 1:], keys[..., :-1], out=new[..., 1:])
    if not new.all():
        last = np.concatenate([new[..., 1:], np.ones_like(new[..., :1])], -1)
        before = np.maximum.accumulate(np.where(new, before, -1), -1)
        after = np.minimum.accumulate(np.where(last, after, np.inf)[..., ::-1], -1)[..., ::-1]
    out = np.empty_like(after)
    np.put_along_axis(out, place, (before + after + 1) / 2, -1)
    return out


def _standardised(rows: np.ndarray, weights: np.ndarray, method: str) -> np.ndarray:
    """Rows (B, R, P) such that weighted inner products are the comparison."""
    total = weights.sum(1)[:, None, None]
    if method != 'cosine':
        rows = rows - (rows @ weights[:, :, None]) / total
    if method == 'rho-a':
        with np.errstate(invalid='ignore', divide='ignore'):
            return rows * np.sqrt(12 / (total**3 - total))
    with np.errstate(invalid='ignore', divide='ignore'):
        return rows / np.sqrt(np.square(rows) @ weights[:, :, None])


def permutation_test(models: Any, subjects: Any, method: str = 'spearman',
                     num_permutations: int = 1000, seed: int = 0) -> np.ndarray:
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
        score = shuffled @ pooled if pooled is not None else \
            _quiet_compare(shuffled, subjects, method).mean(1)
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
