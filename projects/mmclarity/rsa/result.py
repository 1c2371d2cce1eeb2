"""What an analysis is asked to do, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from .inference.noise_ceiling import POOLINGS, NoiseCeiling
from .inference.significance import RESAMPLED
from .rdms.compute import METRICS
from .rdms.rdms import RDMs
from .renamed import renamed
from .similarity.compare import ALL_METHODS, compare_rdms, present_subjects


@dataclass(frozen=True)
class RSASettings:
    """How an analysis is done; written into every output.

    Args:
        metric: Dissimilarity of two response patterns, one of :data:`rdm.METRICS`.
        method: Comparison of two RDMs, one of :data:`compare.ALL_METHODS`.
        pooling: How subjects are pooled for the noise ceiling: 'rank' (ranked first, as
            rsatoolbox has it) or 'mean' (of the raw dissimilarities).
        bootstraps: Resamplings behind the intervals; 0: no intervals.
        bootstrap_over: What is resampled: 'stimuli', 'subjects' or 'both'.
        permutations: Permutations of stimulus labels behind the p values; 0: none.
        seed: Of bootstraps and permutations.
        level: Coverage of the intervals, in (0, 1).

    Raises:
        ValueError: If a setting has a value it cannot have.
        TypeError: If a count is not an integer.
    """

    metric: str = 'correlation'
    method: str = 'spearman'
    pooling: str = 'rank'
    bootstraps: int = 0
    bootstrap_over: str = 'stimuli'
    permutations: int = 0
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        choices = dict(
            metric=METRICS, method=ALL_METHODS, pooling=POOLINGS, bootstrap_over=RESAMPLED
        )
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name}={getattr(self, name)!r} is unknown; choose one of {", ".join(allowed)}'
                )
        for name in ('bootstraps', 'permutations', 'seed'):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f'{name} must be an integer, got {value!r}')
            if value < 0:
                raise ValueError(f'{name} must be 0 or more, got {value}')
        if not 0 < self.level < 1:
            raise ValueError(f'level must lie between 0 and 1, got {self.level}')


@dataclass(frozen=True)
class Comparison:
    """Paired differences within one area, from one bootstrap of all layers together.

    Args:
        layers: (L, L), score of the row's layer minus the column's.
        layers_interval: (L, L, 2), limits of it.
        layers_p: (L, L), two-sided p.
        gain: (L,), trained minus untrained.
        gain_interval: (L, 2), limits of it.
        gain_p: (L,), two-sided p.
    """

    layers: np.ndarray
    layers_interval: np.ndarray
    layers_p: np.ndarray
    gain: np.ndarray | None = None
    gain_interval: np.ndarray | None = None
    gain_p: np.ndarray | None = None


@dataclass
class RSAResult:
    """Everything an analysis found; L layers, A areas, n stimuli, P = n(n-1)/2 pairs.

    Args:
        ids: The n stimuli, in the order of all RDMs.
        layers: Names, in network order.
        areas: Names.
        scores: (L, A), mean over an area's subjects of the correlation with the layer; NaN where
            a correlation is undefined.
        ceilings: By area.
        settings: How it was done.
        rdms: (L, P), of the layers.
        area_rdms: (S, P) by area.
        intervals: (L, A, 2), lower and upper bootstrap limit.
        p: (L, A), one-sided permutation p, uncorrected.
        q: (L, A), p after Benjamini-Hochberg over all layers and areas.
        untrained_scores: (L, A), of the untrained network.
        untrained_intervals: (L, A, 2).
        untrained_p: (L, A).
        untrained_rdms: (L, P).
        differences: By area; empty without bootstraps.
        groups: Of the stimuli; pairs within one did not count.
        meta: What else is worth keeping (model, checkpoint, epoch); values JSON can hold.
    """

    ids: list[str]
    layers: list[str]
    areas: list[str]
    scores: np.ndarray
    ceilings: dict[str, NoiseCeiling]
    settings: RSASettings
    rdms: np.ndarray
    area_rdms: dict[str, np.ndarray]
    intervals: np.ndarray | None = None
    p: np.ndarray | None = None
    q: np.ndarray | None = None
    untrained_scores: np.ndarray | None = None
    untrained_intervals: np.ndarray | None = None
    untrained_p: np.ndarray | None = None
    untrained_rdms: np.ndarray | None = None
    differences: dict[str, Comparison] = field(default_factory=dict)
    groups: list[str] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    baseline_scores = renamed('baseline_scores', 'untrained_scores')
    baseline_intervals = renamed('baseline_intervals', 'untrained_intervals')
    baseline_p = renamed('baseline_p', 'untrained_p')
    baseline_rdms = renamed('baseline_rdms', 'untrained_rdms')

    def scalars(self) -> dict[str, float]:
        """Scores as ``rsa/<area>/<layer>``, ceilings as ``rsa/<area>/ceiling_lower|upper``.

        The untrained network's are ``rsa/<area>/<layer>/untrained``. Undefined scores and ceilings
        of areas with one subject are left out: they are not numbers.
        """
        found = {}
        for column, area in enumerate(self.areas):
            for row, layer in enumerate(self.layers):
                found[f'rsa/{area}/{layer}'] = self.scores[row, column]
                if self.untrained_scores is not None:
                    found[f'rsa/{area}/{layer}/untrained'] = self.untrained_scores[row, column]
            ceiling = self.ceilings[area]
            for bound in ('lower', 'upper'):
                if getattr(ceiling, bound) is not None:
                    found[f'rsa/{area}/ceiling_{bound}'] = getattr(ceiling, bound)
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def grouped(self, rdms: np.ndarray) -> RDMs:
        """RDMs (K, P) over the stimuli of this analysis, with their groups if they have any."""
        return RDMs(rdms, groups=None if self.groups is None else tuple(self.groups))

    def r2(self) -> np.ndarray:
        """(L, A), mean over subjects of the squared correlation: what Net2Brain calls R2.

        It cannot tell likeness from its opposite, and noise alone makes it positive. NaN of layers
        without a score.
        """
        known = np.isfinite(self.scores).any(1)
        table = np.full(self.scores.shape, np.nan)
        for column, area in enumerate(self.areas):
            subjects = present_subjects(self.area_rdms[area], f'area {area!r}')
            scores = compare_rdms(self.grouped(self.rdms[known]), subjects, self.settings.method)
            table[known, column] = np.square(scores).mean(1)
        return table

    def best_layer(self, area: str) -> tuple[str, float] | None:
        """The layer most like an area and its score; None if every score is undefined."""
        column = self.scores[:, self.areas.index(area)]
        if np.isnan(column).all():
            return None
        row = int(np.nanargmax(column))
        return self.layers[row], float(column[row])


def settings_dict(settings: RSASettings) -> dict[str, Any]:
    """Settings as JSON can hold them."""
    return asdict(settings)


def settings_from(values: Mapping[str, Any]) -> RSASettings:
    """Settings from :func:`settings_dict`; unknown names are refused with the known ones."""
    known = [item.name for item in fields(RSASettings)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f'unknown settings {", ".join(unknown)}; known are {", ".join(known)}')
    return RSASettings(**values)
