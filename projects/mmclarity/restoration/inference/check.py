"""A restoration held against a slow scan of the same field: what was invented, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import lfilter

from ..evaluation.fabrication import THRESHOLDS, count_fabrications
from ..evaluation.fidelity import fidelity
from ..evaluation.particles import DetectionSettings, detect_particles
from ..evaluation.sharpness import sharpness
from ..general.appraisal import BRIGHT, DARK, Appraisal
from ..general.appraising import appraise

if TYPE_CHECKING:
    from ..io.micrograph import SEMImage

KINDS = {'bright': DetectionSettings(), 'dark': DetectionSettings(dark=True)}
RECORDED = 'as recorded'
_SIDE = 256  # pixels of the noise that is made to see what particles noise makes
_NEVER = 0.01  # of a row's levels, the contrast at least that can be laid on another's

Restore = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Judged:
    """One restoration of a field.

    Attributes:
        image: (H, W), in units of the contrast.
        numbers: ``psnr`` in dB of the contrast, ``ssim``, ``blur`` (how much wider edges are than
            in the slow scan, pixels; NaN where it has none that can be measured).
        counts: ``'bright'`` and ``'dark'``, each as of
            :func:`..evaluation.fabrication.count_fabrications`.
    """

    image: np.ndarray
    numbers: dict[str, float]
    counts: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class FieldCheck:
    """What one pair of scans tells.

    Attributes:
        name: of the field.
        slow: (H, W), the slow scan on the quick one's pixels, in units of the contrast: dark ends
            of the quick scan's levels are 0.05, bright ones 0.95.
        rows: the quick scan as it was recorded, and its restorations.
        gain, offset: the slow scan's levels (0 black, 1 white) times and plus this are those of
            the quick one.
        noise: standard deviation of the quick scan's noise, in units of the contrast.
        slow_noise: of the slow scan's.
        floor: strength that particles of the slow scan's noise alone reach: below it, what is
            counted may be its noise.
        confidence: correlation of the two scans.
        remarks: what speaks against the pair.

    Examples:
        Of :func:`check_field`:

        >>> from mmclarity.restoration.inference import FieldCheck
        >>> FieldCheck.__dataclass_params__.frozen
        True
    """

    name: str
    slow: np.ndarray
    rows: dict[str, Judged]
    gain: float
    offset: float
    noise: float
    slow_noise: float
    floor: float
    confidence: float
    remarks: list[str] = field(default_factory=list)


def check_field(
    name: str,
    quick: SEMImage,
    slow: SEMImage,
    restorers: Mapping[str, Restore],
    others: Mapping[str, SEMImage] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> FieldCheck:
    """Restores a quick scan and judges it by a slow one.

    The slow scan is laid on the quick one, drift included, and brought to its brightness and
    contrast by the straight line that fits the quick scan's levels best. Strengths of particles
    are in units of the contrast, so they do not depend on the microscope's knobs.

    Args:
        name: of the field.
        quick: the quick scan.
        slow: the slow scan of the same field, at the same magnification.
        restorers: by name; each takes (H, W) levels, 0 black and 1 white, and gives the same.
        others: what other programs made of the quick scan: of its size, or of that of the picture
            without data bar. Levels are matched as those of the slow scan.
        thresholds: strengths of particles.

    Raises:
        ValueError: the scans are no pair, see :func:`..datasets.pairing.pair_up`; or one of
            ``others`` has another size, or nothing in common with the quick scan.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.inference import check_field
        >>> from mmclarity.restoration.io import from_array
        >>> from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
        >>> slow = make_phantom(PhantomSettings(size=128)).image
        >>> quick = slow + np.random.default_rng(0).normal(0, 0.05, slow.shape)
        >>> scans = (from_array((255 * a.clip(0, 1)).astype(np.uint8)) for a in (quick, slow))
        >>> check = check_field('phantom', *scans, {'untouched': lambda levels: levels})
        >>> check.rows['untouched'].counts['bright'][0]['fabricated'] > 10
        True
    """
    from ..datasets.pairing import pair_up

    pair = pair_up(quick, slow)
    low, high = (levels / np.float32(255) for levels in (pair.low, pair.high))
    like = appraise(low)
    high, gain, offset = matched(high, low)
    slow_like = appraise(slow.unit)  # where it was not moved: that smooths noise
    slow_noise = slow_like.sigma * gain * like.gain / slow_like.gain if slow_like.measured else 0.0
    images = {RECORDED: low}
    images |= {title: np.asarray(restore(low), np.float32) for title, restore in restorers.items()}
    for title, other in (others or {}).items():
        levels = _part(other, quick, pair.rows, pair.columns)
        images[title] = matched(levels, low, str(other.path))[0]
    reference = _in_contrast(high, like)
    rows = {
        title: judge(_in_contrast(image, like), reference, thresholds)
        for title, image in images.items()
    }
    return FieldCheck(
        name,
        reference,
        rows,
        gain,
        offset,
        like.sigma,
        slow_noise,
        noise_strength(slow_noise * (BRIGHT - DARK), slow_like.correlation),
        pair.found.confidence if pair.found else 1.0,
        _remarks(slow_noise, like.sigma),
    )


def judge(image: np.ndarray, reference: np.ndarray, thresholds: Sequence[float]) -> Judged:
    """Numbers and counts of one image, both (H, W) in units of the contrast."""
    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    edges = sharpness(image, reference)
    near = fidelity(image, reference)
    numbers = {key: near[key] for key in ('psnr', 'ssim')}
    numbers['blur'] = edges['edge_width'] - edges['edge_width_reference']
    counts = {
        kind: count_fabrications(image, reference, thresholds, settings)
        for kind, settings in KINDS.items()
    }
    return Judged(image, numbers, counts)


def matched(
    image: np.ndarray, noisy: np.ndarray, name: str = 'the slow scan'
) -> tuple[np.ndarray, float, float]:
    """An image in the levels of a noisy one, by the straight line through them (least squares).

    The noise is in what the line is fitted to, not in what it is fitted along, so it does not
    make the line flatter.

    Returns:
        The image, the line's slope and its intercept.

    Raises:
        ValueError: the image is constant, or has the other's negative.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.inference.check import matched
        >>> slow = np.linspace(0.2, 0.6, 100).reshape(10, 10)
        >>> image, gain, offset = matched(slow, 1.5 * slow - 0.1)
        >>> round(gain, 3), round(offset, 3)
        (1.5, -0.1)
    """
    along, noisy = np.asarray(image, np.float64), np.asarray(noisy, np.float64)
    spread = along.var()
    gain = ((along - along.mean()) * (noisy - noisy.mean())).mean() / spread if spread else 0.0
    if gain <= _NEVER:
        raise ValueError(
            f'{name} has nothing in common with the quick scan, or is its negative: give an image '
            'of the same field and the same detector'
        )
    offset = noisy.mean() - gain * along.mean()
    return (gain * along + offset).astype(np.float32), float(gain), float(offset)


def noise_strength(sigma: float, correlation: float = 0.0, seed: int = 0) -> float:
    """Strength of the strongest particle that noise alone makes in 256 x 256 pixels.

    Args:
        sigma: standard deviation of the noise.
        correlation: with the next pixel of the line.
        seed: of the noise that is made.

    Examples:
        >>> from mmclarity.restoration.inference.check import noise_strength
        >>> 0.01 < noise_strength(0.01) < 0.03
        True
    """
    if not sigma > 0:
        return 0.0
    correlation = min(max(correlation, 0.0), 0.95)
    noise = np.random.default_rng(seed).standard_normal((_SIDE, _SIDE + 64))
    noise = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], noise, axis=1)[:, 64:]
    strengths = [
        detect_particles(noise, DetectionSettings(floor=0.1, dark=settings.dark))[:1, 3]
        for settings in KINDS.values()
    ]
    return float(sigma * np.max(np.concatenate(strengths)))


def _in_contrast(levels: np.ndarray, like: Appraisal) -> np.ndarray:
    return levels * np.float32(like.gain) + np.float32(like.offset)


def _part(other: SEMImage, quick: SEMImage, rows: slice, columns: slice) -> np.ndarray:
    """Levels of a restoration by another program, where the pair lies in the quick scan's file."""
    if other.pixels.shape == quick.pixels.shape:
        whole, top, left = other.pixels, 0, 0
    elif other.pixels.shape == quick.image.shape:  # saved without the data bar
        whole = other.pixels
        top, left = (
            range(*part.indices(size)).start
            for part, size in zip(quick.content, quick.pixels.shape)
        )
    else:
        raise ValueError(
            f'{other.path} is {other.pixels.shape[1]} x {other.pixels.shape[0]} pixels, '
            f'{quick.path} {quick.pixels.shape[1]} x {quick.pixels.shape[0]}: a restoration has '
            'the size of what it is made from'
        )
    part = whole[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return (part.astype(np.float64) - other.black) / (other.data_range - other.black)


def _remarks(slow_noise: float, noise: float) -> list[str]:
    if slow_noise > 0.5 * noise:
        return [
            f'the slow scan has {100 * slow_noise:.1f} % noise itself, the quick one '
            f'{100 * noise:.1f} %: no truth to hold a restoration against; scan it more slowly'
        ]
    return []
