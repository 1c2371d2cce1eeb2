"""How careful a network's second look has to be, so that it invents no more than another network.

The second look is told of more noise than was measured (:attr:`.Appraisal.second_look`): of more,
particles are invented less and missed more. A network that was taught one microscope needs another
factor than the general one. It is found where the truth is known, on clean images made worse and on
fields that were scanned both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
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

# Shares of the factor that are tried, the boldest first.
TRIED = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
# Inventions of the network before, in all scenes, from which on counts alone are believed. In
# fewer, chance has a say: then a bolder look must have the smaller error as well.
LEAST_COUNTED = 5
# Strength of the particles that are told, of the contrast: the least of the tables; and of those by
# which networks are compared. There are five times as many, so that chance has less of a say.
STRENGTH, COMPARED = 0.03, 0.015


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
    """Particles invented and missed a scene, the squared error, and faint ones invented."""

    invented: float
    missed: float
    error: float
    compared: float


def choose_caution(
    net: GeneralUNet,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    scenes: Sequence[Scene],
) -> Caution:
    """The boldest second look with which new weights invent no more than the old ones do.

    It is the most careful one that is tried where all invent more. Where the old ones invent too
    few to be compared with, it is bolder than before only if its squared error is smaller, too:
    none in 40 scenes is less than one in 13, with 95 % confidence.

    Args:
        net: any weights; in evaluation mode. It comes back with the new ones, and is as cautious
            as was chosen.
        before: weights, as cautious as ``net`` is.
        after: other weights.
        scenes: at least one.
    """
    start = net.manner.caution
    net.load_state_dict(before)
    most = _counted(net, scenes, start)
    net.load_state_dict(after)
    counts: dict[int, _Count] = {}

    def count(place: int) -> _Count:
        if place not in counts:
            counts[place] = _counted(net, scenes, start * TRIED[place])
        return counts[place]

    # the bolder, the more is invented: halves are looked at in turn
    low, high, same = 0, len(TRIED) - 1, TRIED.index(1.0)
    while low < high:
        middle = (low + high) // 2
        allowed = count(middle).compared <= most.compared
        low, high = (low, middle) if allowed else (middle + 1, high)
    few = most.compared * len(scenes) < LEAST_COUNTED - 0.5
    if few and low < same and count(low).error >= count(same).error:
        low = same
    chosen = count(low)
    net.manner = replace(net.manner, caution=start * TRIED[low])
    return Caution(most[:2], chosen[:2])


def _counted(net: GeneralUNet, scenes: Sequence[Scene], caution: float) -> _Count:
    """Means over the scenes."""
    device, total = next(net.parameters()).device, np.zeros(4)
    strengths = [share * (BRIGHT - DARK) for share in (STRENGTH, COMPARED)]
    net.manner = replace(net.manner, caution=caution)
    for scene in scenes:
        with autocast_fastest(device):
            restored = restore_levels(net, scene.noisy, scene.like)
        for sign in (1, -1):  # dark particles too
            images = (0.5 + sign * (image - 0.5) for image in (restored, scene.clean))
            told, compared = count_fabrications(*images, strengths)
            total += told['fabricated'], told['missed'], 0.0, compared['fabricated']
        total[2] += float(np.square(restored - scene.clean).mean())
    return _Count(*map(float, total / len(scenes)))
