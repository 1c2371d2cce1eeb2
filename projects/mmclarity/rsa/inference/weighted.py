"""Models with weights: several RDMs, or the features of one layer, weighted to fit the data.

Weights are fitted to some stimuli and subjects and judged on others (Khaligh-Razavi and
Kriegeskorte, 2014; Schuett et al., eLife 2023): otherwise more RDMs always fit better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from ..rdms.pairs import num_stimuli, pairs_of
from ..rdms.rdms import as_array, as_condensed
from ..similarity.compare import (
    compare_known,
    counted_pairs,
    groups_of,
    kinds_of,
    without_groups,
)
from ..similarity.structured import whitened
from .noise_ceiling import bounds, normalise

FITTED = ('pearson', 'cosine', 'corr_cov', 'cosine_cov')


def fit_weights(
    components: Any,
    subjects: Any,
    method: str = 'cosine',
    positive: bool = True,
    ridge: float = 0.0,
) -> np.ndarray:
    """Weights of RDMs whose sum resembles the subjects' mean most.

    Least squares, as rsatoolbox's ``fit_regress`` and ``fit_regress_nn``: the subjects are
    normalised and averaged, and all is centred ('pearson', 'corr_cov') and whitened ('..._cov')
    as the method wants.

    Args:
        components: (K, P) RDMs of the model.
        subjects: (S, P).
        method: One of :data:`FITTED`.
        positive: No weight is below zero.
        ridge: Of the weights' squares.

    Returns:
        (K,) of length 1; zeros where nothing fits.

    Raises:
        ValueError: If the method is no least squares.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import fit_weights
        >>> rng = np.random.default_rng(0)
        >>> components = rng.random((2, 45))
        >>> fit_weights(components, 3 * components[:1]).round(6)
        array([1., 0.])
    """
    if method not in FITTED:
        raise ValueError(f'weights are fitted by {", ".join(FITTED)}, not by {method!r}')
    parts, data = as_condensed(components, 'components'), as_condensed(subjects, 'subjects')
    data = without_groups(data, counted_pairs(components, subjects))
    pool = _white_lengths(data, method) if method.endswith('_cov') else None
    pool = normalise(data, method, 'rank') if pool is None else pool
    known = ~(np.isnan(parts).any(0) | np.isnan(pool).all(0))
    target = np.nanmean(pool[:, known], 0)
    rows = parts[:, known]
    if method in ('pearson', 'corr_cov'):
        rows, target = rows - rows.mean(1, keepdims=True), target - target.mean()
    white = whitened(rows, known) if method.endswith('_cov') else rows
    gram, product = rows @ white.T + ridge * np.eye(len(rows)), white @ target
    if positive:
        # The same minimum as that of the quadratic form, by a root of it.
        values, vectors = np.linalg.eigh(gram)
        values = np.maximum(values, values.max() * 1e-15)
        root = (vectors * np.sqrt(values)).T
        weights = nnls(root, (vectors.T @ product) / np.sqrt(values))[0]
    else:
        weights = np.linalg.solve(gram, product)
    length = np.linalg.norm(weights)
    return weights / length if length else weights


def _white_lengths(data: np.ndarray, method: str) -> np.ndarray:
    """Rows (S, P) of unit length after whitening, by the pairs that each knows."""
    rows = np.full(data.shape, np.nan)
    for one, out in zip(data, rows):
        known = ~np.isnan(one)
        values = one[known] - (one[known].mean() if method == 'corr_cov' else 0)
        out[known] = values / np.sqrt(values @ whitened(values[None], known)[0])
    return rows


def feature_rdms(responses: Any) -> np.ndarray:
    """(units, P): the squared Euclidean RDM of every unit, to be weighted one by one.

    Examples:
        >>> from mmclarity.rsa.inference import feature_rdms
        >>> feature_rdms([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
        array([[1., 9., 4.],
               [0., 0., 0.]])
    """
    data = as_array(responses, 'responses')
    data = data.reshape(len(data), -1)
    rows, columns = np.triu_indices(len(data), 1)
    return np.square(data[rows] - data[columns]).T


@dataclass(frozen=True)
class CrossValidated:
    """Scores of models on stimuli and subjects they were not fitted to.

    Args:
        scores: (F, M) of each fold.
        ceilings: (F, 2) noise ceilings of the test stimuli; NaN for one subject.
        weights: For each model (F, K); ones for models of one RDM.
        models: Their names.
    """

    scores: np.ndarray
    ceilings: np.ndarray
    weights: dict[str, np.ndarray]
    models: list[str]

    @property
    def mean(self) -> np.ndarray:
        """(M,) over folds that have a score; NaN where none has."""
        known = np.isfinite(self.scores)
        with np.errstate(invalid='ignore'):
            return np.where(known, self.scores, 0).sum(0) / known.sum(0)


def folds(
    stimuli: int,
    subjects: int,
    of_stimuli: int = 5,
    of_subjects: int = 1,
    seed: int = 0,
    groups: Sequence[Any] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Train and test stimuli, train and test subjects of each fold, drawn at random.

    Args:
        stimuli: Their number.
        subjects: Their number.
        of_stimuli: Parts the stimuli are divided into, each with 3 or more.
        of_subjects: Parts the subjects are divided into. 1: all are in both sets.
        seed: Of the division.
        groups: Of the stimuli; those of one are always in one part, of 3 groups or more.

    Raises:
        ValueError: If there are fewer than 3 stimuli a part, or fewer subjects than parts.

    Examples:
        >>> from mmclarity.rsa.inference import folds
        >>> train, test, *people = next(folds(stimuli=12, subjects=3, of_stimuli=3))
        >>> len(train), len(test)
        (8, 4)
    """
    kinds = kinds_of(None if groups is None else [str(one) for one in groups], stimuli)
    count = int(kinds.max(initial=-1)) + 1
    if of_stimuli < 2 or count // of_stimuli < 3:
        what = 'stimuli' if groups is None else 'groups of stimuli'
        raise ValueError(f'{count} {what} in {of_stimuli} parts; give 2 or more parts of 3')
    if not 1 <= of_subjects <= subjects:
        raise ValueError(f'{subjects} subjects in {of_subjects} parts')
    rng = np.random.default_rng(seed)
    people = np.array_split(rng.permutation(subjects), of_subjects)
    for chosen in np.array_split(rng.permutation(count), of_stimuli):
        part, train = (np.flatnonzero(np.isin(kinds, chosen, invert=i)) for i in (False, True))
        for group in people:
            rest = np.setdiff1d(np.arange(subjects), group) if of_subjects > 1 else group
            yield train, part, np.sort(rest), np.sort(group)


def cross_validate(
    models: Mapping[str, Any],
    subjects: Any,
    method: str = 'cosine',
    sets: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] | None = None,
    positive: bool = True,
    ridge: float = 0.0,
) -> CrossValidated:
    """Fit the weights of each model on the training set, score it on the test set.

    Args:
        models: (K, P) RDMs by name. Those of one RDM have nothing to fit.
        subjects: (S, P). Of stimuli in groups (see :class:`RDMs`) pairs within one do not count.
        method: One of :data:`FITTED`.
        sets: As :func:`folds` gives them, which is asked where they are not given.
        positive: See :func:`fit_weights`.
        ridge: See :func:`fit_weights`.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import cross_validate
        >>> rng = np.random.default_rng(0)
        >>> parts = rng.random((2, 190))
        >>> subjects = parts.T @ [1.0, 0.3] + 0.1 * rng.normal(size=(3, 190))
        >>> found = cross_validate({'both': parts, 'second': parts[1:]}, subjects)
        >>> found.models, bool(found.mean[0] > found.mean[1])
        (['both', 'second'], True)
    """
    stacks = {name: as_condensed(rdms, name) for name, rdms in models.items()}
    data = as_condensed(subjects, 'subjects')
    size, given = num_stimuli(data.shape[1]), (subjects, *models.values())
    data = without_groups(data, counted_pairs(*given))
    sets = list(folds(size, len(data), groups=groups_of(*given))) if sets is None else sets
    scores = np.full((len(sets), len(stacks)), np.nan)
    ceilings = np.full((len(sets), 2), np.nan)
    weights: dict[str, np.ndarray] = {
        name: np.ones((len(sets), len(stack))) for name, stack in stacks.items()
    }
    for i, (train, test, mine, others) in enumerate(sets):
        inside, outside = pairs_of(train, size), pairs_of(test, size)
        held = data[others][:, outside]
        for j, (name, stack) in enumerate(stacks.items()):
            if len(stack) > 1:
                fitted = data[mine][:, inside]
                weights[name][i] = fit_weights(stack[:, inside], fitted, method, positive, ridge)
            predicted = weights[name][i] @ stack[:, outside]
            scores[i, j] = compare_known(predicted[None], held, method).mean()
        if len(held) > 1:
            ceilings[i] = bounds(held, method, 'rank')
    return CrossValidated(scores, ceilings, weights, list(stacks))
