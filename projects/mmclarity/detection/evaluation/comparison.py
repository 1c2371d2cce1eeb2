"""Is one detector better than another? A paired bootstrap over images.

Both detectors are judged on the same draws of images, so that what makes an image hard falls out of
the difference (Efron and Tibshirani 1993, chapter 16). Intervals tell how far the numbers would
move on other images like these; they say nothing of other seeds of the training, whose spread
stands beside them where several are given, with an interval of the differences that holds both.

Frames of one recording resemble one another: they are one thing seen several times, and drawn
together if told so (``units``). Drawn one by one, intervals would be too narrow.

AP of few images is too high on average: the highest precision from a recall on is a maximum over
noise. A resample does to the sample what the sample did to the world, so its draws lie too high
once more, and by how much tells the bias: the interval of one detector's value is moved by it.
Differences hardly have it, and keep their place.

An interval's width is the spread of the draws times a quantile of Student's t. A class that only a
few images hold has a spread that is known but roughly; its degrees of freedom are the images that
hold it less one, and those of a mean over classes follow from theirs (Welch and Satterthwaite). A
class that a draw lacks counts there with its value on all images: dropping out, it would move the
mean by more than all the rest, and say nothing of how well it is found.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from mmclarity.utils.cpus import available_cpus

from .intervals import (
    NOTHING,
    Estimate,
    change,
    degrees_of_freedom,
    interval,
    over_seeds,
    two_sided,
)
from .labelled import Labelled
from .resampled_ap import NUMBERS, ResampledAP, draw_weights, match, mean_of_known

#: Names of the numbers in tables.
TITLES = dict(zip(NUMBERS, ('AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large')))
_LARGE = 10_000  # detections of a file: a second; less is not worth a process
_CHUNK = 250  # draws of one random stream
_STREAMS = 8  # evaluated at a time, at most: 16 MB of weights for 1,000 images
_VALUES = 12_000_000  # evaluated at a time: 96 MB


@dataclass
class Row:
    """One number of one part of the data, for all detectors.

    Attributes:
        part: ``'all'``, ``'weather/rainy'``, ``'class/car'``...
        number: One of :data:`~mmclarity.detection.evaluation.resampled_ap.NUMBERS`.
        images: Images in it.
        objects: Objects to find in it, of all sizes.
        holding: Units (images, or what is drawn together) that hold what the number asks for.
        values: Of each detector, in [0, 1].
        differences: Of each detector but the first: its value less the first one's.
        p: Of each difference, two-sided; see :func:`two_sided`.
        valid: Share of draws in which there was something to find.
        seed_values: (detectors, seeds): of each seed, on the images as they are.
        over_seeds: Of each difference: the interval for other seeds and other images.
    """

    part: str
    number: str
    images: int
    objects: int
    holding: int
    values: list[Estimate]
    differences: list[Estimate]
    p: list[float]
    valid: float
    seed_values: np.ndarray
    over_seeds: list[Estimate]


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
        drawn: What is drawn, e.g. ``'images'``.
    """

    names: list[str]
    rows: list[Row]
    draws: int
    confidence: float
    seed: int
    seeds: int
    notes: list[str]
    drawn: str = 'images'


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
    units: Sequence[Hashable] | None = None,
    drawn_as: str = 'images',
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
        units: Of each image, what it is drawn with, e.g. its recording; each on its own by default.
        drawn_as: What the units are called.

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
    once = np.ones((1, len(labelled.names)), dtype=np.int32)
    exact = np.stack([curve.categories(once, threads=1)[0] for curve in curves])
    exact = exact.reshape(*shape, *exact.shape[1:])
    members = np.arange(len(labelled.names))
    if units is not None:
        members = np.unique(list(units), return_inverse=True)[1]
    each, any_of = curves[0].holding(members)
    drawn = _draw(curves, exact, draws, seed, members, each)
    holding = np.concatenate([any_of, each[0]])
    places = _order(curves[0].rows, groups)
    counted = [_counts(labelled, name, categories, groups) for _, name in places]
    rows = [
        _row(name, place, number, categories, counts, exact, drawn, confidence, holding)
        for (place, name), counts in zip(places, counted)
        for number in range(len(NUMBERS))
    ]
    notes = list(labelled.notes)
    if seeds > 1:
        notes.append(
            f'{seeds} seeds each, paired in the order given: numbers are means over seeds. '
            f'Intervals and p come from drawing {drawn_as}, the same for all seeds; they do not '
            'hold the spread of the seeds, which is listed apart, with intervals that do.'
        )
    return Comparison(list(detectors), rows, draws, confidence, seed, seeds, notes, drawn_as)


