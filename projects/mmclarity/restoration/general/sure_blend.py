"""Non-local means have a share in the restoration, as far as they are closer to the truth.

The network knows what it was trained on; non-local means (Buades et al., CVPR 2005) look for other
places of the image that are alike. They are better at sharp edges and patterns, by up to eight
decibels, and worse nearly everywhere else. Which share of them is best can be told without the
truth, where the noise is known: of ``f(y) + a d``, with ``d`` what the means have more than the
network ``f``, the expected error is a parabola in ``a``, least at

    a = (<d, y - f(y)> - tr(J_d C)) / <d, d>

for noise of covariance ``C`` (Stein 1981; a linear expansion as Blu and Luisier, IEEE TIP 2007).
The trace is probed by a little more such noise (Ramani, Blu and Unser 2008), in some windows. The
share depends on how far the two are apart in a place. Where there is fine structure all over, as a
lattice, what is sure of it, on even ground, is tried as well, and what wins more has the share.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from ...utils.cpus import side_by_side
from .appraisal import Appraisal
from .residual_structure import (
    BAND,
    PATCH,
    REACH,
    TINY,
    bands_before,
    can_be_told,
    levels_of,
    non_local_means,
    put_back,
    variance_at,
)
from .spectrum import noise_along

__all__ = ['blend_by_sure']

Restore = Callable[[np.ndarray], np.ndarray]
Other = Callable[[np.ndarray, np.ndarray], np.ndarray]

# How far two restorations are apart: mean square over these pixels (deviation of a Gaussian), over
# the noise's variance; in steps of a factor of two, each with a share of its own.
NEAR, APART = 4.0, (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
# A share is taken from this gain on, in units of the noise's variance; and from so many deviations
# of what chance makes of a share, and so much evidence (of <d, d>).
GAIN, SURE, EVIDENCE = 0.04, 2.0, 60.0
# How noise comes through is known as well as the noise: where more of it comes through the means
# they are charged more, and where less, they are given less.
CHARGED, CREDITED = 1.3, 0.9
# Lone pixels, off all eight beside them by so many deviations: means keep them, as they are noise
# with heavy tails.
LONE = 2.0
# Residuals count up to so many deviations where it is asked how strong noise is.
FAR = 4.0
# Blocks in which that is asked, pixels a side; and the noise of the contrast above which shares are
# not asked for, as few electrons have no even spread.
BLOCK, MOST_SIGMA = 64, 0.15
# Noise may be stronger than was measured: what this share of all blocks has, is no structure.
QUIET = 0.25
# Windows in which means are tried: where in the order of what was taken away, blocks a side, and
# what is restored around them; the probe's strength, of the noise's.
STARTS, WINDOW, CONTEXT, PROBE = (0.0, 0.0, 0.33, 0.67), 2, 24, 0.1
# Deviation of the Gaussian that makes ground even.
EVEN = 8.0
_MARGIN = PATCH + REACH + math.ceil(3 * NEAR)
_RING = np.ones((3, 3), bool)
_RING[1, 1] = False
_PLACES = np.log([APART[0] / 2**0.5, *(2**0.5 * np.array(APART))])


def blend_by_sure(
    image: np.ndarray,
    restored: np.ndarray,
    like: Appraisal,
    restore: Restore,
    scale: float = 1.0,
    black: float = 0.0,
) -> float:
    """Blends non-local means into a restoration, by the share of the least expected error.

    Memory for some rows is taken, and for the windows.

    Args:
        image: (H, W), noisy; levels, 0 black and 1 white, are ``(image - black) / scale``.
        restored: (H, W) float32, levels; written into.
        like: of the noisy image.
        restore: what ``restored`` was restored by: of a part of the image, as float32, its levels.
        scale: what a level of one is in the image.
        black: what a level of zero is in it.

    Returns:
        Their share of the image. Images too small to tell stay as they are, and those whose noise
        is shared by lines or made of spikes.
    """
    if not (can_be_told(image, like) and 0 < like.sigma < MOST_SIGMA):
        return 0.0
    if like.upright:
        lying = restore
        image, restored = image.T, restored.T

        def restore(part: np.ndarray) -> np.ndarray:
            return lying(np.ascontiguousarray(part.T)).T

    both = _Both(image, restored, like, scale, black)
    others: list[Other] = [_means]
    if like.structure == 'fine':
        others.append(_sure_structure(like))
    sums = both.evidence(restore, others)
    shares = [_shares(own) for own in sums]
    gains = [float(np.square(share) @ own[0]) for share, own in zip(shares, sums)]
    best = int(np.argmax(gains))
    return both.take(shares[best], others[best]) if gains[best] else 0.0


@dataclass
class _Both:
    """An image, its restoration, and the noise between them.

    Attributes:
        excess: (blocks, blocks) mean square of what was taken away, over the noise's variance.
        uneven: (blocks, blocks) the noise's variance over what was measured, at least 1.
    """

    image: np.ndarray
    restored: np.ndarray
    like: Appraisal
    scale: float
    black: float
    excess: np.ndarray = field(init=False)
    uneven: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.uneven = np.ones([-(-side // BLOCK) for side in self.image.shape], np.float32)
        spread, power = (np.concatenate(rows) for rows in zip(*self._of_blocks()))
        self.uneven[:] = np.maximum(np.square(spread / max(np.median(spread), TINY)), 1)
        self.excess = power / self.uneven
        self.uneven *= max(1.0, float(np.quantile(self.excess, QUIET)))

    def _of_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """How far pixels lie off those above and below, and what was taken away; in deviations."""
        for top in range(0, len(self.image), BAND):
            noisy, answer, variance = self._part(slice(top, top + BAND), slice(None))
            off = np.abs(noisy - (np.roll(noisy, 1, 0) + np.roll(noisy, -1, 0)) / 2)
            spread = np.median(_blocks(off / np.sqrt(variance)), -1)
            taken = np.minimum(np.square(noisy - answer), FAR**2 * variance) / variance
            yield spread, _blocks(taken).mean(-1)

    def _part(
        self, rows: slice, columns: slice, answer: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Noisy levels; restored ones, if they are not given; and the noise's variance."""
        noisy = levels_of(self.image[rows, columns], self.scale, self.black)
        if answer is None:
            answer = self.restored[rows, columns]
        y, x = (
            np.arange(*part.indices(side)) // BLOCK
            for part, side in zip((rows, columns), self.image.shape)
        )
        return noisy, answer, variance_at(answer, self.like, 1.0) * self.uneven[np.ix_(y, x)]

    def windows(self) -> list[tuple[slice, slice]]:
        """Where most was taken away, and others from all over the order of that."""
        height, width = self.image.shape
        if height * width <= 1.25 * len(STARTS) * (WINDOW * BLOCK) ** 2:
            return [(slice(0, height), slice(0, width))]
        views = [min(WINDOW, side) for side in self.excess.shape]
        mean = np.lib.stride_tricks.sliding_window_view(self.excess, views).mean((2, 3))
        order = np.argsort(mean, axis=None)[::-1]
        chosen: list[tuple[slice, slice]] = []
        taken = np.zeros(self.excess.shape, bool)
        for start in STARTS:
            for index in order[int(start * len(order)) :]:
                y, x = np.unravel_index(index, mean.shape)
                own = np.s_[y : y + views[0], x : x + views[1]]
                if not taken[own].any():
                    taken[own] = True
                    chosen.append(tuple(slice(s.start * BLOCK, s.stop * BLOCK) for s in own))
                    break
        return chosen

    def evidence(self, restore: Restore, others: Sequence[Other]) -> np.ndarray:
        """Of each of the others (4, steps): <d, d>, <d, y - f(y)>, the trace; and pixels."""
        # The network first, as it takes all threads for itself.
        trials = [self._trial(window, restore) for window in self.windows()]
        answers = side_by_side(
            partial(other, levels, trial.variance)
            for trial in trials
            for other in others
            for levels in (trial.noisy, trial.more)
        )
        found = [[trial.evidence(next(answers), next(answers)) for _ in others] for trial in trials]
        return np.sum(found, 0)

    def _trial(self, window: tuple[slice, slice], restore: Restore) -> _Trial:
        rows, columns = (
            slice(max(0, part.start - CONTEXT), min(part.stop + CONTEXT, side))
            for part, side in zip(window, self.image.shape)
        )
        inside = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(window, (rows, columns))
        )
        noisy, answer, variance = self._part(rows, columns)
        probe = np.random.default_rng(rows.start).standard_normal(noisy.shape)
        amplitude = _resampled(self._along, noisy.shape[1] // 2 + 1)
        probe = np.fft.irfft(np.fft.rfft(probe, axis=1) * amplitude, noisy.shape[1], axis=1)
        probe = (probe / probe.std() * np.sqrt(variance)).astype(np.float32)
        more = noisy + np.float32(PROBE) * probe
        changed = restore(more * self.scale + self.black) - answer
        return _Trial(inside, noisy, answer, variance, probe, more, changed)

    def take(self, shares: np.ndarray, other: Other) -> float:
        """Writes another restoration by its shares; returns what it has of all."""
        bands: deque[tuple[slice, slice, np.ndarray, np.ndarray, np.ndarray]] = deque()
        margin = _MARGIN if other is _means else BLOCK

        def work() -> Iterator[Callable[[], np.ndarray]]:
            for rows, own, before in bands_before(self.restored, BAND, margin):
                noisy, answer, variance = self._part(rows, slice(None), before)
                bands.append((rows, own, noisy, answer, variance))
                yield partial(other, noisy, variance)

        total = 0.0
        for means in side_by_side(work()):
            rows, own, noisy, answer, variance = bands.popleft()
            apart = np.clip(means, 0, 1) - answer
            apart[_is_lone(noisy, variance)] = 0
            far = np.log(np.maximum(_far(apart, variance), TINY))
            share = np.interp(far[own], _PLACES, shares).astype(np.float32)
            self.restored[rows][own] += share * apart[own]
            total += float(share.sum())
        return total / self.image.size

    @cached_property
    def _along(self) -> np.ndarray:
        """Amplitude of the noise at frequencies along the line, from the image's middle."""
        middle = tuple(slice(max(0, (n - BAND) // 2), (n + BAND) // 2) for n in self.image.shape)
        levels = levels_of(self.image[middle], self.scale, self.black)
        power = noise_along(levels, self.like.structure not in ('fine', 'all'))
        return np.sqrt(np.maximum(power, 0))


class _Trial(NamedTuple):
    """A window in which others are tried; arrays are of it and what lies around it.

    Attributes:
        inside: The window.
        noisy: Levels.
        answer: Restored levels.
        variance: Of the noise.
        probe: More such noise.
        more: Levels with some of it.
        changed: What that has changed of the restored levels.
    """

    inside: tuple[slice, ...]
    noisy: np.ndarray
    answer: np.ndarray
    variance: np.ndarray
    probe: np.ndarray
    more: np.ndarray
    changed: np.ndarray

    def evidence(self, own: np.ndarray, own_more: np.ndarray) -> list[np.ndarray]:
        """(4, steps) of another restoration, of the levels and of those with more noise."""
        lone = _is_lone(self.noisy, self.variance)
        apart = np.where(lone, 0, own - self.answer)
        change = np.where(lone, 0, own_more - own - self.changed)
        parts = (
            np.square(apart) / self.variance,
            apart * (self.noisy - self.answer) / self.variance,
            self.probe * change / PROBE / self.variance,
            np.ones_like(apart),
        )
        step = np.digitize(_far(apart, self.variance), APART)[self.inside].ravel()
        weights = (part[self.inside].ravel() for part in parts)
        return [np.bincount(step, part, len(APART) + 1) for part in weights]


def _shares(sums: np.ndarray) -> np.ndarray:
    """(steps,) of one of the others, from :meth:`_Both.evidence`."""
    square, towards, trace, count = sums
    trace = trace * np.where(trace > 0, CHARGED, CREDITED)
    power = np.maximum(square, EVIDENCE)
    shares = np.clip((towards - trace) / power - SURE / np.sqrt(power), 0, 1)
    gain = np.square(shares) * square / np.maximum(count, 1)
    # rounded, so that the last digits of a sum, which hang on threads, change no grey level
    return np.where((square > EVIDENCE) & (gain > GAIN), shares.round(2), 0)


def _far(apart: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return gaussian_filter(np.square(apart) / variance, NEAR, mode='reflect', truncate=3)


def _is_lone(noisy: np.ndarray, variance: np.ndarray) -> np.ndarray:
    least = LONE * np.sqrt(variance)
    above = noisy - maximum_filter(noisy, footprint=_RING) > least
    return above | (minimum_filter(noisy, footprint=_RING) - noisy > least)


def _blocks(values: np.ndarray) -> np.ndarray:
    """(rows of blocks, blocks, pixels); mirrored to whole blocks."""
    values = np.pad(values, [(0, -side % BLOCK) for side in values.shape], 'reflect')
    high, wide = (side // BLOCK for side in values.shape)
    parts = values.reshape(high, BLOCK, wide, BLOCK).transpose(0, 2, 1, 3)
    return parts.reshape(high, wide, -1)


def _resampled(values: np.ndarray, count: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)


def _means(levels: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return non_local_means(levels, float(np.sqrt(variance.mean())))


def _sure_structure(like: Appraisal) -> Other:
    """What cannot be noise, and nothing else but even ground."""
    lying = replace(like, upright=False)

    def restored(levels: np.ndarray, variance: np.ndarray) -> np.ndarray:
        ground = gaussian_filter(levels, EVEN, mode='reflect', truncate=3)
        put_back(levels, ground, lying)
        return ground

    return restored
