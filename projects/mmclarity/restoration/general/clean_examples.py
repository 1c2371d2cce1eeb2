"""Training examples from clean images of one microscope, made worse as its quick scans are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, from_numpy

from ..degradation.simulate import SimulateLowCostSEM
from .appraisal import Appraisal
from .appraising import appraise
from .caution import Scene
from .content import log_uniform
from .patches import Example, draw_example, placed, stretched

__all__ = ['CleanField', 'clean_field', 'draw_clean_batch']

# Share of the examples that are made worse in any way that the general network knows: so it goes on
# to heed what it is told of the noise.
GENERAL = 0.25
# Share that are real: where fields were scanned both ways.
REAL = 0.5
# Of the others, share with the noise of the quick scans (give or take a tenth); the rest have less
# or more of it, within these factors.
USUAL, FACTORS = 0.7, (0.5, 4.0)
# Share of them that are resized, and factors; enlarged ones are blurred.
RESIZED, ZOOM = 0.3, (0.7, 1.1)
# Pixels around a patch that are made worse with it, so that its edges are no mirror's.
MARGIN = 8
# Errors of what is measured on an image: of the noise (log of its variance), of its correlation.
MISJUDGED, MISSHARED = 0.15, 0.05


@dataclass(frozen=True)
class CleanField:
    """One clean field of view.

    Attributes:
        levels: (H, W) float32, grey levels 0..255 of the quick scans.
        like: what is measured on it when it is made worse.
        name: for messages.
    """

    levels: np.ndarray
    like: Appraisal
    name: str = 'the image'


def clean_field(
    levels: np.ndarray, worse: SimulateLowCostSEM, rng: np.random.Generator, name: str
) -> CleanField:
    """Measures what the network would be told of a clean image's quick scan.

    Args:
        levels: (H, W), grey levels 0..255 of the quick scans.
        worse: what a quick scan does to it.
        rng: where its noise comes from.
        name: for messages.
    """
    like = appraise(worse.degrade(levels, rng), 255.0)
    return CleanField(np.asarray(levels, np.float32), like, name)


def draw_clean_batch(
    fields: Sequence[CleanField],
    worse: SimulateLowCostSEM,
    count: int,
    size: int,
    rng: np.random.Generator,
    pairs: Sequence[Scene] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch as the general network takes it.

    Args:
        fields: at least one.
        worse: what a quick scan does to a clean image.
        count: of examples, N.
        size: of the patches, S.
        rng: where all of it comes from.
        pairs: fields that were scanned both ways, lines along rows.

    Returns:
        (N, 1, S, S) noisy, (N, 1, S, S) clean, both in the network's levels, and (N, 3) what it is
        told of the noise; float32.
    """
    examples = [
        _real(pairs[int(rng.integers(len(pairs)))], size, rng)
        if pairs and rng.uniform() < REAL
        else _example(fields, worse, size, rng)
        for _ in range(count)
    ]
    noisy, clean, noise = (
        from_numpy(np.stack([getattr(example, name) for example in examples]))
        for name in ('noisy', 'clean', 'noise')
    )
    return noisy[:, None], clean[:, None], noise


def _example(
    fields: Sequence[CleanField], worse: SimulateLowCostSEM, size: int, rng: np.random.Generator
) -> Example:
    field = fields[int(rng.integers(len(fields)))]
    if rng.uniform() < GENERAL:
        return draw_example(stretched(field.levels / 255), size, rng)
    zoom = rng.uniform(*ZOOM) if rng.uniform() < RESIZED else 1.0
    clean = placed(field.levels, size + 2 * MARGIN, zoom, rng)
    usual = rng.uniform() < USUAL
    strength = np.exp(0.1 * rng.standard_normal()) if usual else log_uniform(rng, *FACTORS)
    inner = slice(MARGIN, MARGIN + size)
    noisy = worse.degrade(clean, rng, strength=strength)[inner, inner]
    like = field.like
    noisy, clean = (
        np.ascontiguousarray(part / 255 * like.gain + like.offset, np.float32)
        for part in (noisy, clean[inner, inner])
    )
    return Example(noisy, clean, _told(like, rng, strength))


def _real(pair: Scene, size: int, rng: np.random.Generator) -> Example:
    """A patch of a pair as it is: real noise is no more resized than turned."""
    missing = [(0, max(0, size - length)) for length in pair.noisy.shape]
    top, left = (rng.integers(max(0, length - size) + 1) for length in pair.noisy.shape)
    flips = [slice(None, None, -1 if rng.integers(2) else None) for _ in range(2)]
    noisy, clean = (
        np.ascontiguousarray(
            np.pad(side, missing, 'symmetric')[top : top + size, left : left + size][tuple(flips)]
        )
        for side in (pair.noisy, pair.clean)
    )
    return Example(noisy, clean, _told(pair.like, rng))


def _told(like: Appraisal, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """What the network is told of the noise, (3,) float32: not quite what it is."""
    told = np.array(like.told(strength * np.exp(0.5 * MISJUDGED * rng.standard_normal())))
    told[2] = np.clip(told[2] + MISSHARED * rng.standard_normal(), 0, 0.95)
    return told.astype(np.float32)
