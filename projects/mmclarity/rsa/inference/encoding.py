"""Encoding models: each unit's response as a ridge regression on a layer's features.

Where RSA asks whether two spaces have one geometry, this asks whether one can be read off the
other. Scores are of stimuli the weights were not fitted to.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rdms.rdms import as_array
from .reliability import _first_half, _mean, spearman_brown

ALPHAS = tuple(10.0**k for k in range(-2, 8))


@dataclass(frozen=True)
class EncodingScores:
    """Correlation of predicted and measured responses, of U units.

    Args:
        scores: (U,) Pearson's r over all stimuli, each predicted from the others' fold. Of features
            that say nothing they lie below 0 (-.2 for 40 stimuli): what is high in one fold is low
            in the mean of the others. A test against 0 is on the safe side.
        reliability: (U,) of the measured responses, from halves of the trials; None without.
        alphas: (F, U) penalty that was chosen in each fold.
    """

    scores: np.ndarray
    reliability: np.ndarray | None
    alphas: np.ndarray

    @property
    def corrected(self) -> np.ndarray:
        """(U,) r over the root of the reliability: of a noise-free response. NaN where that is 0.

        May exceed 1 by chance where the reliability is low.
        """
        if self.reliability is None:
            raise ValueError('without trials there is no correction for noise')
        with np.errstate(invalid='ignore', divide='ignore'):
            good = np.where(self.reliability > 0, self.reliability, np.nan)
            return self.scores / np.sqrt(good)

    @property
    def mean(self) -> float:
        """Mean over units; of the corrected ones where there are trials."""
        return float(np.nanmean(self.scores if self.reliability is None else self.corrected))


def encoding_scores(
    features: Any,
    responses: Any,
    folds: int = 5,
    alphas: Sequence[float] = ALPHAS,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    splits: int = 20,
) -> EncodingScores:
    """Cross-validated ridge regression of every unit on the features of a layer.

    The penalty of each unit is chosen within the training stimuli (leave-one-out, in closed form).
    Features are centred on the training stimuli; with more features than stimuli the regression is
    done in the space of the stimuli, so a layer of a million units takes no longer.

    Args:
        features: (n, f, ...) of a layer.
        responses: (n, units), or (n, units, repeats) of single trials, NaN where there is none.
        folds: Parts of the stimuli.
        alphas: Penalties to choose from, in units of the features' squares.
        groups: Of the stimuli; those of one group are always in one fold.
        seed: Of the folds, and of the halves behind the reliability.
        splits: Halves behind the reliability.

    Raises:
        ValueError: If shapes do not fit, or something is not finite.
        ModuleNotFoundError: Without scikit-learn.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import encoding_scores
        >>> rng = np.random.default_rng(0)
        >>> features = rng.normal(size=(60, 10))
        >>> responses = features @ rng.normal(size=(10, 4)) + 0.1 * rng.normal(size=(60, 4))
        >>> bool(encoding_scores(features, responses).scores.min() > 0.9)
        True
    """
    try:
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import GroupKFold, KFold
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'encoding models need scikit-learn; install it with `pip install scikit-learn`'
        ) from error
    x, y = as_array(features, 'features'), as_array(responses, 'responses')
    reliability = unit_reliability(y, splits, seed) if y.ndim == 3 else None
    y = np.nanmean(y, 2) if y.ndim == 3 else y
    x = x.reshape(len(x), -1)
    if y.ndim != 2 or len(x) != len(y):
        raise ValueError(
            f'features of {len(x)} stimuli, responses of shape {y.shape}; they must be of the same '
            'stimuli, (n, units) or (n, units, repeats)'
        )
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        raise ValueError('features or mean responses hold NaN or infinite values; leave them out')
    splitter: Any = (
        KFold(folds, shuffle=True, random_state=seed) if groups is None else GroupKFold(folds)
    )
    predicted, chosen = np.empty_like(y), []
    for train, test in splitter.split(x, groups=groups):
        centre = x[train].mean(0)
        kernel = (x[train] - centre) @ (x[train] - centre).T
        values, vectors = np.linalg.eigh(kernel)
        keep = values > values[-1] * 1e-12
        # Coordinates of the training stimuli among themselves: the same inner products.
        scores = vectors[:, keep] * np.sqrt(values[keep])
        project = vectors[:, keep] / np.sqrt(values[keep])
        model = RidgeCV(list(alphas), alpha_per_target=True)
        model.fit(scores, y[train])
        cross = (x[test] - centre) @ (x[train] - centre).T
        predicted[test] = model.predict(cross @ project).reshape(len(test), -1)
        chosen.append(np.broadcast_to(model.alpha_, y.shape[1]))
    return EncodingScores(_correlations(predicted, y), reliability, np.array(chosen))


def unit_reliability(trials: np.ndarray, splits: int = 20, seed: int = 0) -> np.ndarray:
    """(units,) reliability of mean responses (n, units, repeats): halves, Spearman and Brown."""
    known, rng = ~np.isnan(trials), np.random.default_rng(seed)
    values, there = np.where(known, trials, 0), known.any(1)
    found = []
    for _ in range(splits):
        first = _first_half(there, rng)
        halves = [_mean(values, known, part) for part in (first, there & ~first)]
        both = np.isfinite(halves[0]) & np.isfinite(halves[1])
        found.append(
            [
                _correlations(halves[0][k, u, None], halves[1][k, u, None])[0]
                for u, k in enumerate(both.T)
            ]
        )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        return spearman_brown(np.nanmean(found, 0))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(units,) Pearson's r of columns; NaN where one is constant."""
    a, b = a - a.mean(0), b - b.mean(0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
