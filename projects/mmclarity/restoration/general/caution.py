"""How careful a network's second look has to be, so that it invents no more than another network.

The second look is told of more noise than was measured (:attr:`.Appraisal.second_look`): of more,
particles are invented less and missed more. And detail that only the first look has may be gone, or
shown fainter (:attr:`.Manner.believed`). A network that was taught one microscope needs other
values than the general one. They are found where the truth is known, on clean images made worse and
on fields that were scanned both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from mmclarity.engine.hooks.precision import autocast_fastest

from ..evaluation.fabrication import count_fabrications
from .appraisal import BRIGHT, DARK, Appraisal
from .network import GeneralUNet
from .weights import restore_levels

__all__ = ['Caution', 'Scene', 'choose_caution']

# Shares of the factor that are tried, the boldest first; and of detail that the first look alone
# has, beside that of before.
TRIED = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 2.7, 3.6)
BELIEVED = (0.0, 0.4)
# Inventions of the network before, in all scenes, from which on counts alone are believed. In
# fewer, chance has a say: then a bolder look must have the smaller error as well.
LEAST_COUNTED = 5
# Strength of the particles that are counted, of the contrast: the least of the tables.
STRENGTH = 0.03


@dataclass(frozen=True)
class Scene:
    """A noisy image and the clean one: made worse, or two scans of one field.

    Attributes:
        noisy: (H, W) float32, in the network's levels.
        clean: the same.
        like: what was measured on the noisy one.
    """

    noisy: np.ndarray
    clean: np.ndarray
    like: Appraisal


@dataclass(frozen=True)
class Caution:
    """What was chosen.

    Attributes:
        before: particles invented and missed an image by the network before.
        after: by the new one.
    """

    before: tuple[float, float]
    after: tuple[float, float]

    def describe(self) -> str:
        """One sentence."""
        (invented, missed), (now, lost) = self.before, self.after
        return (
            f'particles of {100 * STRENGTH:.0f} % or more, where the truth is known: {now:.2g} '
            f'invented and {lost:.3g} missed a picture (before: {invented:.2g} and {missed:.3g})'
        )


class _Count(NamedTuple):
    """Particles invented and missed a scene, and the squared error."""

    invented: float
    missed: float
    error: float


def choose_caution(
    net: GeneralUNet,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    scenes: Sequence[Scene],
) -> Caution:
    """The manner in which new weights miss least and invent no more than the old ones do.

    For each share of the detail that the first look alone has, that is the boldest second look. It
    is the most careful one that is tried where all invent more. Where the old ones invent too few
    to be compared with, another manner than before must have the smaller squared error, too: none
    in 40 scenes is less than one in 13, with 95 % confidence.

    Args:
        net: any weights; in evaluation mode. It comes back with the new ones, and with the manner
            that was chosen.
        before: weights, as ``net.manner`` says.
        after: other weights.
        scenes: at least one.
    """
    start, same = net.manner, TRIED.index(1.0)
    net.load_state_dict(before)
    looks = _first_looks(net, scenes)
    most = _counted(net, scenes, looks, start.caution, [start.believed])[start.believed]
    net.load_state_dict(after)
    looks = _first_looks(net, scenes)
    shares = [start.believed, *(share for share in BELIEVED if share != start.believed)]
    counts: dict[int, dict[float, _Count]] = {}

    def count(place: int, believed: float) -> _Count:
        if place not in counts:
            caution = start.caution * TRIED[place]
            counts[place] = _counted(net, scenes, looks, caution, shares)
        return counts[place][believed]

    few = most.invented * len(scenes) < LEAST_COUNTED - 0.5
    best = usual = count(same, start.believed)
    manner = start
    for believed in shares:
        place = _boldest(lambda at, b=believed: count(at, b).invented <= most.invented)
        found = count(place, believed)
        first = believed == start.believed
        if few and found.error >= usual.error and (place < same or not first):
            continue
        if first or (found.invented <= most.invented and found.missed < best.missed):
            caution = start.caution * TRIED[place]
            best, manner = found, replace(start, caution=caution, believed=believed)
    net.manner = manner
    return Caution(most[:2], best[:2])


def _boldest(allowed: Callable[[int], bool]) -> int:
    """The first of :data:`TRIED` that is allowed, or the last: the bolder, the more is invented."""
    low, high = 0, len(TRIED) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if allowed(middle) else (middle + 1, high)
    return low


def _first_looks(net: GeneralUNet, scenes: Sequence[Scene]) -> list[np.ndarray]:
    return [_restored(net, scene, twice=False) for scene in scenes]


def _restored(net: GeneralUNet, scene: Scene, twice: bool) -> np.ndarray:
    with autocast_fastest(next(net.parameters()).device):
        return restore_levels(net, scene.noisy, scene.like, twice)


def _counted(
    net: GeneralUNet,
    scenes: Sequence[Scene],
    looks: Sequence[np.ndarray],
    caution: float,
    shares: Sequence[float],
) -> dict[float, _Count]:
    """Means over the scenes for each share of detail that the first look alone has."""
    net.manner = replace(net.manner, caution=caution, believed=0.0)
    totals = {share: np.zeros(3) for share in shares}
    for scene, first in zip(scenes, looks):
        both = _restored(net, scene, twice=True)
        for share, total in totals.items():
            # what agreement gives, but for levels that are cut off at black or white
            restored = both + share * scene.like.known * (first - both)
            for sign in (1, -1):  # dark particles too
                images = (0.5 + sign * (image - 0.5) for image in (restored, scene.clean))
                (found,) = count_fabrications(*images, [STRENGTH * (BRIGHT - DARK)])
                total[:2] += found['fabricated'], found['missed']
            total[2] += float(np.square(restored - scene.clean).mean())
    return {share: _Count(*map(float, total / len(scenes))) for share, total in totals.items()}
