"""Two images of one field of view brought onto the same pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.signal.windows import tukey

# Images of one field were seen above 0.99 (at 10 dB of noise), of different ones below 0.2.
MIN_CONFIDENCE = 0.5
REFINEMENTS = 2
# Rows that hold enough to be registered by themselves.
LEAST_STRIP = 48


@dataclass(frozen=True)
class Registration:
    """Where one image lies in another.

    Args:
        shift: Rows and columns by which the middle of the moving image must
            be moved to lie on the fixed one, in pixels.
        drift: By how much more its last row must be moved than its first:
            the sample moved, against the beam, while the frames were written.
        confidence: Pearson correlation of the two where they overlap, both smoothed.
        stretch: By how much more its last column must be moved than its first: the beam's
            deflection does not follow a quick line and a slow one by the same width.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.ops import Registration
        >>> found = Registration(shift=(3.0, -2.0), drift=(0.0, 0.0), confidence=0.98)
        >>> found.region((64, 64))
        (slice(3, 64, None), slice(0, 62, None))
        >>> found.move(np.zeros((64, 64))).shape
        (64, 64)
    """

    shift: tuple[float, float]
    drift: tuple[float, float]
    confidence: float
    stretch: tuple[float, float] = (0.0, 0.0)

    def move(self, image: np.ndarray, order: int = 5) -> np.ndarray:
        """The moving image laid on the fixed one, (H, W) float32; see :func:`move`."""
        return move(image, self.shift, self.drift, order, stretch=self.stretch)

    def region(self, shape: tuple[int, int], margin: int = 0) -> tuple[slice, slice]:
        """What of the fixed image the moved one covers, see :func:`valid_region`."""
        return valid_region(shape, self.shift, self.drift, margin, self.stretch)


def register(
    fixed: np.ndarray,
    moving: np.ndarray,
    max_shift: float = 32.0,
    smooth: float = 2.0,
    upsample: int = 20,
    strips: int = 7,
) -> Registration:
    """Translation, drift and stretch of one image against another, to a fraction of a pixel.

    Phase correlation. Both images are smoothed, so that noise of the worse one has no say, and
    tapered; the cross-power spectrum (Kuglin and Hines 1975) is whitened half-way only, since
    whitened noise would drown the peak; the peak is refined by a matrix-multiplication Fourier
    transform (Guizar-Sicairos et al., Opt. Lett. 2008). Then strips of rows are registered by
    themselves, and a line through their shifts gives the drift, where strips agree with it; strips
    of columns give the stretch.

    Args:
        fixed: (H, W).
        moving: Of the same shape.
        max_shift: Largest shift looked for, in pixels. Defaults to 32.
        smooth: Standard deviation of the smoothing, in pixels. Defaults to 2.
        upsample: Inverse of the precision. Defaults to 20.
        strips: Strips of rows and of columns, half overlapping; 0 leaves drift and stretch out.
            Defaults to 7.

    Returns:
        Shift, drift and stretch. Judge ``confidence``: a result always comes back.

    Raises:
        ValueError: If shapes differ, or an image is constant or smaller than 16 x 16 pixels.

    Examples:
        >>> import numpy as np
        >>> from scipy.ndimage import gaussian_filter
        >>> from mmclarity.restoration import register
        >>> field = gaussian_filter(np.random.default_rng(0).normal(size=(160, 160)), 2)
        >>> found = register(field[10:138, 10:138], field[13:141, 8:136])
        >>> [round(float(way), 1) for way in found.shift], found.confidence > 0.9
        ([3.0, -2.0], True)
    """
    if fixed.shape != moving.shape or fixed.ndim != 2 or min(fixed.shape) < 16:
        raise ValueError(
            'images must be (H, W) of one shape of at least 16 x 16, got '
            f'{fixed.shape} and {moving.shape}'
        )
    pair = [gaussian_filter(np.asarray(image, np.float64), smooth) for image in (fixed, moving)]
    if min(np.ptp(image) for image in pair) == 0:
        raise ValueError('a constant image cannot be registered')
    shift = _translation(*pair, (0, 0), max_shift, upsample)
    slopes = [(0.0, 0.0), (0.0, 0.0)]  # drift and stretch
    for _ in range(REFINEMENTS):
        for axis, length in enumerate(fixed.shape):
            # The taper lies still and draws every estimate towards zero by some percent: of what
            # is left after moving, that is nothing.
            moved = move(pair[1], shift, slopes[0], order=3, stretch=slopes[1]).astype(np.float64)
            thick = 2 * length // (strips + 1) if strips else 0
            if thick >= LEAST_STRIP:
                more, slope = _slope(pair[0], moved, axis, thick, strips, upsample)
            else:
                more, slope = _translation(pair[0], moved, (0, 0), 4, upsample), (0.0, 0.0)
            shift = (shift[0] + more[0], shift[1] + more[1])
            slopes[axis] = (slopes[axis][0] + slope[0], slopes[axis][1] + slope[1])
    found = Registration(shift, slopes[0], 0.0, slopes[1])
    return replace(found, confidence=_overlap_correlation(*pair, found))


def _translation(
    fixed: np.ndarray, moving: np.ndarray, about: tuple[int, int], max_shift: float, upsample: int
) -> tuple[float, float]:
    taper = np.outer(*(tukey(length, 0.25) for length in fixed.shape))
    spectra = [rfft2((image - image.mean()) * taper) for image in (fixed, moving)]
    cross = spectra[0] * spectra[1].conj()
    cross /= np.sqrt(np.abs(cross)) + 1e-12 * np.abs(cross).max() ** 0.5 + 1e-300
    peak = _peak(cross, fixed.shape, about, max_shift)
    return _refine(cross, fixed.shape, peak, upsample)


def _slope(
    fixed: np.ndarray, moving: np.ndarray, axis: int, thick: int, strips: int, upsample: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Shift in the middle and how much more at the end of an axis than at its start, from strips.

    Robust against strips without structure.
    """
    total = fixed.shape[axis]
    times, shifts, trust = [], [], []
    for first in np.linspace(0, total - thick, strips).round().astype(int):
        part = (slice(None),) * axis + (slice(first, first + thick),)
        if min(np.ptp(image[part]) for image in (fixed, moving)) == 0:
            continue
        found = _translation(fixed[part], moving[part], (0, 0), 4, upsample)
        times.append((first + thick / 2) / total - 0.5)
        shifts.append(found)
        agreement = _overlap_correlation(
            fixed[part], moving[part], Registration(found, (0.0, 0.0), 0.0)
        )
        trust.append(max(agreement, 0))
    if sum(weight > MIN_CONFIDENCE for weight in trust) < 3:
        return _translation(fixed, moving, (0, 0), 4, upsample), (0.0, 0.0)
    design = np.stack([np.ones(len(times)), times], 1)
    shifts, weights = np.array(shifts), np.array(trust)[:, None]
    for _ in range(5):
        # Reweighted towards the median (Huber): one strip may have locked onto something else.
        fit = np.stack(
            [
                np.linalg.lstsq(design * w[:, None], s * w, rcond=None)[0]
                for s, w in zip(shifts.T, np.broadcast_to(weights, shifts.shape).T)
            ],
            1,
        )
        residual = np.abs(shifts - design @ fit)
        scale = 1.5 * np.maximum(np.median(residual, 0), 0.5 / upsample)
        weights = np.array(trust)[:, None] * np.sqrt(np.minimum(1, scale / (residual + 1e-12)))
    return tuple(fit[0].tolist()), tuple(fit[1].tolist())


