"""Dual bootstrap: models, also ones with weights to fit, for new stimuli and new subjects at once.

Resampling both together counts the noise of single measurements twice; three bootstraps give a
variance that does not (Schuett et al., eLife 2023, eq. 11; rsatoolbox's ``eval_dual_bootstrap``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from ..rdms.pairs import num_stimuli, to_square
from ..rdms.rdms import as_condensed
from ..similarity.compare import (
    check_same_stimuli,
    counted_pairs,
    groups_of,
    kinds_of,
    without_groups,
)
from .weighted import cross_validate, folds

# Part of the stimuli that a resampling has: 1 - 1 / e.
DIFFERENT = 0.632


@dataclass(frozen=True)
class DualBootstrap:
    """Cross-validated scores with their uncertainty over stimuli and subjects.

    Args:
        models: Names.
        scores: (M,) of all stimuli and subjects.
        variances: (3, M) when stimuli, subjects, and both are drawn.
        covariance: (M, M), corrected.
        level: Of intervals.
        freedom: Degrees of it, of Student's t: the number of subjects, or of stimuli where these
            are fewer, less one (as in rsatoolbox). A normal distribution if not given.
    """

    models: list[str]
    scores: np.ndarray
    variances: np.ndarray
    covariance: np.ndarray
    level: float = 0.95
    freedom: float = np.inf

    @property
    def standard_error(self) -> np.ndarray:
        """(M,) for new stimuli and new subjects."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def interval(self) -> np.ndarray:
        """(M, 2), of Student's t, within [-1, 1]."""
        reach = student.ppf((1 + self.level) / 2, self.freedom) * self.standard_error
        return np.clip(np.stack([self.scores - reach, self.scores + reach], 1), -1, 1)

    def difference(self, first: str, second: str) -> tuple[float, float]:
        """Score of one model less that of another, and its two-sided p."""
        i, j = self.models.index(first), self.models.index(second)
        gap = float(self.scores[i] - self.scores[j])
        cov = self.covariance
        variance = cov[i, i] + cov[j, j] - 2 * cov[i, j]
        if variance <= 0:
            return gap, float(gap == 0)
        return gap, float(2 * student.sf(abs(gap) / np.sqrt(variance), self.freedom))


def dual_variance(
    stimuli: Any,
    subjects: Any,
    both: Any,
    num_stimuli: int | None = None,
    num_subjects: int | None = None,
) -> np.ndarray:
    """Variance for new stimuli and subjects from those of three bootstraps.

    2 (stimuli + subjects) - both, not below the greater of the two nor above ``both``.

    Args:
        stimuli: Variances when stimuli are drawn, of any shape.
        subjects: When subjects are.
        both: When both are.
        num_stimuli: With ``num_subjects``, corrects for small numbers of both.
        num_subjects: See there.

    Examples:
        >>> from mmclarity.rsa.inference import dual_variance
        >>> dual_variance([1.0], [0.5], [2.5])
        array([1.])
    """
    stimuli, subjects, both = (np.asarray(x, np.float64) for x in (stimuli, subjects, both))
    if num_stimuli is None or num_subjects is None:
        corrected = 2 * (stimuli + subjects) - both
        return np.minimum(np.maximum(np.maximum(corrected, stimuli), subjects), both)
    p, s = num_stimuli / (num_stimuli - 1), num_subjects / (num_subjects - 1)
    corrected = s * subjects + p * stimuli - p * s * (both - subjects - stimuli)
    least = np.maximum(s * subjects, p * stimuli)
    return np.minimum(np.maximum(corrected, least), both)


