"""Spearman's rho and rho-a of resampled stimuli, many resamplings in one compiled call.

Nothing here holds Python's lock, so that threads share the work: in numpy, with a dozen calls a
resampling, they would wait for one another.
"""

from __future__ import annotations

import numpy as np

from mmclarity.utils.jit import compiled

from .ranks import dense_ranks, ranks_of_kept, weighted_ranks


class DrawnRanks:
    """Scores and noise ceilings of drawn stimuli and subjects.

    Stimulus i drawn c_i times gives the pair (i, j) the weight c_i c_j; a pair is ranked as often
    as that. The score of a model with all subjects needs one inner product, as subjects' ranks may
    be scaled and added first.

    Args:
        models: (M, K) of finite dissimilarities.
        subjects: (S, K), likewise.
        rows: (K,) first stimulus of each pair.
        columns: (K,) second one.
        rho_a: Divide by the length of ranks without ties.
        ceiling: Also the noise ceilings.
    """

    def __init__(
        self,
        models: np.ndarray,
        subjects: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        rho_a: bool,
        ceiling: bool,
    ) -> None:
        order, dense, _ = dense_ranks(np.concatenate([models, subjects]))
        # In rising order they are read one after another, not from all over the row.
        rising = np.take_along_axis(dense, order, 1)
        split = len(models)
        self.models = order[:split], rising[:split]
        self.subjects = order[split:], rising[split:]
        self.pairs = rows.astype(np.int32), columns.astype(np.int32)
        self.rho_a, self.ceiling = rho_a, ceiling

    def __call__(
        self, stimuli: np.ndarray, people: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """(B, M) scores and (B, 2) ceilings of (B, n) and (B, S) counts."""
        scores = np.full((len(stimuli), len(self.models[0])), np.nan)
        ceilings = np.full((len(stimuli), 2), np.nan)
        counts, times = np.ascontiguousarray(stimuli), np.ascontiguousarray(people)
        options = self.rho_a, self.ceiling
        _draws(*self.models, *self.subjects, *self.pairs, counts, times, *options, scores, ceilings)
        return scores, ceilings if self.ceiling else None


@compiled
def _draws(
    order: np.ndarray,
    rising: np.ndarray,
    subject_order: np.ndarray,
    subject_rising: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    stimuli: np.ndarray,
    people: np.ndarray,
    rho_a: bool,
    ceiling: bool,
    scores: np.ndarray,
    ceilings: np.ndarray,
) -> None:
    size = len(rows)
    pairs, weights = np.empty(size, np.int64), np.empty(size)
    table = np.empty((size, 2))  # of each pair its weight and the subjects' sum: one place
    for draw in range(len(stimuli)):
        counts, kept, total = stimuli[draw], 0, 0.0
        for k in range(size):
            weight = counts[rows[k]] * counts[columns[k]]
            pairs[kept], weights[kept] = k, weight
            kept += weight > 0
            total += weight
            table[k, 0], table[k, 1] = weight, 0
        if (counts > 0).sum() < 3 or not kept:
            continue
        drawn = np.flatnonzero(people[draw])
        times, mine, weight = people[draw][drawn], pairs[:kept], weights[:kept]
        ranks = ranks_of_kept(subject_order, subject_rising, drawn, mine, weight)
        lengths = np.empty(len(drawn))
        for s in range(len(drawn)):
            lengths[s] = _length(ranks[s], weight, total, rho_a)
            scale = times[s] / lengths[s] / times.sum()
            for k in range(kept):
                centred = ranks[s, k] - (total + 1) / 2
                table[mine[k], 1] += scale * weight[k] * centred
        for m in range(len(order)):
            scores[draw, m] = _score(order[m], rising[m], table, total, rho_a)
        if ceiling and len(drawn) > 1:
            _bounds(ranks, lengths, weight, times, total, rho_a, ceilings[draw])


@compiled
def _length(ranks: np.ndarray, weights: np.ndarray, total: float, rho_a: bool) -> float:
    """Of centred ranks, each there as often as its weight."""
    if rho_a:
        return np.sqrt((total**3 - total) / 12)
    squares = 0.0
    for k in range(len(ranks)):
        squares += weights[k] * (ranks[k] - (total + 1) / 2) ** 2
    return np.sqrt(squares)


@compiled
def _score(
    order: np.ndarray, rising: np.ndarray, table: np.ndarray, total: float, rho_a: bool
) -> float:
    """Inner product of a model's ranks with the subjects' sum, over the length of the ranks.

    Pairs that were not drawn have weight zero and pass without a branch, which nobody could
    foresee.
    """
    product, squares, before, size = 0.0, 0.0, 0.0, len(order)
    k = 0
    while k < size:
        weight, value = table[order[k], 0], table[order[k], 1]
        k += 1
        while k < size and rising[k] == rising[k - 1]:
            weight += table[order[k], 0]
            value += table[order[k], 1]
            k += 1
        rank = before + (weight - total) / 2  # its mean, of 1 .. total, less (total + 1) / 2
        product += rank * value
        squares += rank * rank * weight
        before += weight
    length = np.sqrt((total**3 - total) / 12) if rho_a else np.sqrt(squares)
    return product / length


@compiled
def _bounds(
    ranks: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray,
    times: np.ndarray,
    total: float,
    rho_a: bool,
    out: np.ndarray,
) -> None:
    """Noise ceiling: each subject with the ranked sum of the others' ranks, and of all."""
    drawn, kept = ranks.shape
    pooled = np.zeros(kept)
    for s in range(drawn):
        for k in range(kept):
            pooled[k] += times[s] * ranks[s, k]
    # Ranks are multiples of 1/2, and pooled as they are: scaled, equal sums of them would differ
    # by rounding.
    keys = np.empty((drawn + 1, kept), np.uint64)
    for s in range(drawn):
        for k in range(kept):
            keys[s, k] = np.uint64(np.rint(2 * (pooled[k] - times[s] * ranks[s, k])))
    for k in range(kept):
        keys[drawn, k] = np.uint64(np.rint(2 * pooled[k]))
    pools = weighted_ranks(keys, weights)
    middle = (total + 1) / 2
    out[:] = 0
    upper = _length(pools[drawn], weights, total, rho_a)
    for s in range(drawn):
        own, all_ = 0.0, 0.0
        for k in range(kept):
            weighted = weights[k] * (ranks[s, k] - middle)
            own += weighted * (pools[s, k] - middle)
            all_ += weighted * (pools[drawn, k] - middle)
        lower = _length(pools[s], weights, total, rho_a)
        out[0] += own / lower / lengths[s] / drawn
        out[1] += all_ / upper / lengths[s] / drawn