def _peak(
    cross: np.ndarray, shape: tuple[int, int], about: tuple[int, int], max_shift: float
) -> tuple[int, int]:
    surface = irfft2(cross, s=shape)
    offsets = [np.fft.fftfreq(length, 1 / length).round().astype(int) for length in shape]
    near = (np.abs(offsets[0] - about[0]) <= max_shift)[:, None] & (
        np.abs(offsets[1] - about[1]) <= max_shift
    )
    surface = np.where(near, surface, -np.inf)
    row, column = np.unravel_index(np.argmax(surface), shape)
    return int(offsets[0][row]), int(offsets[1][column])


def _refine(
    cross: np.ndarray, shape: tuple[int, int], start: tuple[int, int], upsample: int
) -> tuple[float, float]:
    """The correlation on a fine grid within one pixel of its peak."""
    fine = np.arange(-upsample, upsample + 1) / upsample
    rows = np.exp(2j * np.pi * np.outer(start[0] + fine, np.fft.fftfreq(shape[0])))
    frequency = np.fft.rfftfreq(shape[1])
    columns = np.exp(2j * np.pi * np.outer(frequency, start[1] + fine))
    # The half spectrum of a real image stands for both halves.
    twice = np.where((frequency > 0) & (frequency < 0.5), 2.0, 1.0)
    surface = (rows @ (cross * twice) @ columns).real
    row, column = np.unravel_index(np.argmax(surface), surface.shape)
    return float(start[0] + fine[row]), float(start[1] + fine[column])


