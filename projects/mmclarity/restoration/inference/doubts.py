"""How likely each particle of a restored image is not one, by what the image itself tells.

Four things are looked at, all in units of the image's own noise and contrast, so that neither the
microscope's knobs nor the range of the file matter:

- the particle's strength beside what the noise that was taken away makes of nothing at its scale,
- its radius,
- what is left of its strength when the network is told of less noise,
- how much else there is around it: a blob among many is more often one than a lonely one.

They are joined by a logistic regression that ``tools/fit_doubts.py`` fits on pairs of a quick and a
slow scan, for the network that ships; the file ``general/doubts.json`` holds its numbers and where
they come from. The chances add up: they say how many of an image's particles will be wrong, where
it is one of spheres, even if none can be named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_laplace

from ..evaluation.particles import detect_particles
from ..general.appraisal import Appraisal
from .uncertainty import doubtful_particles, faint_particles

__all__ = [
    'BOLDER',
    'DoubtRule',
    'Doubts',
    'circles',
    'find_doubts',
    'particle_evidence',
    'shipped_rule',
]

RULE = Path(__file__).parents[1] / 'general/doubts.json'
# Factor on the noise that the network is told of, for the restoration that a particle is sought in.
BOLDER = 0.7
NEAR = 12.0  # pixels over which the deviation of the noise is taken, at least
AROUND = 3.0  # radii over which other structure is looked for
COARSE = 3.0  # pixels that a filter is wide, at least, on a picture reduced for it
TINY = 1e-6


@dataclass(frozen=True)
class DoubtRule:
    """A logistic regression on :func:`particle_evidence`.

    Attributes:
        weights: one for each column.
        intercept: added to their sum.
        mark: chance from which a particle is marked; above 1 none is.
    """

    weights: tuple[float, ...]
    intercept: float
    mark: float

    def chance(self, evidence: np.ndarray) -> np.ndarray:
        """Chance of each particle to be wrong.

        Args:
            evidence: (K, 4).

        Returns:
            (K,), within 0 and 1.
        """
        return 1 / (1 + np.exp(-(evidence @ np.asarray(self.weights) + self.intercept)))


@dataclass(frozen=True)
class Doubts:
    """A restoration and what is to be doubted of it.

    Attributes:
        restored: (H, W) float32 in [0, 1].
        mean: of several restorations.
        std: their standard deviation.
        particles: (K, 4): row, column, radius in pixels, strength in units of the contrast.
        chance: (K,), how likely each is wrong; NaN of networks for which no rule was fitted.
        doubtful: (K,) bool, which are marked.
        evidence: (K, 4), what the chances come from; None with them.
        nothing_seen: noise alone would look like the image: all of them are doubtful.
    """

    restored: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    particles: np.ndarray
    chance: np.ndarray
    doubtful: np.ndarray
    evidence: np.ndarray | None = None
    nothing_seen: bool = False

    @property
    def unmarked_wrong(self) -> float:
        """How many of the particles that are not marked will be wrong; NaN without chances.

        It holds for what the chances were measured on, quick scans of spheres; of rough surfaces
        and other textures, several times as many are.
        """
        return float(self.chance[~self.doubtful].sum())

    def describe(self) -> str:
        """How many particles there are, and how many of them will be wrong, in plain words."""
        count, marked = len(self.particles), int(self.doubtful.sum())
        wrong = self.unmarked_wrong
        if count and self.nothing_seen:
            return f'{count} particles, all doubtful: noise alone would look like this image'
        if not count or not np.isfinite(wrong):
            return f'{count} particles, {marked or "none"} of them doubtful'
        words = 'hardly one' if wrong < 0.5 else f'some {wrong:.0f}'
        if marked:
            text = f'{count} particles, {marked} of them doubtful'
            return f'{text}; in scans of spheres, {words} of the others would be wrong'
        return (
            f'{count} particles; in scans of spheres, {words} of so many would be wrong, but the '
            'image does not tell which: none is marked'
        )


@cache
def shipped_rule() -> DoubtRule:
    """The rule that was fitted for the general network."""
    told = json.loads(RULE.read_text(encoding='utf-8'))
    return DoubtRule(tuple(told['weights']), told['intercept'], told['mark'])


def find_doubts(
    noisy: np.ndarray,
    restored: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    like: Appraisal,
    bolder: np.ndarray | None = None,
    alone: bool = True,
) -> Doubts:
    """Finds the particles of a restored image and judges them.

    All images (H, W), levels 0 black and 1 white of the file.

    Args:
        noisy: what was restored.
        restored: where particles are looked for.
        mean: of several restorations.
        std: their standard deviation.
        like: of the noisy image; its contrast is the unit of strengths.
        bolder: restored when told of :data:`BOLDER` times the noise, by the general network; None
            of other networks.
        alone: the restorations are those of one network, not of an ensemble.
    """
    gain, offset = np.float32(like.gain), np.float32(like.offset)

    def contrast(image: np.ndarray) -> np.ndarray:
        return np.asarray(image, np.float32) * gain + offset

    seen = contrast(restored)
    particles = np.asarray(detect_particles(seen), np.float64).reshape(-1, 4)
    chance, evidence = np.full(len(particles), np.nan), None
    if bolder is not None:
        rule = shipped_rule()
        evidence = particle_evidence(contrast(noisy), seen, contrast(bolder), particles)
        chance = rule.chance(evidence)
        doubtful = chance >= rule.mark
    elif alone:
        doubtful = faint_particles(contrast(noisy), seen, particles)
    else:
        doubtful = doubtful_particles(contrast(mean), np.abs(gain) * std, particles)
    if like.is_noise_alone:
        doubtful = np.ones(len(particles), bool)
    return Doubts(restored, mean, std, particles, chance, doubtful, evidence, like.is_noise_alone)


def particle_evidence(
    noisy: np.ndarray, restored: np.ndarray, bolder: np.ndarray, particles: np.ndarray
) -> np.ndarray:
    """What speaks for and against each particle; see the module.

    Args:
        noisy: (H, W), in units of the contrast, as the others.
        restored: (H, W).
        bolder: (H, W), restored with less noise told.
        particles: (K, 4) of ``restored``.

    Returns:
        (K, 4): logarithm of strength over noise, of the radius; share of the strength that is left
        in ``bolder``, within -1 and 3; logarithm of other structure over strength.

    Raises:
        ValueError: shapes differ.
    """
    if not noisy.shape == restored.shape == bolder.shape or noisy.ndim != 2:
        shapes = f'{noisy.shape}, {restored.shape}, {bolder.shape}'
        raise ValueError(f'images must be (H, W) alike, got {shapes}')
    particles = np.asarray(particles, np.float64).reshape(-1, 4)
    taken = np.asarray(noisy, np.float32) - np.asarray(restored, np.float32)
    out = np.zeros((len(particles), 4))
    for radius in np.unique(particles[:, 2]):
        mine = np.flatnonzero(particles[:, 2] == radius)
        places, strength = particles[mine, :2], particles[mine, 3]
        noise = _deviation(taken, radius, max(NEAR, 2 * radius), places)
        around = _deviation(restored, radius, AROUND * radius, places)
        left = _sampled(*_response(bolder, radius), places)
        out[mine, 0] = np.log((strength + TINY) / (noise + TINY))
        out[mine, 1] = np.log(radius)
        out[mine, 2] = np.clip(left / strength, -1, 3)
        out[mine, 3] = np.log((around + TINY) / (strength + TINY))
    return out


def _response(image: np.ndarray, radius: float) -> tuple[np.ndarray, int]:
    """Strength of particles of one radius everywhere, on the image reduced by a whole factor."""
    sigma = radius / np.sqrt(2)
    factor = int(min(max(1, sigma // COARSE), min(image.shape)))
    small = np.asarray(image, np.float32)
    if factor > 1:
        size = tuple(-(-length // factor) for length in small.shape[::-1])
        padded = np.pad(small, [(0, -length % factor) for length in small.shape], mode='edge')
        small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    width = sigma / factor
    return -(width**2) * gaussian_laplace(small, width, mode='reflect'), factor


def _deviation(image: np.ndarray, radius: float, reach: float, places: np.ndarray) -> np.ndarray:
    """Root mean square of the response within a reach of places."""
    response, factor = _response(image, radius)
    power = gaussian_filter(response**2, reach / factor, mode='reflect', truncate=3.0)
    return np.sqrt(np.maximum(_sampled(power, factor, places), 0))


def _sampled(small: np.ndarray, factor: int, places: np.ndarray) -> np.ndarray:
    rows, columns = (
        np.clip(np.rint((place + 0.5) / factor - 0.5).astype(int), 0, length - 1)
        for place, length in zip(places.T, small.shape)
    )
    return small[rows, columns].astype(np.float64)


def circles(
    particles: np.ndarray, doubtful: Sequence[bool] | np.ndarray, scale: float = 1.0
) -> list[tuple[float, float, float, int]]:
    """``(x, y, radius, doubtful)`` of each, in pixels of a picture reduced by ``scale``."""
    return [
        (
            round(float(column) * scale, 1),
            round(float(row) * scale, 1),
            round(max(float(radius), 2.0) * scale + 1, 1),
            int(doubted),
        )
        for (row, column, radius, _), doubted in zip(particles, doubtful)
    ]