def dual_bootstrap(
    models: Mapping[str, Any],
    subjects: Any,
    method: str = 'cosine',
    num_samples: int = 100,
    of_stimuli: int | None = None,
    of_subjects: int = 1,
    positive: bool = True,
    ridge: float = 0.0,
    seed: int = 0,
    level: float = 0.95,
) -> DualBootstrap:
    """Scores of models on stimuli they were not fitted to, and how sure they are.

    In every resampling weights are fitted and tested anew. Copies of a stimulus are always in one
    part of the cross-validation, and are no pair.

    Args:
        models: (K, P) RDMs by name, to be weighted; those of one RDM have nothing to fit.
        subjects: (S, P), of two subjects or more. Of stimuli in groups (see :class:`RDMs`) whole
            groups are drawn and tested, and pairs within one do not count.
        method: See :func:`cross_validate`.
        num_samples: Resamplings of each of the three kinds.
        of_stimuli: Parts of the cross-validation. If not given two to five, with some four
            different stimuli each in a resampling.
        of_subjects: Likewise; 1: the same subjects fit and test.
        positive: See :func:`fit_weights`.
        ridge: See :func:`fit_weights`.
        seed: Of draws and parts.
        level: Of intervals.

    Raises:
        ValueError: If there is one subject, or too few stimuli for the parts.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import dual_bootstrap
        >>> rng = np.random.default_rng(0)
        >>> layer = rng.random((1, 66))  # of 12 stimuli
        >>> subjects = layer + 0.1 * rng.random((3, 66))
        >>> result = dual_bootstrap({'layer': layer}, subjects, num_samples=10)
        >>> result.scores.shape
        (1,)
    """
    stacks = {name: as_condensed(rdms, name) for name, rdms in models.items()}
    data = as_condensed(subjects, 'subjects')
    for name, stack in stacks.items():
        check_same_stimuli(stack, data, name, 'subjects')
    if len(data) < 2:
        raise ValueError('a dual bootstrap draws subjects; give two or more')
    given = (subjects, *models.values())
    data = without_groups(data, counted_pairs(*given))
    kinds = kinds_of(groups_of(*given), num_stimuli(data.shape[1]))
    size, rng = int(kinds.max()) + 1, np.random.default_rng(seed)
    if of_stimuli is None:
        of_stimuli = int(np.clip(DIFFERENT * size // 4, 2, 5))

    def score(stimuli: np.ndarray, people: np.ndarray) -> np.ndarray:
        drawn = {name: _drawn(stack, stimuli, 0.0) for name, stack in stacks.items()}
        sets = _folds_of_copies(kinds[stimuli], len(people), of_stimuli, of_subjects, rng)
        rows = _drawn(data[people], stimuli, np.nan)
        return cross_validate(drawn, rows, method, sets, positive, ridge).mean

    everyone, all_stimuli = np.arange(len(data)), np.arange(len(kinds))
    members = [np.flatnonzero(kinds == kind) for kind in range(size)]
    samples = np.full((3, num_samples, len(stacks)), np.nan)
    for b in range(num_samples):
        stimuli = np.concatenate([members[i] for i in np.sort(rng.integers(0, size, size))])
        people = rng.integers(0, len(data), len(data))
        choices = ((stimuli, everyone), (all_stimuli, people), (stimuli, people))
        for kind, (some, who) in enumerate(choices):
            if len(np.unique(kinds[some])) // of_stimuli >= 3 and len(np.unique(who)) > 1:
                samples[kind, b] = score(some, who)
    covariances = [np.atleast_2d(np.cov(_complete(kind), rowvar=False)) for kind in samples]
    variances = np.array([np.diag(one) for one in covariances])
    return DualBootstrap(
        list(stacks),
        score(all_stimuli, everyone),
        variances,
        _covariance(covariances, size, len(data)),
        level,
        min(size, len(data)) - 1,
    )


def _complete(samples: np.ndarray) -> np.ndarray:
    kept = samples[np.isfinite(samples).all(1)]
    if len(kept) < 2:
        raise ValueError(
            'too few resamplings have enough stimuli; give fewer parts or more stimuli'
        )
    return kept


def _covariance(covariances: list[np.ndarray], size: int, people: int) -> np.ndarray:
    """(M, M) from the corrected variances of scores and of their differences."""
    spread = [np.add.outer(np.diag(one), np.diag(one)) - 2 * one for one in covariances]
    stimuli, subjects, both = (np.diag(one) for one in covariances)
    own = dual_variance(stimuli, subjects, both, size, people)
    gaps = dual_variance(spread[0], spread[1], spread[2], size, people)
    return (np.add.outer(own, own) - gaps) / 2


def _folds_of_copies(
    drawn: np.ndarray, people: int, of_stimuli: int, of_subjects: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Folds of the different stimuli, or groups; all copies of one are in the same part."""
    kinds, kind = np.unique(drawn, return_inverse=True)
    seed = int(rng.integers(1 << 31))
    return [
        (np.flatnonzero(np.isin(kind, train)), np.flatnonzero(np.isin(kind, test)), mine, others)
        for train, test, mine, others in folds(len(kinds), people, of_stimuli, of_subjects, seed)
    ]


def _drawn(rdms: np.ndarray, stimuli: np.ndarray, copies: float) -> np.ndarray:
    """RDMs of drawn stimuli; two copies of one stimulus get the value ``copies``."""
    rows, columns = np.triu_indices(len(stimuli), 1)
    found = to_square(rdms)[:, stimuli[rows], stimuli[columns]]
    found[:, stimuli[rows] == stimuli[columns]] = copies
    return found