def _overlap_correlation(fixed: np.ndarray, moving: np.ndarray, found: Registration) -> float:
    moved, part = found.move(moving, order=1), found.region(fixed.shape)
    if fixed[part].size == 0:
        return 0.0
    a, b = fixed[part] - fixed[part].mean(), moved[part] - moved[part].mean()
    scale = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def valid_region(
    shape: tuple[int, int],
    shift: tuple[float, float],
    drift: tuple[float, float] = (0.0, 0.0),
    margin: int = 0,
    stretch: tuple[float, float] = (0.0, 0.0),
) -> tuple[slice, slice]:
    """Rows and columns that a moved image covers, less a margin on each side.

    Examples:
        >>> from mmclarity.restoration.ops import valid_region
        >>> valid_region((64, 64), shift=(3.0, -2.0))
        (slice(3, 64, None), slice(0, 62, None))
    """
    parts = []
    for length, distance, *extra in zip(shape, shift, drift, stretch):
        farther = sum(map(abs, extra)) / 2
        most, least = distance + farther, distance - farther
        first = max(0, int(np.ceil(most))) + margin
        last = length - max(0, int(np.ceil(-least))) - margin
        parts.append(slice(first, max(first, last)))
    return parts[0], parts[1]


def move(
    image: np.ndarray,
    shift: tuple[float, float],
    drift: tuple[float, float] = (0.0, 0.0),
    order: int = 5,
    mode: str = 'reflect',
    stretch: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """An image moved by a fraction of pixels; rows and columns by more as drift and stretch say.

    Interpolation by a spline of fifth order, which damps next to nothing below three quarters of
    the Nyquist frequency. What comes from outside is a guess, see :func:`valid_region`.

    Args:
        image: (H, W).
        shift: Rows and columns, see :class:`Registration`.
        drift: How much more the last row is moved than the first.
        order: Of the spline, 0 to 5. Defaults to 5.
        mode: Of scipy's map_coordinates, for the outside. Defaults to 'reflect': mirrored.
        stretch: How much more the last column is moved than the first.

    Returns:
        (H, W) float32.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.ops import move
        >>> image = np.zeros((64, 64), np.float32)
        >>> image[20, 30] = 1
        >>> np.argwhere(move(image, shift=(3.0, -2.0)) > 0.9)
        array([[23, 28]])
    """
    image = np.asarray(image, np.float64)
    if not any((*shift, *drift, *stretch)):
        return image.astype(np.float32)
    height, width = image.shape
    time = ((np.arange(height) + 0.5) / height - 0.5)[:, None]
    along = (np.arange(width) + 0.5) / width - 0.5
    rows = np.arange(height)[:, None] - shift[0] - drift[0] * time - stretch[0] * along
    columns = np.arange(width) - shift[1] - drift[1] * time - stretch[1] * along
    return map_coordinates(image, [rows, columns], order=order, mode=mode).astype(np.float32)
