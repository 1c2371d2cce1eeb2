"""How well the best possible model could do, given how much subjects differ."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rdms.rdms import as_condensed
from ..similarity.compare import (
    RANKED,
    check_method,
    compare_known,
    counted_pairs,
    only,
    present_subjects,
    warn_unknown,
)
from ..similarity.ranks import rank_transform

POOLINGS = ('rank', 'mean')
# Where a bound counts as what chance gives.
NEAR = 0.05


@dataclass(frozen=True)
class NoiseCeiling:
    """Bounds on the similarity to an area that the true model would reach.

    Args:
        lower: Mean similarity of each subject with the pool of the others. None
            where there is one subject: there is no ceiling then.
        upper: Mean similarity of each subject with the pool of all.
        method: How RDMs were compared.
        pooling: 'rank' or 'mean', how subjects were pooled.
        subjects: Their number.
        warning: Why the bounds should not be relied on.

    Examples:
        >>> from mmclarity.rsa import NoiseCeiling
        >>> ceiling = NoiseCeiling(0.4, 0.6, method='spearman', pooling='rank', subjects=8)
        >>> ceiling.lower, ceiling.warning
        (0.4, None)
    """

    lower: float | None
    upper: float | None
    method: str
    pooling: str
    subjects: int
    warning: str | None = None

    def __str__(self) -> str:
        if self.lower is None:
            return 'N/A (one subject)'
        return (
            f'{self.lower:.3f} to {self.upper:.3f} ({self.subjects} subjects, pooled by '
            f'{self.pooling})'
        )


def normalise(subjects: np.ndarray, method: str, pooling: str) -> np.ndarray:
    """What is averaged over subjects: the transform under which the mean is the best model.

    'rank': as rsatoolbox has it, ranks for rank methods, unit length for cosine, zero mean and
    unit variance for pearson. 'mean': the raw dissimilarities. A subject that lacks pairs is
    transformed by those it has; its ranks are stretched to what they would be among all pairs, on
    average, so that a pair does not rank low for being known to few.
    """
    if pooling == 'mean':
        return subjects
    size, known = subjects.shape[1], (~np.isnan(subjects)).sum(1, keepdims=True)
    if method in RANKED:
        ranks = rank_transform(subjects)
        return ranks if (known == size).all() else ranks * ((size + 1) / (known + 1))
    if method in ('pearson', 'corr_cov'):
        subjects = subjects - np.nansum(subjects, 1, keepdims=True) / known
    with np.errstate(invalid='ignore', divide='ignore'):
        return subjects / np.sqrt(np.nansum(np.square(subjects), 1, keepdims=True) / known)


def bounds(
    subjects: np.ndarray, method: str, pooling: str, times: np.ndarray | None = None
) -> tuple[float, float]:
    """Lower and upper bound of subjects (S, K), S >= 2, that may lack pairs.

    Args:
        subjects: Each knows 3 pairs or more.
        method: Of :func:`compare_rdms`.
        pooling: One of :data:`POOLINGS`.
        times: (S,) how often each subject counts in the pools; it is left out of its own
            altogether. Once each if it is not given.
    """
    people = np.ones(len(subjects)) if times is None else times
    parts = normalise(subjects, method, pooling) * people[:, None]
    known = np.where(np.isnan(subjects), 0, people[:, None])
    parts = np.nan_to_num(parts)
    total, count = parts.sum(0), known.sum(0)
    with np.errstate(invalid='ignore', divide='ignore'):
        pools = np.concatenate([(total - parts) / (count - known), (total / count)[None]])
    if method in RANKED and pooling == 'rank':
        pools = np.round(pools, 8)  # equal sums of stretched ranks are equal but for rounding
    upper = compare_known(pools[-1:], subjects, method).mean()
    lower = np.mean(
        [compare_known(pool[None], one[None], method)[0, 0] for pool, one in zip(pools, subjects)]
    )
    return float(lower), float(upper)


def noise_ceiling(
    subject_rdms: Any, method: str = 'spearman', pooling: str = 'rank'
) -> NoiseCeiling:
    """Lower (leave one out) and upper bound (Nili et al., PLoS Comput. Biol. 2014).

    Pairs that a subject lacks (NaN) count for the others; subjects that lack all are left out.

    Args:
        subject_rdms: RDMs of the subjects, as :func:`as_condensed` takes them.
        method: Of :func:`compare_rdms`.
        pooling: 'rank' (as rsatoolbox; the upper bound is then the best any model can do) or
            'mean' of the raw dissimilarities.

    Returns:
        Without bounds for one subject. Its ``warning`` is also given as a Python warning: subjects
        share nothing (lower bound near 0), or an upper bound near 1 / sqrt(subjects), which
        unrelated subjects give too.

    Raises:
        ValueError: If the method or pooling is unknown, or no subject knows 3 pairs.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import noise_ceiling
        >>> rng = np.random.default_rng(0)
        >>> true = rng.random(190)
        >>> ceiling = noise_ceiling(true + 0.3 * rng.normal(size=(8, 190)))
        >>> bool(0.4 < ceiling.lower < ceiling.upper < 1)
        True
    """
    check_method(method)
    if pooling not in POOLINGS:
        raise ValueError(f'pooling must be one of {", ".join(POOLINGS)}, got {pooling!r}')
    mask = counted_pairs(subject_rdms)
    subjects = as_condensed(subject_rdms, 'subject_rdms')
    warn_unknown(subjects if mask is None else subjects[:, mask])
    subjects = subjects if mask is None else only(subjects, mask, method)
    subjects = present_subjects(subjects, 'subject_rdms')
    count = len(subjects)
    if count == 1:
        return NoiseCeiling(None, None, method, pooling, 1)
    lower, upper = bounds(subjects, method, pooling)
    warning = None
    if math.isnan(lower) or math.isnan(upper):
        warning = (
            'the noise ceiling is undefined: a subject is constant, or shares fewer than 3 pairs '
            'with the others'
        )
        lacking = int(np.isnan(subjects).any(1).sum())
        if method == 'bures' and lacking:
            warning = (
                f'the noise ceiling is undefined: {lacking} of {count} subjects lack pairs, and '
                'the Bures similarity is one of whole RDMs; leave these subjects or the stimuli '
                'of these pairs out, or compare otherwise'
            )
    elif lower < NEAR:
        warning = (
            f'the lower noise ceiling is {lower:.3f}: the {count} subjects share next to '
            'nothing, and no model can be told from another'
        )
    elif upper - 1 / math.sqrt(count) < NEAR:
        warning = (
            f'the upper noise ceiling is {upper:.3f}, and {count} unrelated subjects would '
            f'give {1 / math.sqrt(count):.3f}: the area is unreliable'
        )
    if warning:
        warnings.warn(warning, stacklevel=2)
    return NoiseCeiling(lower, upper, method, pooling, count, warning)
