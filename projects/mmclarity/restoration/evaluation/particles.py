"""Particles of an image, and which of them are those of another image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class DetectionSettings:
    """How particles are found.

    The defaults were set on reference images and never on restored ones: on the clean images of the
    5.83 nm/px test set they outline what one sees by eye.

    Args:
        least_radius, most_radius: Of particles, in pixels. Default to 2 and 60.
        scales: Radii tried, evenly on a log scale. Defaults to 14.
        floor: Least strength that is a candidate at all, in units of white. A bright disc
            of contrast c has the strength 0.74 c. Defaults to 0.01.
        roundness: Least ratio of the two principal curvatures: along a bright rim one of
            them is small, and a rim is no row of particles. Defaults to 0.3.
        overlap: A weaker candidate whose centre lies within this many radii of a stronger
            one's, and whose radius differs from it by less than the factor two, is the same
            particle. Defaults to 0.7.
        dark: Look for dark particles instead: pits, pores, particles in transmitted light. The
            strengths are as positive as those of bright ones. Defaults to False.

    Examples:
        >>> from mmclarity.restoration.evaluation import DetectionSettings
        >>> large = DetectionSettings(least_radius=8)
        >>> large.least_radius, large.most_radius
        (8, 60.0)
    """

    least_radius: float = 2.0
    most_radius: float = 60.0
    scales: int = 14
    floor: float = 0.01
    roundness: float = 0.3
    overlap: float = 0.7
    dark: bool = False


def detect_particles(image: np.ndarray, settings: DetectionSettings | None = None) -> np.ndarray:
    """Particles: maxima of the scale-normalised Laplacian of Gaussian (Lindeberg 1998).

    Args:
        image: (H, W) in [0, 1].
        settings: Defaults to None: those of :class:`DetectionSettings`, for bright particles.

    Returns:
        (K, 4) float64: y, x, radius in pixels, strength; strongest first.

    Raises:
        ValueError: If the image is no (H, W), or has NaN or infinite pixels.

    Examples:
        >>> from mmclarity.restoration.evaluation import detect_particles
        >>> from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
        >>> phantom = make_phantom(PhantomSettings(size=128))
        >>> y, x, radius, strength = detect_particles(phantom.image)[0]
        >>> bool(strength > 0)
        True
    """
    settings = settings or DetectionSettings()
    image = np.asarray(image, np.float32)
    if image.ndim != 2 or not np.isfinite(image).all():
        raise ValueError(f'particles are looked for in a finite (H, W) image, got {image.shape}')
    most = min(settings.most_radius, min(image.shape) / 2)
    if image.size == 0 or most < settings.least_radius:
        return np.zeros((0, 4))
    radii = np.geomspace(settings.least_radius, most, settings.scales)
    space, round_enough = np.empty((2, settings.scales, *image.shape), np.float32)
    for index, sigma in enumerate(radii / np.sqrt(2)):
        space[index], round_enough[index] = _curvature(-image if settings.dark else image, sigma)
    peaks = (
        (space == maximum_filter(space, size=3, mode='nearest'))
        & (space > settings.floor)
        & (round_enough > settings.roundness)
    )
    scale, y, x = np.nonzero(peaks)
    strength = space[scale, y, x]
    order = np.lexsort((x, y, scale, -strength))
    found = np.stack([y, x, radii[scale], strength], 1).astype(np.float64)[order]
    return found[_distinct(found, settings.overlap)]


def _curvature(image: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Normalised Laplacian of the smoothed image (bright is positive), and its roundness."""
    smooth = np.pad(gaussian_filter(image, sigma, mode='reflect', truncate=3.5), 1, mode='reflect')
    middle = smooth[1:-1, 1:-1]
    yy = smooth[2:, 1:-1] + smooth[:-2, 1:-1] - 2 * middle
    xx = smooth[1:-1, 2:] + smooth[1:-1, :-2] - 2 * middle
    xy = (smooth[2:, 2:] + smooth[:-2, :-2] - smooth[2:, :-2] - smooth[:-2, 2:]) / 4
    trace, difference = -(yy + xx), np.hypot(yy - xx, 2 * xy)
    # Principal curvatures are (trace +- difference) / 2.
    with np.errstate(invalid='ignore', divide='ignore'):
        roundness = np.where(trace > 0, (trace - difference) / (trace + difference), -1)
    return sigma**2 * trace, roundness


