"""How much a restored image can be trusted, pixel by pixel and particle by particle.

A network that sees a particle in noise sees it by chance: shown the same noise mirrored, or asked
again after another training, it will often not. The spread of several restorations of one image is
therefore large where structure was made up and small where the data holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_laplace

__all__ = [
    'FLIPS',
    'augmented',
    'doubtful_particles',
    'draw_particles',
    'faint_particles',
    'mean_and_spread',
    'shown_range',
    'well_shown',
]

# Axes to flip. Quarter turns are left out: they would put the scan lines upright, and the noise,
# which is correlated along the lines only, would be of a kind that the network has never met.
FLIPS: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))
# Strength, in deviations of the filtered noise, of a doubtful particle of one pixel's radius, and
# its growth with the radius. Fitted to eleven of the pairs 001-035; see the benchmarks.
FAINT, FAINT_POWER = 0.23, 1.55
NEAR = 12.0  # pixels over which the deviation of the noise is taken, at least
# Of the restored grey levels, shown as black and white; and a range that is wide enough as it is.
DARKEST, BRIGHTEST, WIDE = 0.001, 0.999, 0.35
Restore = Callable[[np.ndarray], np.ndarray]


def augmented(
    restore: Restore, image: np.ndarray, noise: float = 0.0, repeats: int = 1, seed: int = 0
) -> list[Callable[[], np.ndarray]]:
    """Restorations of an image and its mirror images, each turned back.

    Args:
        restore: (H, W) to (H, W).
        image: (H, W).
        noise: standard deviation, in units of ``image``, of white noise added to every copy but
            the very first; a small part of the noise that is there.
        repeats: copies of each of the four mirrorings; more than one needs ``noise``.
        seed: of the noise.

    Returns:
        Functions without arguments, so that only one result needs to be held at a time.

    Raises:
        ValueError: negative noise, or repeats that would all be equal.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f'noise must be a number >= 0, got {noise}')
    if repeats < 1 or (repeats > 1 and not noise):
        raise ValueError(
            f'repeats={repeats} with noise={noise}: at least 1, and more than 1 only '
            'with noise, else all repeats are equal'
        )

    def run(index: int, axes: tuple[int, ...]) -> np.ndarray:
        copy = np.flip(image, axes)
        if noise and index:
            random = np.random.default_rng((seed, index))
            copy = copy + np.float32(noise) * random.standard_normal(copy.shape, np.float32)
        return np.flip(restore(np.ascontiguousarray(copy)), axes)

    return [lambda i=i, axes=axes: run(i, axes) for i, axes in enumerate(FLIPS * repeats)]


