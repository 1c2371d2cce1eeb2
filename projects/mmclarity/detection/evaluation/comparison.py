"""Is one detector better than another? A paired bootstrap over images.

Both detectors are judged on the same draws of images, so that what makes an image hard falls out of
the difference (Efron and Tibshirani 1993, chapter 16). Intervals tell how far the numbers would
move on other images like these; they say nothing of other seeds of the training, whose spread
stands beside them where several are given.

AP of few images is too high on average: the highest precision from a recall on is a maximum over
noise, and a class that a sample lacks drops out of the mean. A resample does to the sample what the
sample did to the world, so its draws lie too high twice over, and their plain percentiles would
cover the truth for AP over all classes half of the time. The basic interval turns them about the
value and takes that away. Differences hardly have it.
"""

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from mmclarity.utils.cpus import available_cpus

from .coco_eval import BoxEval
from .label_files import Labelled
from .resampled_ap import NUMBERS, ResampledAP, draw_weights

#: Names of the numbers in tables.
TITLES = dict(zip(NUMBERS, ('AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large')))
_CHUNK = 250  # draws of one random stream
_STREAMS = 8  # evaluated at a time: 16 MB of weights for 1,000 images


@dataclass
class Estimate:
    """A number with its interval.

    Attributes:
        value: On the images as they are; NaN where there is nothing to find.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass
class Row:
    """One number of one part of the data, for all detectors.

    Attributes:
        part: ``'all'``, ``'weather/rainy'``, ``'class/car'``...
        number: One of :data:`~mmclarity.detection.evaluation.resampled_ap.NUMBERS`.
        images: Images in it.
        objects: Objects to find in it, of all sizes.
        values: Of each detector, in [0, 1].
        differences: Of each detector but the first: its value less the first one's.
        p: Of each difference, two-sided; see :func:`two_sided`.
        valid: Share of draws in which there was something to find.
        seed_values: (detectors, seeds): of each seed, on the images as they are.
    """

    part: str
    number: str
    images: int
    objects: int
    values: list[Estimate]
    differences: list[Estimate]
    p: list[float]
    valid: float
    seed_values: np.ndarray


@dataclass
class Comparison:
    """What :func:`compare` found.

    Attributes:
        names: Of the detectors.
        rows: Numbers of all images first, then of classes, then of groups of images.
        draws: Number of resamples.
        confidence: Of the intervals.
        seed: Of the random draws.
        seeds: Number of seeds (files) of each detector.
        notes: What a reader of the numbers should know.
    """

    names: list[str]
    rows: list[Row]
    draws: int
    confidence: float
    seed: int
    seeds: int
    notes: list[str]


def compare(
    labelled: Labelled,
    detectors: Mapping[str, Sequence[Sequence[dict]]],
    categories: Mapping[int, str],
    groups: Mapping[str, Sequence[int]] | None = None,
    draws: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    max_dets: int = 100,
    area_scale: float | np.ndarray = 1.0,
) -> Comparison:
    """Compares each detector with the first.

    Args:
        labelled: Images and ground truth.
        detectors: Detections by name of the detector: one list for each seed, as many for every
            detector. Seeds of the same place are a pair; a detector's number is the mean over its
            seeds, on the same draw of images for all.
        categories: Names of the categories to evaluate, by id.
        groups: Images by name, evaluated on their own; attributes of the images by default.
        draws: Number of resamples.
        confidence: Of the intervals, in (0, 1).
        seed: Random seed.
        max_dets: Detections counted for each image and class.
        area_scale: As for :class:`BoxEval`.

    Raises:
        ValueError: If a number lies out of its range, or detectors have differently many seeds.
    """
    counts = {len(files) for files in detectors.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            'every detector needs as many result files (seeds) as the others: '
            f'{ {name: len(files) for name, files in detectors.items()} }'
        )
    if draws < 1 or not 0 < confidence < 1:
        raise ValueError(f'draws must be positive and confidence in (0, 1): {draws}, {confidence}')
    groups = labelled.groups() if groups is None else dict(groups)
    seeds = counts.pop()
    jobs = [
        (labelled.gts, dts, len(labelled.names), list(categories), max_dets, area_scale, groups)
        for files in detectors.values()
        for dts in files
    ]
    curves = match_all(jobs)
    shape = (len(detectors), seeds)
    exact = np.stack([curve.identity() for curve in curves])
    exact = exact.reshape(*shape, *exact.shape[1:])
    drawn = _draw(curves, shape, len(labelled.names), draws, seed)
    places = _order(curves[0].rows, groups)
    counted = [_counts(labelled, name, categories, groups) for _, name in places]
    rows = [
        _row(name, place, number, categories, counts, exact, drawn, confidence)
        for (place, name), counts in zip(places, counted)
        for number in range(len(NUMBERS))
    ]
    notes = list(labelled.notes)
    if seeds > 1:
        notes.append(
            f'{seeds} seeds each, paired in the order given: numbers are means over seeds. '
            'Intervals come from drawing images, the same for all seeds; they do not hold the '
            'spread of the seeds, which is listed apart.'
        )
    return Comparison(list(detectors), rows, draws, confidence, seed, seeds, notes)


def _match(job: tuple) -> ResampledAP:
    gts, dts, num_images, categories, max_dets, area_scale, groups = job
    evaluation = BoxEval(gts, dts, num_images, categories, max_dets, area_scale)
    return ResampledAP(evaluation, groups=groups)


def match_all(jobs: Sequence[tuple]) -> list[ResampledAP]:
    """Matches each job's detections, several files at a time where the system can fork."""
    workers = min(len(jobs), available_cpus())
    if workers < 2 or sys.platform != 'linux' or len(jobs[0][1]) < 5000:
        return [_match(job) for job in jobs]
    with ProcessPoolExecutor(workers, multiprocessing.get_context('fork')) as pool:
        return list(pool.map(_match, jobs))


