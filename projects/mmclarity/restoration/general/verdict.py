"""Are new weights better than old ones on noisy images? An estimate without clean ones.

A mixture of the two is kept (Wortsman et al., WiSE-FT, CVPR 2022): only as much of the new ones as
is shown to help.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, median_filter
from torch import Tensor

from .blind_spot import NoisyField, blinded
from .network import GeneralUNet
from .weights import restore_levels

# Shares of the new weights that are tried.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Standard errors by which new weights have to be better.
SURE = 2.0
# Times that pixels are hidden for the estimate of the error, and columns of one sample of it.
ROUNDS, BLOCK = 8, 32
# Pixels that are restored at most by each of SHARES, all images and rounds together, and of one
# image: some minutes of one core, and half a gigabyte. And a side of what is cut from images.
MOST, LARGEST, LEAST_SIDE = 2**24, 2**21, 128


@dataclass(frozen=True)
class Verdict:
    """What the estimate of the true error says, on rows that were kept back.

    Attributes:
        share: of the new weights in what is kept; 0 is the network as it was.
        before, after: mean squared error in units of the noise's variance, estimated.
        surety: their difference in its standard errors.
        errors: the estimate at each of :data:`SHARES`.
        known: whether it is no estimate but the error to clean images.
    """

    share: float
    before: float
    after: float
    surety: float
    errors: tuple[float, ...]
    known: bool = False

    def describe(self) -> str:
        """One sentence."""
        if not self.share:
            return (
                'the network as it ships does as well on these images (no sure gain on rows kept '
                'back): its weights are kept'
            )
        if self.before > 0:
            gain = f'{10 * math.log10(self.before / self.after):.2f} dB'
        else:  # the noise is not what was measured, and the estimates lie below zero
            less = self.before - self.errors[SHARES.index(self.share)]
            gain = f'{less:.2g} of the variance of noise'
        how = 'against the slow scans' if self.known else 'estimated without clean images'
        return (
            f'better on rows kept back by {gain} ({how}, '
            f'{self.surety:.0f} standard errors); {100 * self.share:.0f} % of the new weights are '
            'kept'
        )


def judge(
    net: GeneralUNet,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    held: list[NoisyField],
    seed: int = 0,
) -> tuple[Verdict, dict[str, Tensor]]:
    """Chooses how much of the new weights is kept.

    Args:
        net: any weights; in evaluation mode.
        before: weights.
        after: other weights.
        held: what they are judged on; of much, some (:func:`some_of`).
        seed: see :func:`error_blocks`.

    Returns:
        The verdict, and the mixture.
    """
    errors, held = [], some_of(held)
    for share in SHARES:
        net.load_state_dict(_mixture(before, after, share))
        errors.append(np.concatenate([error_blocks(as_used(net, one), one, seed) for one in held]))
    means = [float(error.mean()) for error in errors]
    best, surety = 0, 0.0
    for index in range(1, len(SHARES)):
        gain = errors[0] - errors[index]
        spread = float(gain.std(ddof=1) / math.sqrt(len(gain)))
        sure = float(gain.mean()) / max(spread, 1e-12)
        if sure >= SURE and means[index] < means[best]:
            best, surety = index, sure
    known = all(one.truth is not None for one in held)
    verdict = Verdict(SHARES[best], means[0], max(means[best], 1e-6), surety, tuple(means), known)
    return verdict, _mixture(before, after, SHARES[best])


def some_of(held: list[NoisyField]) -> list[NoisyField]:
    """The middle of each image, and if that is not enough, images evenly chosen.

    Judging many or large images would take far longer than the training.
    """
    rounds = 1 + ROUNDS * (held[0].truth is None and not held[0].scans)
    most = MOST // rounds
    share = min(1.0, most / sum(one.levels.size for one in held))
    cut = [_middle(one, min(share, LARGEST / one.levels.size)) for one in held]
    count = int(len(cut) * most / sum(one.levels.size for one in cut))
    if count >= len(cut):
        return cut
    return [cut[i] for i in np.linspace(0, len(cut) - 1, max(count, 1)).round().astype(int)]


def _middle(one: NoisyField, share: float) -> NoisyField:
    """A part of the image, of about its shape."""
    if share >= 1:
        return one
    rows, columns = (
        slice((length - side) // 2, (length + side) // 2)
        for length in one.levels.shape
        for side in [min(length, max(LEAST_SIDE, int(length * math.sqrt(share))))]
    )
    truth = None if one.truth is None else one.truth[rows, columns]
    return replace(
        one,
        levels=np.ascontiguousarray(one.levels[rows, columns]),
        scans=tuple(scan[rows, columns] for scan in one.scans),
        truth=truth,
    )


def _mixture(
    before: dict[str, Tensor], after: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    return {name: torch.lerp(value, after[name], share) for name, value in before.items()}


def as_used(net: GeneralUNet, one: NoisyField) -> Callable[[np.ndarray], np.ndarray]:
    """Restores levels as images are restored, in two looks: one alone may gain where both lose.

    Nothing is put back (:mod:`.lost`): of a hidden pixel, that would show what is hidden.
    """
    return lambda levels: restore_levels(net, levels, one.like)


@torch.no_grad()
def error_blocks(
    restore: Callable[[np.ndarray], np.ndarray], one: NoisyField, seed: int = 0
) -> np.ndarray:
    """Estimated squared error in units of the noise's variance, by blocks of columns.

    With noise n of variance s^2, the noisy image y = x + n and the restored f(y),

        E (f - x)^2 = E (f - y)^2 - s^2 + 2 E n f(y).

    The last term tells how much of its own noise a pixel keeps. It is found by giving pixels, with
    the segment that shares their noise, that of another line, y': 2 E n f(y) is the mean of
    (y - y')(f(y) - f(y')), and 2 s^2 that of (y - y')^2, whatever the distribution of the noise.
    (For Gaussian noise this is Stein's unbiased estimate, Ann. Stat. 1981.) With scans no such
    detour is needed: the noise of another scan is independent.

    Args:
        restore: (H, W) float32 in the network's levels to the same.
        one: rows that training did not see.
        seed: of the pixels.

    Returns:
        (K,), at least two.
    """
    restored = restore(one.levels)
    level = np.clip(restored if one.truth is None else one.truth, 0, 1)
    variance = np.maximum(one.like.slope * level + one.like.intercept, 1e-6)
    width = one.levels.shape[1]
    blocks = np.minimum(np.arange(width) // BLOCK, max(2, width // BLOCK) - 1)
    if width < 2 * BLOCK:
        blocks = np.arange(width) * 2 // width
    block = np.broadcast_to(blocks, one.levels.shape)
    if one.truth is not None:
        known = np.isfinite(one.truth)
        error = (restored - one.truth) ** 2 / variance
        return _by_block(error[known], block[known])
    if one.scans:
        others = np.stack(one.scans)
        known = np.isfinite(others)
        count = known.sum(0)
        mean = np.where(known, others, 0).sum(0) / np.maximum(count, 1)
        power = np.square(others - one.levels)[known].mean() / 2
        # less the noise of the others' mean
        error = ((restored - mean) ** 2 - power / np.maximum(count, 1)) / variance
        return _by_block(error[count > 0], block[count > 0])
    error = _by_block((restored - one.levels) ** 2 / variance, block)
    rng, signal = np.random.default_rng(seed), _rough_signal(one.levels)
    total, count = np.zeros(len(error)), np.zeros(len(error))
    for _ in range(ROUNDS):
        shown, asked = blinded(one.levels, one.along, one.across, rng, signal)
        noisy = (one.levels - shown)[asked]
        kept = (restored - restore(shown))[asked]
        total += np.bincount(
            block[asked], (noisy * kept - noisy**2 / 2) / variance[asked], len(error)
        )
        count += np.bincount(block[asked], minlength=len(error))
    return error + total / np.maximum(count, 1)


def _rough_signal(levels: np.ndarray) -> np.ndarray:
    """The image without fine detail and without most of its noise, whatever kind that is."""
    return gaussian_filter(median_filter(levels, 5), 1.0)


def _by_block(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    count = np.bincount(block.ravel())
    return np.bincount(block.ravel(), values.ravel()) / np.maximum(count, 1)
