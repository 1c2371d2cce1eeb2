"""Where along a network an area is matched best, and whether one area's place is before another's.

The published claim is about order: early areas resemble early layers. One score by layer says
nothing of it; the position of the peak, in resamplings of the same stimuli, does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rdms.rdms import as_condensed
from .significance import bootstrap, quantiles

POSITIONS = ('peak', 'centroid')


@dataclass(frozen=True)
class Profile:
    """Position of an area's best layer; 0 is the first layer and 1 the last.

    Args:
        area: Its name.
        layer: The best one.
        position: Of it, or of the centroid.
        interval: Percentile limits.
        samples: (B,) in the resamplings; NaN where one had too few stimuli.
        kind: 'peak' or 'centroid'.
    """

    area: str
    layer: str
    position: float
    interval: tuple[float, float]
    samples: np.ndarray
    kind: str


@dataclass(frozen=True)
class Order:
    """Whether one area's position lies before another's.

    Args:
        first: Name of an area.
        second: Of the other.
        difference: Position of the second minus that of the first: positive if the first is
            matched by earlier layers.
        interval: Percentile limits of it.
        p: One-sided, of the first not being earlier: share of resamplings with a difference of
            zero or below.
        p_two_sided: Twice the share on the rarer side of zero.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_two_sided: float


def positions(scores: np.ndarray, kind: str = 'peak') -> np.ndarray:
    """(B,) positions of profiles (B, L), from 0 to 1.

    'peak': of the greatest score; the mean of several that are equal. 'centroid': mean position
    weighted by how far scores lie above the least one, which uses all layers and moves in smaller
    steps. NaN where a profile holds NaN; a flat profile has its middle.
    """
    if kind not in POSITIONS:
        raise ValueError(f'kind must be one of {", ".join(POSITIONS)}, got {kind!r}')
    scores = np.atleast_2d(np.asarray(scores, np.float64))
    depth = np.linspace(0, 1, scores.shape[1]) if scores.shape[1] > 1 else np.zeros(1)
    if kind == 'peak':
        weights = (scores == scores.max(1, keepdims=True)).astype(float)
    else:
        weights = scores - scores.min(1, keepdims=True)
        weights[(weights == 0).all(1)] = 1
    with np.errstate(invalid='ignore', divide='ignore'):
        found = weights @ depth / weights.sum(1)
    found[np.isnan(scores).any(1)] = np.nan
    return found


def layer_profiles(
    layers: Mapping[str, Any],
    areas: Mapping[str, Any],
    method: str = 'spearman',
    over: str = 'stimuli',
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    kind: str = 'peak',
) -> dict[str, Profile]:
    """Positions of the areas along a network.

    Areas of the same stimuli are resampled alike, so that their difference is a paired one.

    Args:
        layers: RDM of each layer, in network order.
        areas: RDMs (S, P) of each area's subjects.
        method: Of :func:`compare_rdms`.
        over: 'stimuli', 'subjects' or 'both'.
        num_samples: Resamplings.
        seed: Of the draws.
        level: Of intervals.
        kind: 'peak' or 'centroid'.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import layer_profiles
        >>> rng = np.random.default_rng(0)
        >>> layers = {name: rng.random(45) for name in ('conv1', 'conv2', 'conv3')}
        >>> areas = {'V1': layers['conv1'] + 0.2 * rng.normal(size=(3, 45))}
        >>> layer_profiles(layers, areas, num_samples=50)['V1'].layer
        'conv1'
    """
    stack = np.concatenate([as_condensed(rdm, name) for name, rdm in layers.items()])
    found = {}
    for area, subjects in areas.items():
        result = bootstrap(stack, subjects, method, over, num_samples, seed, ceiling=False)
        found[area] = profile(area, list(layers), result.observed, result.samples, level, kind)
    return found


def profile(
    area: str,
    layers: Sequence[str],
    observed: np.ndarray,
    samples: np.ndarray,
    level: float = 0.95,
    kind: str = 'peak',
) -> Profile:
    """A profile from scores (L,) and those of resamplings (B, L)."""
    drawn, here = positions(samples, kind), float(positions(observed, kind)[0])
    best = layers[int(np.nanargmax(observed))] if np.isfinite(observed).any() else 'none'
    return Profile(area, best, here, _limits(drawn, level), drawn, kind)


def order(first: Profile, second: Profile, level: float = 0.95) -> Order:
    """Whether the first area is matched by earlier layers than the second.

    Both must come from the same resamplings, or from independent ones of different stimuli.

    Raises:
        ValueError: If the profiles are of different kinds or numbers of resamplings.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import layer_profiles, order
        >>> rng = np.random.default_rng(0)
        >>> layers = {name: rng.random(45) for name in ('conv1', 'conv2', 'conv3')}
        >>> areas = {
        ...     'V1': layers['conv1'] + 0.2 * rng.normal(size=(3, 45)),
        ...     'IT': layers['conv3'] + 0.2 * rng.normal(size=(3, 45)),
        ... }
        >>> found = layer_profiles(layers, areas, num_samples=50)
        >>> order(found['V1'], found['IT']).difference
        1.0
    """
    if first.kind != second.kind or len(first.samples) != len(second.samples):
        raise ValueError(
            f'profiles of {first.area!r} and {second.area!r} are of other kinds or numbers of '
            'resamplings; make both by one call of layer_profiles'
        )
    drawn = second.samples - first.samples
    drawn = drawn[np.isfinite(drawn)]
    below, above = (drawn <= 0).sum(), (drawn >= 0).sum()
    return Order(
        first.area,
        second.area,
        second.position - first.position,
        _limits(drawn, level),
        float((below + 1) / (len(drawn) + 1)),
        float(min(1, 2 * (min(below, above) + 1) / (len(drawn) + 1))),
    )


def _limits(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = quantiles(values, tail)
    return float(low), float(high)
