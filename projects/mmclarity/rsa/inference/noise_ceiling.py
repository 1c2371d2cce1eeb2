"""How well the best possible model could do, given how much subjects differ."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rdms.rdms import as_condensed
from ..similarity.compare import RANKED, check_method, compare_rdms, drop_unknown
from ..similarity.ranks import rank_transform

POOLINGS = ('rank', 'mean')
# Where a bound counts as what chance gives.
NEAR = 0.05


@dataclass(frozen=True)
class NoiseCeiling:
    """Bounds on the similarity to an area that the true model would reach.

    Args:
        lower (float, optional): Mean similarity of each subject with the pool of the others. None
            where there is one subject: there is no ceiling then.
        upper (float, optional): Mean similarity of each subject with the pool of all.
        method (str): How RDMs were compared.
        pooling (str): 'rank' or 'mean', how subjects were pooled.
        subjects (int): Their number.
        warning (str, optional): Why the bounds should not be relied on.
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
    unit variance for pearson. 'mean': the raw dissimilarities.
    """
    if pooling == 'mean':
        return subjects
    if method in RANKED:
        return rank_transform(subjects)
    if method == 'pearson':
        subjects = subjects - subjects.mean(1, keepdims=True)
    with np.errstate(invalid='ignore', divide='ignore'):
        return subjects / np.sqrt(np.square(subjects).mean(1, keepdims=True))


def noise_ceiling(
    subject_rdms: Any, method: str = 'spearman', pooling: str = 'rank'
) -> NoiseCeiling:
    """Lower (leave one out) and upper bound (Nili et al., PLoS Comput. Biol. 2014).

    Args:
        subject_rdms: RDMs of the subjects, as :func:`as_condensed` takes them.
        method (str): Of :func:`compare_rdms`. Defaults to 'spearman'.
        pooling (str): 'rank' (as rsatoolbox; the upper bound is then the best any model can do) or
            'mean' of the raw dissimilarities. Defaults to 'rank'.

    Returns:
        NoiseCeiling: Without bounds for one subject. Its ``warning`` is also given as a Python
        warning: subjects share nothing (lower bound near 0), or an upper bound near
        1 / sqrt(subjects), which unrelated subjects give too.

    Raises:
        ValueError: If the method or pooling is unknown.
    """
    check_method(method)
    if pooling not in POOLINGS:
        raise ValueError(f'pooling must be one of {", ".join(POOLINGS)}, got {pooling!r}')
    (subjects,) = drop_unknown(as_condensed(subject_rdms, 'subject_rdms'))
    count = len(subjects)
    if count == 1:
        return NoiseCeiling(None, None, method, pooling, 1)
    parts = normalise(subjects, method, pooling)
    total = parts.sum(0)
    upper = float(compare_rdms(total / count, subjects, method).mean())
    lower = float(
        np.mean(
            [
                compare_rdms((total - part) / (count - 1), subject, method)[0, 0]
                for part, subject in zip(parts, subjects)
            ]
        )
    )
    warning = None
    if lower < NEAR:
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