def _distinct(found: np.ndarray, overlap: float) -> np.ndarray:
    """Which of (K, 4), strongest first, are not the double of a stronger one."""
    keep = np.ones(len(found), bool)
    if len(found) < 2:
        return keep
    tree, reach = cKDTree(found[:, :2]), overlap * found[:, 2]
    for index, neighbours in enumerate(tree.query_ball_point(found[:, :2], reach)):
        if not keep[index]:
            continue
        others = np.array([n for n in neighbours if n > index], int)
        ratio = found[others, 2] / found[index, 2]
        keep[others[(ratio < 2) & (ratio > 0.5)]] = False
    return keep


def match_particles(
    found: np.ndarray, reference: np.ndarray, tolerance: float = 2.0, relative: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair particles one to one: as many pairs as can be, of least total distance.

    Two particles can be one where their centres are within ``max(tolerance, relative * radius)``
    of the larger one and their radii differ by a factor of two at most (Hungarian method).

    Args:
        found: (K, >= 3): y, x, radius, ...
        reference: (L, >= 3).
        tolerance: In pixels. Defaults to 2.
        relative: In radii. Defaults to 0.5.

    Returns:
        (M, 2) indices of pairs; indices of ``found`` without one; of ``reference``.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.evaluation import match_particles
        >>> found = np.array([[10.0, 10.0, 4.0], [40.0, 40.0, 4.0]])
        >>> reference = np.array([[11.0, 10.0, 4.0]])
        >>> pairs, extra, missed = match_particles(found, reference)
        >>> pairs.tolist(), extra.tolist(), missed.tolist()
        ([[0, 0]], [1], [])
    """
    if not len(found) or not len(reference):
        return (np.zeros((0, 2), int), np.arange(len(found)), np.arange(len(reference)))
    distance, allowed = _near(found, reference, tolerance, relative)
    # More than all distances together: one more pair is worth any detour.
    forbidden = 1 + distance[allowed].sum() if allowed.any() else 1.0
    rows, columns = linear_sum_assignment(np.where(allowed, distance, forbidden))
    good = allowed[rows, columns]
    pairs = np.stack([rows[good], columns[good]], 1)
    return (
        pairs,
        np.setdiff1d(np.arange(len(found)), pairs[:, 0]),
        np.setdiff1d(np.arange(len(reference)), pairs[:, 1]),
    )


def standing_out(
    particles: np.ndarray,
    difference: np.ndarray,
    least: float,
    share: float = 0.5,
    tolerance: float = 2.0,
    relative: float = 0.5,
) -> np.ndarray:
    """Which particles of one image are also particles of its difference to another.

    The Laplacian is linear: where the difference is not strong, the other image is as bright there,
    whatever its own detections are called (a rim, a gap, one blob read at another scale).

    Args:
        particles: (K, 4): y, x, radius, strength.
        difference: (L, 4), what :func:`detect_particles` finds in this image less the other.
        least: strength that the difference has at least.
        share: part of the particle's own strength that it has at least.
        tolerance: how near the two lie in pixels, see :func:`match_particles`.
        relative: how near in radii.

    Returns:
        (K,) bool.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.evaluation import standing_out
        >>> particles = np.array([[10.0, 10.0, 4.0, 0.4], [40.0, 40.0, 4.0, 0.4]])
        >>> difference = np.array([[10.0, 10.0, 4.0, 0.3]])
        >>> standing_out(particles, difference, least=0.05)
        array([ True, False])
    """
    if not len(particles) or not len(difference):
        return np.zeros(len(particles), bool)
    _, near = _near(particles, difference, tolerance, relative)
    strong = difference[None, :, 3] >= np.maximum(least, share * particles[:, None, 3])
    return (near & strong).any(axis=1)


def _near(
    first: np.ndarray, second: np.ndarray, tolerance: float, relative: float
) -> tuple[np.ndarray, np.ndarray]:
    """(K, L) distances, and which two can be one particle."""
    distance = cdist(first[:, :2], second[:, :2])
    larger = np.maximum(first[:, None, 2], second[None, :, 2])
    smaller = np.minimum(first[:, None, 2], second[None, :, 2])
    reach = np.maximum(tolerance, relative * larger)
    return distance, (distance <= reach) & (larger <= 2 * np.maximum(smaller, 1e-9))
