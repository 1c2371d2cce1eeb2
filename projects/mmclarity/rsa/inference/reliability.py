"""How reliable the RDM of one animal is: the ceiling where there are repeats but one subject."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rdms.compute import compute_rdm
from ..rdms.rdms import RDMs, as_array
from ..similarity.compare import compare_rdms


@dataclass(frozen=True)
class Reliability:
    """Likeness of RDMs from two halves of the trials.

    Args:
        half: Mean likeness of two halves, over splits.
        full: The same of two RDMs from all trials each, by Spearman and Brown's formula
            2 r / (1 + r). NaN where ``half`` is at or below -1 / 3.
        splits: (K,), of each split.
        method: How RDMs were compared.
        units: How many were used.
    """

    half: float
    full: float
    splits: np.ndarray
    method: str
    units: int

    @property
    def ceiling(self) -> float:
        """What the true RDM would score against the measured one: the root of ``full``.

        0 where halves do not resemble one another at all.
        """
        return math.sqrt(max(self.full, 0.0))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile limits of ``full`` over splits: how much the choice of halves matters."""
        tail = 100 * (1 - level) / 2
        low, high = np.nanpercentile(spearman_brown(self.splits), [tail, 100 - tail])
        return float(low), float(high)

    def __str__(self) -> str:
        return (
            f'{self.full:.3f} of all trials ({self.half:.3f} of halves, {len(self.splits)} splits, '
            f'{self.units} units); the true RDM would score {self.ceiling:.3f}'
        )


def spearman_brown(half: Any) -> np.ndarray:
    """Reliability of all trials from that of halves: 2 r / (1 + r); NaN at and below -1 / 3.

    Examples:
        >>> from mmclarity.rsa.inference import spearman_brown
        >>> float(spearman_brown(0.5).round(3))
        0.667
    """
    half = np.asarray(half, np.float64)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(half > -1 / 3, 2 * half / (1 + half), np.nan)


def split_half(
    trials: Any,
    splits: int = 100,
    metric: str = 'correlation',
    method: str = 'spearman',
    seed: int = 0,
    groups: Sequence[Any] | None = None,
) -> Reliability:
    """Reliability of an RDM over trials.

    The trials of each stimulus are divided at random into two halves, the same for all units, as
    these were recorded together; each half is averaged and makes an RDM.

    Args:
        trials: (n, units, repeats), NaN where a trial was not recorded. Units of which a half of
            some stimulus holds no trial are left out of that split.
        splits: How often the trials are divided.
        metric: Of :func:`compute_rdm`.
        method: Of :func:`compare_rdms`.
        seed: Of the splits.
        groups: Of the stimuli; pairs within one do not count.

    Raises:
        ValueError: If the shape is another, a stimulus has fewer than two trials, or no units are
            left in a split.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import split_half
        >>> rng = np.random.default_rng(0)
        >>> trials = rng.normal(size=(12, 30, 1)) + rng.normal(size=(12, 30, 8))
        >>> found = split_half(trials, splits=10)
        >>> bool(found.half < found.full)
        True
    """
    data = as_array(trials, 'trials')
    if data.ndim != 3 or data.shape[2] < 2:
        raise ValueError(
            f'trials have shape {data.shape}; they must be (stimuli, units, repeats), with 2 '
            'repeats or more'
        )
    if splits < 1:
        raise ValueError(f'splits must be at least 1, got {splits}')
    known = ~np.isnan(data)
    there = known.any(1)
    few = np.flatnonzero(there.sum(1) < 2)
    if few.size:
        raise ValueError(
            f'stimulus {few[0]} has {int(there[few[0]].sum())} trials ({len(few)} such stimuli); '
            'two are needed for two halves. Leave it out'
        )
    names = None if groups is None else tuple(str(item) for item in groups)
    values, rng = np.where(known, data, 0), np.random.default_rng(seed)
    found, least = np.empty(splits), data.shape[1]
    for k in range(splits):
        first = _first_half(there, rng)
        halves = [_mean(values, known, part) for part in (first, there & ~first)]
        units = np.isfinite(halves[0]).all(0) & np.isfinite(halves[1]).all(0)
        if units.sum() < 2:
            raise ValueError('fewer than 2 units have trials of all stimuli in both halves')
        least = min(least, int(units.sum()))
        one, other = (RDMs(compute_rdm(half[:, units], metric), groups=names) for half in halves)
        found[k] = compare_rdms(one, other, method)[0, 0]
    if least < data.shape[1]:
        warnings.warn(
            f'{data.shape[1] - least} of {data.shape[1]} units lack trials in a half and are left '
            'out of that split',
            stacklevel=2,
        )
    half = float(found.mean())
    return Reliability(half, float(spearman_brown(half)), found, method, least)


def _first_half(there: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, repeats) half of each row's trials, the greater or smaller one by chance if odd."""
    order = np.where(there, rng.random(there.shape), 2.0).argsort(1).argsort(1)
    count = there.sum(1)
    size = count // 2 + (count % 2) * rng.integers(0, 2, len(count))
    return order < size[:, None]


def _mean(values: np.ndarray, known: np.ndarray, part: np.ndarray) -> np.ndarray:
    """(n, units) means over the trials (n, repeats) of one half; NaN where there is none."""
    weights = part.astype(np.float64)[:, :, None]  # of bools numpy would count no further than one
    with np.errstate(invalid='ignore', divide='ignore'):
        return ((values @ weights) / (known.astype(np.float64) @ weights))[:, :, 0]