def mean_and_spread(members: Sequence[Callable[[], np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of several restorations, held one at a time.

    Welford's running sums (Technometrics 1962). The deviation is that of a sample (N - 1).

    Args:
        members: at least two functions returning (H, W) floats of one shape.

    Returns:
        Mean and standard deviation, (H, W) float32.

    Raises:
        ValueError: fewer than two members, or of different shapes.
    """
    if len(members) < 2:
        raise ValueError(f'{len(members)} restoration(s) have no spread; at least 2 are needed')
    mean = squares = None
    for count, member in enumerate(members, 1):
        value = np.asarray(member(), np.float32)
        if mean is None:
            mean, squares = value.copy(), np.zeros_like(value)
            continue
        if value.shape != mean.shape:
            raise ValueError(f'restorations of {mean.shape} and {value.shape} do not compare')
        change = value - mean
        mean += change / np.float32(count)
        squares += change * (value - mean)
    return mean, np.sqrt(np.maximum(squares, 0) / np.float32(len(members) - 1))


def doubtful_particles(
    image: np.ndarray, std: np.ndarray, particles: np.ndarray, factor: float = 2.0
) -> np.ndarray:
    """Tells which particles stand out too little from what is uncertain about them.

    The contrast is the mean of the particle's disc less the median of a ring of 1.5 to 2.5 radii
    around it; the particle is doubtful if that is below ``factor`` times the root mean square of
    ``std`` in the disc. A particle that one of N restorations lacks has (N - 1) / sqrt(N) times
    its spread as mean contrast, 1.5 for N = 4: the default doubts it.

    Args:
        image: (H, W), the mean of the restorations.
        std: (H, W), their standard deviation, in the same units.
        particles: (K, 4): row, column, radius (pixels), strength of detection (not used).
        factor: spreads that a contrast should reach.

    Returns:
        (K,) bool. A particle outside the image or with nothing around it is doubtful.

    Raises:
        ValueError: shapes do not fit, or values are not finite.
    """
    particles = np.asarray(particles, np.float64)
    if image.ndim != 2 or image.shape != std.shape:
        raise ValueError(f'image and std must be (H, W) alike, got {image.shape}, {std.shape}')
    if particles.size == 0:
        return np.zeros(0, bool)
    if particles.ndim != 2 or particles.shape[1] != 4:
        raise ValueError(f'particles must be (K, 4), got {particles.shape}')
    if not np.isfinite(particles).all() or (particles[:, 2] <= 0).any():
        raise ValueError('particles must be finite, with radii above 0')
    return np.array([_doubtful(image, std, *particle[:3], factor) for particle in particles])


def _doubtful(
    image: np.ndarray, std: np.ndarray, row: float, column: float, radius: float, factor: float
) -> bool:
    reach = 2.5 * max(radius, 1.0)
    top, left = max(int(row - reach), 0), max(int(column - reach), 0)
    part = (slice(top, max(int(row + reach) + 2, 0)), slice(left, max(int(column + reach) + 2, 0)))
    near, spread = image[part], std[part]
    y, x = np.ogrid[top : top + near.shape[0], left : left + near.shape[1]]
    distance = np.hypot(y - row, x - column) / max(radius, 1.0)
    disc, ring = distance <= 1, (distance >= 1.5) & (distance <= 2.5)
    if not (disc.any() and ring.any()):
        return True
    contrast = abs(float(near[disc].mean()) - float(np.median(near[ring])))
    return contrast < factor * float(np.sqrt(np.mean(np.square(spread[disc], dtype=np.float64))))


def faint_particles(
    noisy: np.ndarray,
    restored: np.ndarray,
    particles: np.ndarray,
    limit: float = FAINT,
    power: float = FAINT_POWER,
) -> np.ndarray:
    """Tells which particles are faint against the noise that was taken away.

    What was taken away, noisy - restored, is filtered as particles of that radius are found (by a
    normalised Laplacian of Gaussian); its local deviation is what noise makes of nothing. A
    particle is doubtful whose strength is below ``limit * radius ** power`` of these: wide faint
    ones more than small ones, since slow changes of the background pass for them. Both numbers
    were fitted to pairs of a quick and a slow scan (see the benchmarks).

    Args:
        noisy: (H, W) in [0, 1].
        restored: (H, W) in [0, 1].
        particles: (K, 4): row, column, radius (pixels), strength.
        limit: deviations of noise, for a radius of one pixel.
        power: of the radius.

    Returns:
        (K,) bool.

    Raises:
        ValueError: shapes do not fit.
    """
    particles = np.asarray(particles, np.float64).reshape(-1, 4)
    if noisy.shape != restored.shape or noisy.ndim != 2:
        raise ValueError(f'images must be (H, W) alike, got {noisy.shape}, {restored.shape}')
    taken = np.asarray(noisy, np.float32) - np.asarray(restored, np.float32)
    doubtful = np.zeros(len(particles), bool)
    for radius in np.unique(particles[:, 2]):
        mine = np.flatnonzero(particles[:, 2] == radius)
        rows, columns = np.rint(particles[mine, :2]).astype(int).T
        scale = radius / np.sqrt(2)
        response = scale**2 * gaussian_laplace(taken, scale)
        noise = np.sqrt(gaussian_filter(response**2, max(NEAR, 2 * radius)))
        doubtful[mine] = particles[mine, 3] < limit * radius**power * noise[rows, columns]
    return doubtful


def shown_range(restored: np.ndarray) -> tuple[float, float]:
    """The levels shown as black and white: those of nearly all pixels of a restored picture.

    A 16 bit image of which a narrow range is used would be black on the screen.
    """
    step = max(1, min(restored.shape) // 2048)
    low, high = np.quantile(restored[::step, ::step], (DARKEST, BRIGHTEST))
    return (float(low), float(high)) if high - low > 1e-6 else (0.0, 1.0)


def well_shown(restored: np.ndarray) -> np.ndarray:
    """A picture of little contrast, stretched; another as it is."""
    low, high = shown_range(restored)
    return restored if high - low >= WIDE else (restored - low) / (high - low)


def draw_particles(restored: np.ndarray, particles: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 picture, blue first as OpenCV has it: doubtful in red, the rest in green."""
    grey = np.rint(np.clip(restored, 0, 1) * 255).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for (row, column, radius, _), doubted in zip(particles, doubtful):
        cv2.circle(
            picture,
            (round(column), round(row)),
            max(round(radius), 2) + 1,
            (0, 0, 255) if doubted else (0, 200, 0),
            1,
            cv2.LINE_AA,
        )
    return picture
