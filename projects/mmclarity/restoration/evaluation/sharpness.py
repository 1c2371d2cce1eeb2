"""Sharpness where the reference has edges, and agreement with it frequency by frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from scipy.ndimage import map_coordinates, spline_filter, uniform_filter1d
from scipy.optimize import least_squares
from scipy.special import erf

from .fidelity import to_grey
from .particles import DetectionSettings, detect_particles

# From 10 to 90 % of an edge blurred by a Gaussian, in its standard deviations.
TEN_TO_NINETY = 2.5631
ANGLES, REACH, STEP = 32, 5.0, 0.25
LEAST_RADIUS, LEAST_CONTRAST = 5.0, 0.1
# Angles of a particle that must have a clean edge, and particles looked at, the strongest ones.
LEAST_ANGLES, MOST_PARTICLES = 8, 120


@dataclass(frozen=True)
class Edges:
    """Where the reference has clean edges of particles.

    Args:
        y, x: (E, T) coordinates along the normal of every edge, inside to outside,
            from -REACH to REACH around the edge in steps of STEP.
        particle: (E,) which particle an edge belongs to.
        width: Their median width in the reference itself, NaN without edges.
    """

    y: np.ndarray
    x: np.ndarray
    particle: np.ndarray
    width: float = float('nan')


def find_edges(reference: np.ndarray, particles: np.ndarray | None = None) -> Edges:
    """Edges of the particles of a reference image.

    Along rays from each centre, the steepest descent near the radius; kept where the contrast is
    clear and what lies beyond the edge is flat, so that no neighbour meddles.

    Args:
        reference: (H, W) in [0, 1].
        particles: (K, >= 3): y, x, radius. Defaults to None: detected.

    Returns:
        The edges that can be measured, and their width in the reference.

    Examples:
        >>> from mmclarity.restoration.evaluation import find_edges
        >>> from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
        >>> edges = find_edges(make_phantom(PhantomSettings(size=128)).image)
        >>> edges.y.shape == edges.x.shape, bool(edges.width < 6)
        (True, True)
    """
    if particles is None:
        particles = detect_particles(reference, DetectionSettings(least_radius=LEAST_RADIUS))
    particles = particles[particles[:, 2] >= LEAST_RADIUS][:MOST_PARTICLES]
    coefficients = spline_filter(np.asarray(reference, np.float64), order=3)
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    normal = np.stack([np.sin(angle), np.cos(angle)], 1)
    offset = np.arange(-REACH, REACH + STEP / 2, STEP)
    ys, xs, owner = [], [], []
    for index, (y, x, radius) in enumerate(particles[:, :3]):
        scan = np.arange(max(0.5 * radius, radius - 12), min(1.6 * radius, radius + 16), STEP)
        profile = _sample(coefficients, y + normal[:, :1] * scan, x + normal[:, 1:] * scan)
        slope = np.gradient(uniform_filter1d(profile, 5, axis=1), STEP, axis=1)
        edge = scan[np.argmin(slope, axis=1)]
        along = edge[:, None] + offset
        yy, xx = y + normal[:, :1] * along, x + normal[:, 1:] * along
        part = _sample(coefficients, yy, xx)
        quarter = len(offset) // 4
        inside, outside = part[:, :quarter], part[:, -quarter:]
        contrast = inside.mean(1) - outside.mean(1)
        height, width = reference.shape
        good = (
            (contrast > LEAST_CONTRAST)
            & (np.ptp(outside, axis=1) < 0.3 * contrast)
            & (np.ptp(inside, axis=1) < 0.5 * contrast)
            & (yy.min(1) >= 1)
            & (xx.min(1) >= 1)
            & (yy.max(1) <= height - 2)
            & (xx.max(1) <= width - 2)
        )
        if good.sum() >= LEAST_ANGLES:
            ys.append(yy[good])
            xs.append(xx[good])
            owner.append(np.full(good.sum(), index))
    if not ys:
        empty = np.zeros((0, len(offset)))
        return Edges(empty, empty, np.zeros(0, int))
    edges = Edges(np.concatenate(ys), np.concatenate(xs), np.concatenate(owner))
    return replace(edges, width=edge_width(reference, edges)[0])


def _sample(coefficients: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return map_coordinates(coefficients, [y, x], order=3, prefilter=False, mode='nearest')


def edge_width(image: np.ndarray, edges: Edges) -> tuple[float, int]:
    """Median width (10 to 90 %) of particles' edges, in pixels, and their number.

    The profiles of a particle are laid over one another at the edges of the *reference* and
    averaged; an error function is fitted to the average. Noise averages out, and edges that are
    steep but in the wrong place do not count as sharp.

    Args:
        image: (H, W).
        edges: Of its reference.

    Returns:
        Width, NaN without edges, and the number of particles.

    Examples:
        >>> from scipy.ndimage import gaussian_filter
        >>> from mmclarity.restoration.evaluation import edge_width, find_edges
        >>> from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
        >>> clean = make_phantom(PhantomSettings(size=128)).image
        >>> edges = find_edges(clean)
        >>> bool(edge_width(gaussian_filter(clean, 2), edges)[0] > edge_width(clean, edges)[0])
        True
    """
    if not len(edges.particle):
        return float('nan'), 0
    profiles = _sample(spline_filter(np.asarray(image, np.float64), order=3), edges.y, edges.x)
    offset = np.arange(-REACH, REACH + STEP / 2, STEP)
    widths = [
        _fit_width(offset, profiles[edges.particle == index].mean(0))
        for index in np.unique(edges.particle)
    ]
    return float(np.median(widths)), len(widths)


def _fit_width(offset: np.ndarray, profile: np.ndarray) -> float:
    """Width of one averaged edge; as wide as the window where there is no edge left."""

    def residual(p: np.ndarray) -> np.ndarray:
        return p[0] - p[1] * erf((offset - p[2]) / (np.sqrt(2) * p[3])) - profile

    start = [(profile[0] + profile[-1]) / 2, (profile[0] - profile[-1]) / 2, 0.0, 1.0]
    fit = least_squares(
        residual,
        start,
        bounds=([-np.inf, -np.inf, -REACH, 0.05], [np.inf, np.inf, REACH, 2 * REACH]),
    )
    return float(min(TEN_TO_NINETY * fit.x[3], 2 * REACH)) if fit.x[1] > 0 else 2 * REACH


def fourier_ring_correlation(
    image: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of two images' spectra on rings (Saxton and Baumeister 1982).

    Args:
        image: (H, W), at least 16 x 16. A Hann window is put on both.
        reference: Of the same shape.

    Returns:
        (R,) frequency in cycles per pixel, up to 0.5, and (R,) correlation.

    Raises:
        ValueError: If shapes differ or are too small.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.evaluation import fourier_ring_correlation
        >>> image = np.random.default_rng(0).normal(size=(64, 64))
        >>> frequency, correlation = fourier_ring_correlation(image, image)
        >>> bool(np.allclose(correlation, 1))
        True
    """
    if image.shape != reference.shape or image.ndim != 2 or min(image.shape) < 16:
        raise ValueError(
            'images must be (H, W) of one shape of at least 16 x 16, got '
            f'{image.shape} and {reference.shape}'
        )
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    first, second = (
        np.fft.rfft2((np.asarray(i, np.float64) - np.mean(i)) * window) for i in (image, reference)
    )
    rows, columns = np.fft.fftfreq(image.shape[0]), np.fft.rfftfreq(image.shape[1])
    rings = min(image.shape) // 2
    index = np.rint(np.hypot(rows[:, None], columns) * 2 * rings).astype(int)
    # The half spectrum: all columns but the first (and the Nyquist one) stand for two.
    twice = np.where((columns > 0) & (columns < 0.5), 2.0, 1.0)
    keep = (index >= 1) & (index <= rings)

    def ring(values: np.ndarray) -> np.ndarray:
        return np.bincount(index[keep], (values * twice)[keep], rings + 1)[1:]

    power = ring(np.square(np.abs(first))) * ring(np.square(np.abs(second)))
    cross = ring((first * second.conj()).real)
    with np.errstate(invalid='ignore', divide='ignore'):
        correlation = np.where(power > 0, cross / np.sqrt(power), 0.0)
    return np.arange(1, rings + 1) / (2 * rings), correlation