def _draw(
    curves: Sequence[ResampledAP], shape: tuple[int, int], images: int, draws: int, seed: int
) -> np.ndarray:
    """(detectors, draws, rows, numbers): means over the seeds, the same draws for all."""
    parts = []
    streams = np.random.SeedSequence(seed).spawn(-(-draws // _CHUNK))
    for first in range(0, len(streams), _STREAMS):
        weights = np.concatenate(
            [
                draw_weights(images, min(_CHUNK, draws - place * _CHUNK), streams[place])
                for place in range(first, min(first + _STREAMS, len(streams)))
            ]
        )
        values = np.stack([curve.evaluate(weights) for curve in curves])
        parts.append(values.reshape(*shape, *values.shape[1:]).mean(axis=1))
    return np.concatenate(parts, axis=1)


def _order(rows: Sequence, groups: Mapping[str, Sequence[int]]) -> list[tuple[int, object]]:
    """All images, the classes, the groups, with their places among the rows."""
    places = list(enumerate(rows))
    first = 1 + len(groups)
    return [places[0], *places[first:], *places[1:first]]


def _counts(
    labelled: Labelled,
    name: object,
    categories: Mapping[int, str],
    groups: Mapping[str, Sequence[int]],
) -> tuple[int, int]:
    """Images and objects to find of a row."""
    images = set(groups[name]) if name in groups else set(range(len(labelled.names)))
    wanted = {name[1]} if isinstance(name, tuple) else set(categories)
    objects = sum(
        gt['category_id'] in wanted and not gt['iscrowd'] and gt['image_id'] in images
        for gt in labelled.gts
    )
    return len(images), objects


def _row(
    name: object,
    place: int,
    number: int,
    categories: Mapping[int, str],
    counts: tuple[int, int],
    exact: np.ndarray,
    drawn: np.ndarray,
    confidence: float,
) -> Row:
    category = name[1] if isinstance(name, tuple) else None
    seed_values = exact[:, :, place, number]
    values, draws = seed_values.mean(axis=1), drawn[:, :, place, number]
    valid = ~np.isnan(draws).any(axis=0)
    changes = draws[1:] - draws[0]
    return Row(
        part=f'class/{categories[category]}' if category is not None else str(name),
        number=NUMBERS[number],
        images=counts[0],
        objects=counts[1],
        values=[interval(v, d[valid], confidence) for v, d in zip(values, draws)],
        differences=[
            interval(v - values[0], d[valid], confidence) for v, d in zip(values[1:], changes)
        ],
        p=[two_sided(v - values[0], d[valid]) for v, d in zip(values[1:], changes)],
        valid=float(valid.mean()),
        seed_values=seed_values,
    )


def interval(value: float, draws: np.ndarray, confidence: float) -> Estimate:
    """A value with its basic bootstrap interval; NaN where there are no draws.

    Davison and Hinkley (1997), eq. 5.6: the percentiles of the draws, mirrored at the value.
    """
    if not len(draws) or np.isnan(value):
        return Estimate(float(value), float('nan'), float('nan'))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(2 * value - high), float(2 * value - low))


def two_sided(value: float, draws: np.ndarray) -> float:
    """Significance of a difference: how often draws stray from it by as much as it is from zero.

    The test that belongs to :func:`interval`: twice the share of the rarer side, at most 1. One is
    added above and below (Davison and Hinkley 1997, eq. 4.11), so that it is never zero.
    """
    if not len(draws) or np.isnan(value):
        return float('nan')
    beyond = min((draws >= 2 * value).sum(), (draws <= 2 * value).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(draws) + 1)))
