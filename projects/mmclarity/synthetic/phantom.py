"""Spheres on a dark substrate as a scanning electron microscope sees them, all known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

# Sub-pixels a side: edges then come in ninths of a grey step.
SUPERSAMPLING = 3
ATTEMPTS = 40


@dataclass(frozen=True)
class PhantomSettings:
    """What is simulated; lengths in pixels, brightness in units of white.

    Args:
        size: Side of the square image. Defaults to 512.
        median_radius, spread: Of a log-normal distribution of radii. Default to 4.5 and
            0.75.
        least_radius, most_radius: Cut of the distribution. Default to 2 and 80.
        coverage: Area of all discs over that of the image. Defaults to 0.55.
        brightness: Range of a sphere's face. Defaults to (0.2, 0.7).
        dimming: Darkening of the smallest spheres, through which part of the beam goes; it
            falls off with the radius over six pixels. Defaults to 0.5.
        rim: How much brighter the edge of a sphere is: secondary electrons leave a tilted
            surface more easily, as 1 / cos(tilt) (Reimer 1998, Sec. 4.2). Defaults to 0.2.
        escape: Depth from which they escape; it ends the rise where the rim gets thinner
            than that. Defaults to 1.5.
        shading: Brightness from the detector's side to the other. Defaults to 0.06.
        shadow: Darkening of the substrate where a sphere stands on it. Defaults to 0.6.
        substrate: Brightness of the substrate. Defaults to 0.09.
        texture: Standard deviation of its texture. Defaults to 0.012.
        beam: Standard deviation of the good microscope's beam. Defaults to 0.6.
    """

    size: int = 512
    median_radius: float = 4.5
    spread: float = 0.75
    least_radius: float = 2.0
    most_radius: float = 80.0
    coverage: float = 0.55
    brightness: tuple[float, float] = (0.2, 0.7)
    dimming: float = 0.5
    rim: float = 0.2
    escape: float = 1.5
    shading: float = 0.06
    shadow: float = 0.6
    substrate: float = 0.09
    texture: float = 0.012
    beam: float = 0.6

    def __post_init__(self) -> None:
        if self.size < 16 or not 0 < self.least_radius <= self.most_radius:
            raise ValueError(
                'size must be at least 16 and 0 < least_radius <= most_radius, got '
                f'{self.size}, {self.least_radius}, {self.most_radius}'
            )
        if not 0 <= self.coverage < 1.5 or min(self.spread, self.escape, self.beam) < 0:
            raise ValueError(
                'coverage must lie in [0, 1.5) and spread, escape and beam be at least 0'
            )


@dataclass(frozen=True)
class Phantom:
    """An image and what is in it.

    Args:
        image: (H, W) float32 in [0, 1], without noise.
        particles: (K, 4) float64: y, x, radius in pixels, and the fraction of the
            disc that no other sphere hides and that lies within the image.
    """

    image: np.ndarray
    particles: np.ndarray


def make_phantom(settings: PhantomSettings | None = None, seed: int = 0) -> Phantom:
    """Simulate one image.

    Spheres of radii a and b that stand on a plane touch at a distance of 2 sqrt(a b): nearer they
    are never put, but small ones stand under the bulge of large ones, which hides them.

    Args:
        settings: Defaults to None: those of :class:`PhantomSettings`.
        seed: The image is a function of both. Defaults to 0.

    Returns:
        The image and where its particles are.
    """
    settings = settings or PhantomSettings()
    rng = np.random.default_rng(seed)
    spheres = _place(settings, rng)
    image, visible = _render(spheres, settings, rng)
    image = gaussian_filter(image, settings.beam) if settings.beam else image
    return Phantom(np.clip(image, 0, 1).astype(np.float32), np.column_stack([spheres, visible]))


def _place(settings: PhantomSettings, rng: np.random.Generator) -> np.ndarray:
    """(K, 3): y, x, radius; the largest first, so that they find room."""
    target, radii, area = settings.coverage * settings.size**2, [], 0.0
    while area < target:
        radius = float(
            np.clip(
                settings.median_radius * math.exp(settings.spread * rng.standard_normal()),
                settings.least_radius,
                settings.most_radius,
            )
        )
        radii.append(radius)
        area += math.pi * radius**2
    placed = np.zeros((0, 3))
    for radius in sorted(radii, reverse=True):
        for _ in range(ATTEMPTS):
            y, x = rng.uniform(-0.5 * radius, settings.size + 0.5 * radius, 2)
            gap = np.hypot(placed[:, 0] - y, placed[:, 1] - x)
            if (gap >= 2 * np.sqrt(placed[:, 2] * radius)).all():
                placed = np.vstack([placed, [y, x, radius]])
                break
    return placed


def _render(
    spheres: np.ndarray, settings: PhantomSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The image, averaged over sub-pixels, and the visible fractions."""
    n, size = SUPERSAMPLING, settings.size * SUPERSAMPLING
    texture = gaussian_filter(rng.standard_normal((settings.size, settings.size)), 1.2)
    texture *= settings.texture / max(texture.std(), 1e-9)
    image = np.kron(settings.substrate + texture, np.ones((n, n)))
    height, owner = np.zeros((size, size)), np.full((size, size), -1, np.int32)
    side = rng.uniform(0, 2 * math.pi)
    faces = rng.uniform(*settings.brightness, len(spheres))
    faces *= 1 - settings.dimming * np.exp(-spheres[:, 2] / 6)
    # Shadows first: they lie on the substrate, whatever stands on it.
    for y, x, radius in spheres:
        rows, columns, dy, dx = _window(y, x, 1.8 * radius, size, n)
        depth = np.maximum(np.hypot(dy, dx) / radius - 0.6, 0)
        image[rows, columns] *= 1 - settings.shadow * np.exp(-3 * depth**2)
    for index, (y, x, radius) in enumerate(spheres):
        rows, columns, dy, dx = _window(y, x, radius, size, n)
        square = (dy**2 + dx**2) / radius**2
        cosine = np.sqrt(np.maximum(1 - square, 0))
        top = radius * (1 + cosine)
        mine = (square <= 1) & (top > height[rows, columns])
        limit = math.sqrt(settings.escape / (2 * radius))
        bright = faces[index] * (
            1
            + settings.rim * (1 / (cosine + limit) - 1 / (1 + limit))
            + settings.shading * (dy * math.sin(side) + dx * math.cos(side)) / radius
        )
        image[rows, columns] = np.where(mine, bright, image[rows, columns])
        height[rows, columns] = np.where(mine, top, height[rows, columns])
        owner[rows, columns] = np.where(mine, index, owner[rows, columns])
    seen = np.bincount(owner[owner >= 0], minlength=len(spheres)) / n**2
    visible = np.minimum(seen / (math.pi * spheres[:, 2] ** 2), 1) if len(spheres) else seen
    return image.reshape(settings.size, n, settings.size, n).mean((1, 3)), visible


def _window(
    y: float, x: float, reach: float, size: int, n: int
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Sub-pixels within ``reach`` pixels of a point, and their distances from it in pixels."""
    parts, distances = [], []
    for centre in (y, x):
        # Pixel k covers k - 1/2 to k + 1/2; its sub-pixels lie at k + (2 i + 1 - n) / (2 n).
        first = max(0, int(math.floor((centre - reach + 0.5) * n)))
        last = min(size, int(math.ceil((centre + reach + 0.5) * n)) + 1)
        parts.append(slice(first, max(first, last)))
        place = (np.arange(first, max(first, last)) + 0.5) / n - 0.5
        distances.append(place - centre)
    return parts[0], parts[1], distances[0][:, None], distances[1][None, :]
