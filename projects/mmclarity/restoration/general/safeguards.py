"""Guards against what a network does not know, and whether a network that was taught needs them.

What a restoration took away and cannot have been noise is put back
(:mod:`.residual_structure`), and non-local means have a share where they are closer to the truth
(:mod:`.sure_blend`). Both go by what is measured of the noise. Among strong fine texture that is
more than there is, or less; a network that was taught such a sample may know better than they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mmclarity.engine.hooks.precision import autocast_fastest

from .appraisal import BRIGHT, DARK, Appraisal
from .caution import Scene
from .network import GeneralUNet
from .residual_structure import put_back
from .sure_blend import blend_by_sure
from .weights import restore_levels

__all__ = ['Guarding', 'guard', 'needs_guard']

# Standard errors by which a network has to be better alone.
SURE = 2.0
# Columns of a scene that count as one sample of the error, and scenes that are looked at, at most.
BLOCK, SCENES = 32, 24


class Guarding(NamedTuple):
    """What was chosen.

    Attributes:
        guarded: whether the network is guarded.
        alone: mean squared error without guards, of the contrast.
        both: the same with them.
    """

    guarded: bool
    alone: float
    both: float

    def describe(self) -> str:
        """A sentence where there is something to tell; else nothing."""
        if self.guarded:
            return ''
        gain = 10 * math.log10(max(self.both, 1e-12) / max(self.alone, 1e-12))
        return (
            'these weights restore alone: what the general network needs to be put back, fine '
            f'structure that it takes for noise, would cost {gain:.1f} dB where the truth is known'
        )


def guard(
    image: np.ndarray,
    restored: np.ndarray,
    like: Appraisal,
    restore: Callable[[np.ndarray], np.ndarray],
    strength: float = 1.0,
    scale: float = 1.0,
    black: float = 0.0,
) -> tuple[float, float]:
    """Puts structure back, and blends non-local means in.

    Args:
        image: (H, W), noisy; levels, 0 black and 1 white, are ``(image - black) / scale``.
        restored: (H, W) float32, levels, what ``restore`` gave; written into.
        like: of the noisy image.
        restore: of a part of the image, as float32, its levels.
        strength: factor on the deviation of the noise that is taken away.
        scale: what a level of one is in the image.
        black: what a level of zero is in it.

    Returns:
        Shares of the image: where structure had been taken away, and of non-local means.
    """

    def again(part: np.ndarray) -> np.ndarray:
        answer = restore(part)
        put_back(part, answer, like, strength, scale, black)
        return answer

    mistaken = put_back(image, restored, like, strength, scale, black)
    if strength > 1:  # more was asked to be taken away
        return mistaken, 0.0
    return mistaken, blend_by_sure(image, restored, like, again, scale, black)


def needs_guard(net: GeneralUNet, scenes: Sequence[Scene]) -> Guarding:
    """Whether a network does as well with its guards as alone, where the truth is known.

    Args:
        net: in evaluation mode, as cautious as it will be.
        scenes: at least one; of many, some from all over them.

    Returns:
        Guarded, unless the error is smaller alone by :data:`SURE` standard errors.
    """
    errors = [_errors(net, scene) for scene in scenes[:: -(-len(scenes) // SCENES)]]
    alone, both = (np.concatenate(side) / (BRIGHT - DARK) ** 2 for side in zip(*errors))
    gain = both - alone
    spread = float(gain.std(ddof=1) / math.sqrt(len(gain))) if len(gain) > 1 else math.inf
    better = float(gain.mean()) > SURE * spread
    return Guarding(not better, float(alone.mean()), float(both.mean()))


def _errors(net: GeneralUNet, scene: Scene) -> list[np.ndarray]:
    """Squared errors of blocks of columns, alone and guarded."""

    def restore(levels: np.ndarray) -> np.ndarray:
        with autocast_fastest(next(net.parameters()).device):
            return restore_levels(net, levels, scene.like)

    alone = restore(scene.noisy)
    both = alone.copy()
    guard(scene.noisy, both, replace(scene.like, low=DARK, high=BRIGHT), restore)
    return [_by_columns(answer - scene.clean) for answer in (alone, both)]


def _by_columns(error: np.ndarray) -> np.ndarray:
    """(blocks,) mean squares of blocks of columns."""
    square = np.square(error).mean(0)
    return np.array([part.mean() for part in np.array_split(square, max(1, len(square) // BLOCK))])
