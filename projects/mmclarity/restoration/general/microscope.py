"""What one microscope teaches: its own clean images, made worse as its quick scans are.

The general network knows many kinds of noise and content a little. Whoever has slow, clean images
of the same microscope can have one that knows theirs: the noise, its smear along the line and the
blur of quick scans are measured (:mod:`..degradation.calibration`) and laid on the slow ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmclarity.errors import DataError

from ..degradation.calibration import (
    Calibration,
    fit_calibration,
    transform_options,
)
from ..degradation.measure import NoiseSample, measure_noise
from ..degradation.simulate import SimulateLowCostSEM
from ..io.micrograph import SEMImage
from ..io.pairs import shared_name
from .appraising import appraise
from .blind_spot import NoisyField, noisy_field
from .caution import Scene
from .clean_examples import CleanField, clean_field
from .excess_noise import excess_noise
from .scan_pair import Lines, ScanPair, divided, kept_back, scene_of

__all__ = ['Lesson', 'lesson']

# Factor between the pixel sizes of the two sides, and share of the contrast by which grey levels
# differ from pair to pair, from which on it is told; and factor between the two sides' levels.
SAME_SIZE, UNEVEN, DIM = 1.15, 0.05, 4.0
# Pictures, about, on which inventions are counted, and their sides at most.
SCENES, SCENE_SIDE = 40, 512


@dataclass(frozen=True)
class Lesson:
    """What a network is taught of one microscope.

    Attributes:
        fields: clean images in the grey levels of the quick scans.
        worse: what a quick scan does to them.
        held: quick scans that the network is judged on: with the registered slow ones where there
            are pairs.
        scenes: rows of clean images that nobody learns from, made worse; and what pairs show of
            their fields in such rows.
        found: what was measured.
        strength: share of the deviation measured on quick scans that is noise; the rest is texture.
        absolute: a grey level means the same in all images, of which none has black and white of
            its own.
        white: of quick scans, see :attr:`.SEMImage.own_white`.
        pairs: what quick and slow scans of one field both show, of rows that teach.
    """

    fields: list[CleanField]
    worse: SimulateLowCostSEM
    held: list[NoisyField]
    scenes: list[Scene]
    found: Calibration
    strength: float = 1.0
    absolute: bool = True
    white: float | None = None
    pairs: Sequence[Scene] = ()

    @property
    def levels(self) -> tuple[float, float, float | None] | None:
        """Factor and offset of grey levels, and white; None without pairs.

        See :attr:`.Manner.levels`.
        """
        if not self.found.pairs or not self.absolute:
            return None
        gain, offset = (self.found.estimates[name].value for name in ('gain', 'offset'))
        return gain, offset / 255, self.white

    def describe(self) -> str:
        """What was measured, in plain words."""
        sigma = self.strength * float(np.median([one.like.sigma for one in self.fields]))
        parts = [f'noise of {100 * sigma:.2g} % of the contrast']
        shared = (*self.worse.correlation, 0.0)[0]
        if shared > 0.1:
            parts.append(f'of which neighbours along the line share {shared:.2f}')
        if not self.found.pairs:
            return f'{", ".join(parts)} (no pairs of one field: nothing is known of blur)'
        count = len(self.found.pairs)
        pairs = f'{count} pair{"s" * (count != 1)}'
        along, across = (self.found.estimates[f'blur {n}'].value for n in ('along', 'across'))
        parts.append(f'blur of {along:.2g} pixels along the line and {across:.2g} across it')
        return f'{", ".join(parts)} (from {pairs})'


def lesson(
    quick: Sequence[SEMImage],
    slow: Sequence[SEMImage],
    seed: int = 0,
    say: Callable[[str], object] = print,
) -> Lesson:
    """Measures what quick scans do to a picture, and lays it on slow ones.

    Images of one name show one field: blur, jitter and the two grey levels are measured on these.
    Without any, noise alone is, and the slow images are brought to the contrast of the quick ones.

    Args:
        quick: noisy images, at least one.
        slow: clean ones of the same microscope, at least one, scan lines in the same direction.
        seed: of simulated noise.
        say: called with lines for the user.

    Raises:
        DataError: an image is too small or constant, or the slow images are as noisy.
    """
    if not quick or not slow:
        raise DataError('at least one noisy image is needed, and one clean one')
    rng = np.random.default_rng(seed)
    noisy = [noisy_field(image) for image in quick]
    ends = _ends(slow)
    lines = Lines(np.mean([one.turned for one in noisy]) > 0.5)
    quick, noisy = _of_one_direction(quick, noisy, lines, say)
    pairs = _pairs(quick, slow, lines, say)
    absolute = not any(image.measured_range for image in (*quick, *slow))
    samples = [pair.sample for pair in pairs.values()]
    measured = [_noise(image, lines) for image in quick]
    found = fit_calibration(measured, samples, rng)
    for line in (*_on_sizes(quick, slow), *_on_levels(found, absolute)):
        say(line)
    gain, offset = (
        (found.estimates[name].value for name in ('gain', 'offset'))
        if pairs
        else _levels_of(noisy, ends)
    )
    clean = [lines(image.unit) * np.float32(255 * gain) + np.float32(offset) for image in slow]
    whole = all(image.pixels.itemsize == 1 for image in quick)
    worse, strength = _worse(found, measured, slow, clean, whole)
    fields, scenes = [], []
    for image, levels in zip(slow, clean):
        taught, judged = divided(levels, [p.first for p in pairs.values() if p.slow is image])
        fields.append(clean_field(taught, worse, rng, image.label))
        scenes.append(judged)
    draws = max(1, round(SCENES / len(scenes)))
    scenes = [_scene(clean, worse, rng) for clean in scenes[:SCENES] for _ in range(draws)]
    both, paired = [], []
    for index, pair in pairs.items():
        taught, held = pair.taught_and_held(noisy[index])
        both.append(taught)
        paired.append(held)
    scenes += [scene_of(one, SCENE_SIDE) for one in paired[:SCENES]]
    if any(not kept_back(len(pair.low)) for pair in pairs.values()):
        say(
            'images of so few lines teach and judge as a whole: the gain that is told at the end '
            'is one on what has been seen'
        )
    white = quick[0].own_white
    judging = paired or noisy
    return Lesson(fields, worse, judging, scenes, found, strength, absolute, white, both)


def _worse(
    found: Calibration,
    measured: Sequence[NoiseSample],
    slow: Sequence[SEMImage],
    clean: Sequence[np.ndarray],
    whole: bool,
) -> tuple[SimulateLowCostSEM, float]:
    """What a quick scan does to a clean image that is in its grey levels already.

    Args:
        found: what was measured.
        measured: on quick scans.
        slow: clean images.
        clean: their levels, (H, W) each, 0..255.
        whole: grey levels are whole numbers of 0 to 255.

    Returns:
        The degradation, and the share of what is measured on quick scans that is noise.
    """
    options = transform_options(found) | dict(gain=None, offset=None, quantise=whole)
    if not found.pairs:  # of blur nothing is known
        options |= dict(blur=None, line_blur=None, jitter=None)
    blurring, rng = SimulateLowCostSEM(**options), np.random.default_rng(0)
    still = [blurring.degrade(levels, rng, strength=0.0) for levels in clean]
    names = [image.label for image in slow]
    excess = excess_noise(measured, [measure_noise(levels) for levels in still], names)
    options |= dict(strength=excess.strength, correlation=excess.correlation)
    return SimulateLowCostSEM(**options), excess.strength


def _pairs(
    quick: Sequence[SEMImage],
    slow: Sequence[SEMImage],
    lines: Lines,
    say: Callable[[str], object],
) -> dict[int, ScanPair]:
    """Quick scans that have a slow partner: of one name, and one page of it."""
    named = {(shared_name(one.path), one.page): one for one in slow if one.path is not None}
    found: dict[int, ScanPair] = {}
    if not any(image.path and (shared_name(image.path), image.page) in named for image in quick):
        say(
            'no file has the same name on both sides, so nothing is known of which fields were '
            'scanned both ways; give the two scans of a field one name, and they teach more'
        )
    for index, image in enumerate(quick):
        partner = image.path and named.get((shared_name(image.path), image.page))
        if partner is None:
            continue
        try:
            found[index] = ScanPair(image, partner, lines)
        except ValueError as error:
            say(f'{error}; as it is, they are taken for images of two fields')
    return found


def _on_sizes(quick: Sequence[SEMImage], slow: Sequence[SEMImage]) -> Iterator[str]:
    """Whether the two sides have one magnification, as far as the files know."""
    sizes = [[one.pixel_size for one in side if one.pixel_size] for side in (quick, slow)]
    if not all(sizes):
        return
    ours, theirs = (1e9 * float(np.median(side)) for side in sizes)
    if not 1 / SAME_SIZE < theirs / ours < SAME_SIZE:
        yield (
            f'the slow scans have pixels of {theirs:.3g} nm, the quick ones of {ours:.3g} nm: '
            f'things are {ours / theirs:.2g} times as large in the slow ones as in those that will '
            'be restored; scans of one magnification teach best'
        )


def _on_levels(found: Calibration, absolute: bool) -> Iterator[str]:
    """What is to be known before grey levels of slow scans are asked for."""
    if not found.pairs:
        return
    if not absolute:
        yield (
            'in floating point each image has black and white of its own: --slow-levels of '
            'mmclarity-restore needs weights that were made with --data-range'
        )
        return
    if (times := found.estimates['gain'].value) > DIM:
        yield (
            f'the slow scans use so little of their range that they are {times:.2g} times as dark '
            'as the quick ones (12 bits in files of 16?): with --slow-levels, restored images are '
            'as dark'
        )
    darkest, brightest = found.curve[[0, -1], 0]  # of the quick scans
    ends = [
        [(level - one.offset) / one.gain for level in (darkest, brightest)] for one in found.pairs
    ]
    off = float(np.std(ends, 0).max() / np.ptp(np.mean(ends, 0)))
    if off > UNEVEN:
        yield (
            'brightness and contrast differ from pair to pair: with --slow-levels, grey levels '
            f'will be off by some {100 * off:.0f} % of the contrast'
        )


def _scene(clean: np.ndarray, worse: SimulateLowCostSEM, rng: np.random.Generator) -> Scene:
    rows, columns = (
        slice(start, start + SCENE_SIDE)
        for length in clean.shape
        for start in [rng.integers(max(0, length - SCENE_SIDE) + 1)]
    )
    clean = clean[rows, columns]
    noisy = worse.degrade(clean, rng)
    like = appraise(noisy, 255.0)
    levels = (np.asarray(i / 255 * like.gain + like.offset, np.float32) for i in (noisy, clean))
    return Scene(*levels, like)


def _of_one_direction(
    quick: Sequence[SEMImage],
    noisy: Sequence[NoisyField],
    lines: Lines,
    say: Callable[[str], object],
) -> tuple[list[SEMImage], list[NoisyField]]:
    """Without images whose noise is smeared in the other direction than in most."""
    kept = []
    for image, one in zip(quick, noisy):
        if one.turned == lines.upright:
            kept.append((image, one))
        else:
            say(f'left out: {image.label}: its scan lines run in another direction than in most')
    images, fields = zip(*kept)
    return list(images), list(fields)


def _noise(image: SEMImage, lines: Lines) -> NoiseSample:
    try:
        return measure_noise(lines(image.unit) * 255)
    except ValueError as error:
        raise DataError(f'{image.label}: {error}') from error


def _ends(slow: Sequence[SEMImage]) -> np.ndarray:
    """(N, 2) darkest and brightest levels of the slow images."""
    ends = []
    for image in slow:
        like = appraise(image.image, image.data_range - image.black, image.black)
        if like.high - like.low <= 1e-6:
            raise DataError(f'{image.label}: has no contrast; there is nothing to learn from it')
        ends.append((like.low, like.high))
    return np.array(ends)


def _levels_of(noisy: Sequence[NoisyField], slow: np.ndarray) -> tuple[float, float]:
    """Factor and offset (of 255) that give the slow images, by their ends, the quick contrast."""
    ends = np.array([(one.like.low, one.like.high) for one in noisy]).mean(0)
    mine = slow.mean(0)
    gain = np.ptp(ends) / np.ptp(mine)
    return float(gain), float(255 * (ends[0] - gain * mine[0]))