def match_all(jobs: Sequence[tuple]) -> list[ResampledAP]:
    """Matches each job's detections, several files at a time where they are large."""
    workers = min(len(jobs), available_cpus())
    if workers < 2 or len(jobs[0][1]) < _LARGE:
        return [match(job) for job in jobs]
    # started anew: a forked one may wait for ever for a lock that a thread of torch held
    return Parallel(workers)(delayed(match)(job) for job in jobs)


@dataclass
class _Draws:
    """What the draws gave. Means over the seeds; rows as :class:`ResampledAP` has them.

    Attributes:
        rows: (detectors, draws, rows, numbers); NaN where a draw holds nothing to find.
        freedom: (detectors, rows, numbers): degrees of freedom of the values' spread.
        change_freedom: (detectors - 1, rows, numbers): those of the differences'.
    """

    rows: np.ndarray
    freedom: np.ndarray
    change_freedom: np.ndarray


def _draw(
    curves: Sequence[ResampledAP],
    exact: np.ndarray,
    draws: int,
    seed: int,
    members: np.ndarray,
    holding: np.ndarray,
) -> _Draws:
    """Draws units of images, the same for all.

    Args:
        curves: Of each detector and seed.
        exact: (detectors, seeds, groups, categories, numbers).
        draws: How many.
        seed: Of the random draws.
        members: (images, ): the unit of each, from 0.
        holding: (groups, categories, numbers): units that hold something to find.
    """
    shape, units = exact.shape[:2], int(members.max()) + 1
    whole = exact.mean(axis=1)
    parts, moments = [], np.zeros((2, 2 * len(whole) - 1, *whole.shape[1:]))
    streams = np.random.SeedSequence(seed).spawn(-(-draws // _CHUNK))
    at_a_time = max(1, min(_STREAMS, _VALUES // (_CHUNK * exact.size)))
    for first in range(0, len(streams), at_a_time):
        weights = np.concatenate(
            [
                draw_weights(units, min(_CHUNK, draws - place * _CHUNK), streams[place])
                for place in range(first, min(first + at_a_time, len(streams)))
            ]
        )
        values = np.stack([curve.categories(weights[:, members]) for curve in curves])
        values = values.reshape(*shape, *values.shape[1:]).mean(axis=1)
        missing = np.isnan(values)
        means = mean_of_known(np.where(missing, whole[:, None], values), axis=3)
        means[missing.all(axis=3)] = np.nan  # no image of this group, or none with an object
        parts.append(np.concatenate([means, values[:, :, 0]], axis=2))
        strays = np.where(missing, 0, values - whole[:, None])
        strays = np.concatenate([strays, strays[1:] - strays[:1]])
        moments += strays.sum(axis=1), (strays**2).sum(axis=1)
    variances = np.maximum(moments[1] / draws - (moments[0] / draws) ** 2, 0)
    freedom = degrees_of_freedom(variances, holding)
    return _Draws(np.concatenate(parts, axis=1), freedom[: len(whole)], freedom[len(whole) :])


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
    drawn: _Draws,
    confidence: float,
    holding: np.ndarray,
) -> Row:
    category = name[1] if isinstance(name, tuple) else None
    groups = exact.shape[2]
    known = exact[:, :, 0, place - groups] if category is not None else exact[:, :, place]
    seed_values = known[..., number]
    if category is None:
        seed_values = mean_of_known(seed_values, axis=2)
    values, draws = seed_values.mean(axis=1), drawn.rows[:, :, place, number]
    draws = draws[:, ~np.isnan(draws).any(axis=0)]
    changes, strays = values[1:] - values[0], draws[1:] - draws[0]
    freedom = drawn.change_freedom[:, place, number]
    # Where no draw moves either detector (AP 0 of three objects), their difference is not known.
    moved = draws.std(axis=1) > NOTHING if draws.size else np.zeros(len(draws), dtype=bool)
    strays = [one if moved[0] or own else one[:0] for one, own in zip(strays, moved[1:])]
    pairs = seed_values[1:] - seed_values[:1]
    return Row(
        part=f'class/{categories[category]}' if category is not None else str(name),
        number=NUMBERS[number],
        images=counts[0],
        objects=counts[1],
        holding=int(holding[place, number]),
        values=[
            interval(*item, confidence, biased=True)
            for item in zip(values, draws, drawn.freedom[:, place, number])
        ],
        differences=[change(*item, confidence) for item in zip(changes, strays, freedom)],
        p=[two_sided(*item) for item in zip(changes, strays, freedom)],
        valid=draws.shape[1] / drawn.rows.shape[1],
        seed_values=seed_values,
        over_seeds=[over_seeds(*item, confidence) for item in zip(pairs, strays, freedom)],
    )
