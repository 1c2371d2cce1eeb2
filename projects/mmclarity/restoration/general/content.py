"""Simulated things other than spheres: grains, pores, fibres, patterns, rough surfaces.

A network that has seen one material paints it everywhere. These pictures are no simulation of a
detector: they bring shapes, edges and textures of many kinds. Values lie in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

__all__ = ['KINDS', 'make_structure', 'power_law_texture']

Layer = Callable[[int, np.random.Generator], np.ndarray]

# Sub-pixels a side of shapes that are drawn.
FINE = 3


def power_law_texture(size: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """(size, size) random texture of deviation 1; its amplitude falls as f^-exponent."""
    rows, columns = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    frequency = np.hypot(rows[:, None], columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-exponent
    texture = np.fft.irfft2(spectrum, s=(size, size))
    return texture / texture.std()


def _grains(size: int, rng: np.random.Generator) -> np.ndarray:
    """Cells of even grey with bright, dark or no boundaries."""
    seeds = rng.uniform(
        0, size, (int(rng.uniform(0.3, 1) * (size / rng.uniform(12, 60)) ** 2) + 4, 2)
    )
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing='ij'), -1)
    warp = rng.uniform(0, 6) * np.stack([power_law_texture(size, 1.8, rng) for _ in range(2)], -1)
    distance, owner = cKDTree(seeds).query((grid + warp).reshape(-1, 2), k=2)
    face = rng.uniform(0.2, 0.8, len(seeds))[owner[:, 0]].reshape(size, size)
    gap = (distance[:, 1] - distance[:, 0]).reshape(size, size)
    width, step = rng.uniform(1.0, 4.0), rng.choice([-0.3, 0.0, 0.35])
    return face + step * np.exp(-((gap / width) ** 2))


def _pores(size: int, rng: np.random.Generator) -> np.ndarray:
    """A level set of smooth noise: sponge, islands or holes, with rims."""
    field = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(2, 14), mode='wrap')
    field /= field.std()
    slope = np.hypot(*np.gradient(field)).mean() + 1e-9
    distance = (field - rng.uniform(-1, 1)) / slope  # in pixels, near the edge
    inside = 1 / (1 + np.exp(-distance * rng.uniform(1, 4)))
    rim = np.exp(-((distance / rng.uniform(1, 3)) ** 2)) * rng.uniform(0, 0.35)
    low, high = np.sort(rng.uniform(0.05, 0.85, 2))
    return low + (high - low) * inside + rim


def _fibres(size: int, rng: np.random.Generator) -> np.ndarray:
    """Rods and threads over one another, brighter at their sides."""
    image = np.full((size * FINE, size * FINE), rng.uniform(0.03, 0.3), np.float32)
    straight = rng.uniform(0, 0.25)
    for _ in range(int(rng.uniform(8, 60))):
        angle, at = rng.uniform(0, 2 * math.pi), rng.uniform(-0.2, 1.2, 2) * size * FINE
        points = [at]
        for _ in range(60):
            angle += straight * rng.standard_normal()
            at = at + FINE * rng.uniform(8, 14) * np.array([math.cos(angle), math.sin(angle)])
            points.append(at)
        line = np.rint(points).astype(np.int32)[:, None]
        width, face = FINE * rng.uniform(1.5, 16), rng.uniform(0.25, 0.7)
        for part in (1.0, 0.75, 0.5, 0.25):
            thickness = max(1, round(width * part))
            shade = face * (1 + 0.35 * part**2)
            cv2.polylines(image, [line], False, float(shade), thickness)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)


def _pattern(size: int, rng: np.random.Generator) -> np.ndarray:
    """Lines, pads and holes as of a circuit, at any angle."""
    side = size * FINE
    image = np.full((side, side), rng.uniform(0.05, 0.4), np.float32)
    pitch = FINE * rng.uniform(6, 40)
    for start in np.arange(0, side, pitch):
        if rng.uniform() < 0.85:
            stop = int(start + pitch * rng.uniform(0.3, 0.7))
            image[:, int(start) : stop] = rng.uniform(0.4, 0.9)
    for _ in range(int(rng.uniform(0, 25))):
        top, left = rng.integers(0, side, 2)
        high, wide = (FINE * rng.uniform(3, 60, 2)).astype(int)
        image[top : top + high, left : left + wide] = rng.uniform(0.05, 0.95)
    for _ in range(int(rng.uniform(0, 40))):
        centre = tuple(int(v) for v in rng.integers(0, side, 2))
        cv2.circle(image, centre, int(FINE * rng.uniform(1.5, 15)), float(rng.uniform(0, 1)), -1)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(0, 360)), 1.42)
    image = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
    edge = np.hypot(*np.gradient(gaussian_filter(image, 0.7)))
    return image + rng.uniform(0, 1.2) * edge


def _surface(size: int, rng: np.random.Generator) -> np.ndarray:
    """A rough surface lit from one side, as a fracture is."""
    height = power_law_texture(size, rng.uniform(1.3, 2.2), rng)
    if rng.uniform() < 0.5:  # facets
        height = np.abs(height - rng.uniform(-0.5, 0.5))
    rows, columns = np.gradient(height)
    scale = np.hypot(rows, columns).mean() + 1e-12
    angle = rng.uniform(0, 2 * math.pi)
    lit = (rows * math.sin(angle) + columns * math.cos(angle)) / scale
    return 0.4 + 0.16 * np.tanh(lit) + 0.08 * np.hypot(rows, columns) / scale


KINDS = dict(grains=_grains, pores=_pores, fibres=_fibres, pattern=_pattern, surface=_surface)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from ``low`` to ``high``, evenly on a log scale."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def begun(
    kinds: Mapping[str, Layer], kind: str, size: int, seed: int, series: int = 0
) -> tuple[np.ndarray, np.random.Generator]:
    """A picture before what those of all kinds have in common, and where the rest comes from.

    Args:
        kinds: functions of size and generator that draw it, by name.
        kind: one of them.
        size: of the square in pixels, at least 32.
        seed: the picture is a function of these.
        series: number that keeps other pictures of the same seed apart.

    Raises:
        ValueError: an unknown kind, or a size below 32.
    """
    if kind not in kinds:
        raise ValueError(f'kind must be one of {", ".join(kinds)}, got {kind!r}')
    if size < 32:
        raise ValueError(f'size must be at least 32, got {size}')
    rng = np.random.default_rng([series + sorted(kinds).index(kind), seed])
    return kinds[kind](size, rng), rng


def make_structure(kind: str, size: int = 384, seed: int = 0) -> np.ndarray:
    """One picture.

    Args:
        kind: one of ``KINDS``.
        size: of the square in pixels, at least 32.
        seed: the picture is a function of the three.

    Returns:
        (size, size) float32 in [0, 1].

    Raises:
        ValueError: an unknown kind, or a size below 32.
    """
    image, rng = begun(KINDS, kind, size, seed)
    image = image + rng.uniform(0, 0.03) * power_law_texture(size, rng.uniform(0.5, 1.5), rng)
    image = gaussian_filter(image, rng.uniform(0.5, 1.1))
    return np.clip(image, 0, 1).astype(np.float32)