def frc_resolution(image: np.ndarray, reference: np.ndarray, threshold: float = 1 / 7) -> float:
    """Pixels at which the ring correlation first falls below the threshold; 2 is the best.

    The correlation is smoothed over five rings and interpolated. 1/7 is the criterion of Rosenthal
    and Henderson (2003).

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.evaluation import frc_resolution
        >>> image = np.random.default_rng(0).normal(size=(64, 64))
        >>> float(frc_resolution(image, image))
        2.0
    """
    frequency, correlation = fourier_ring_correlation(image, reference)
    smooth = uniform_filter1d(correlation, 5, mode='nearest')
    below = np.flatnonzero(smooth < threshold)
    if not len(below):
        return 1 / frequency[-1]
    first = below[0]
    if first == 0:
        return 1 / frequency[0]
    part = (smooth[first - 1] - threshold) / (smooth[first - 1] - smooth[first])
    return float(1 / (frequency[first - 1] + part * (frequency[first] - frequency[first - 1])))


def sharpness(
    restored: np.ndarray, reference: np.ndarray, edges: Edges | None = None
) -> dict[str, float]:
    """All of sharpness, images in [0, 1]: edge widths and resolution in pixels.

    Returns:
        ``edge_width``, ``edge_width_reference``, ``edges`` (particles measured)
        and ``frc``.

    Examples:
        >>> from mmclarity.restoration.evaluation import sharpness
        >>> from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
        >>> clean = make_phantom(PhantomSettings(size=128)).image
        >>> sorted(sharpness(clean, clean))
        ['edge_width', 'edge_width_reference', 'edges', 'frc']
    """
    edges = edges or find_edges(reference)
    width, count = edge_width(restored, edges)
    return dict(
        edge_width=width,
        edge_width_reference=edges.width,
        edges=count,
        frc=frc_resolution(restored, reference),
    )


@METRICS.register_module()
class SharpnessMetric(BaseMetric):
    """Edge width and Fourier ring resolution, means over the images; see :func:`sharpness`.

    Args:
        collect_device, prefix: Of mmengine's BaseMetric.

    Examples:
        >>> from mmclarity.restoration.evaluation import SharpnessMetric
        >>> SharpnessMetric().prefix
        'sem'
    """

    default_prefix = 'sem'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def metric_names(self) -> list[str]:
        """What :meth:`compute_metrics` gives, without prefix."""
        return ['edge_width', 'edge_width_reference', 'edges', 'frc']

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take in ``output.pred_img`` and ``gt_img`` (0..255) of every sample."""
        for sample in data_samples:
            self.results.append(
                sharpness(
                    *(
                        to_grey(image) / 255
                        for image in (sample['output']['pred_img'], sample['gt_img'])
                    )
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means, images without edges left out of those of width."""
        out = {}
        for key in results[0]:
            values = np.array([result[key] for result in results])
            known = values[np.isfinite(values)]
            out[key] = float(known.mean()) if len(known) else float('nan')
        return out
