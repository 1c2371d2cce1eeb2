"""Average precision over any multiset of images, from one matching: for the bootstrap.

Matching detections to ground truth depends on nothing but the image they are in. A resample of the
images therefore changes only how often each image counts, and AP over it needs no second matching:
what stands in one list ordered by score is added up with the images' counts as weights.

Only three things move the curve: detections that are right at a threshold, those that are ignored
at this threshold although they count as wrong at others, and the number of wrong ones before them.
The last is added up once for all thresholds. Detections of one image and class with the same score
are the one case in which a weight is not enough: in a list that holds the image twice they follow
one another as a whole, twice (``COCOeval`` sorts stably), so these are walked through copy by copy.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mmclarity.utils.cpus import available_cpus

from ._resampled_loop import AREAS, FIRST, IOUS, LANES, LAST, RECALLS, RIGHT, evaluate
from .coco_eval import SUMMARY, BoxEval

#: The numbers of each row, as :data:`SUMMARY` has them.
NUMBERS = tuple(SUMMARY)


@dataclass
class _Lists:
    """Flat arrays with offsets: what the compiled loop reads.

    A *cell* is a group of images, a category and an area range, numbered in this order. An *event*
    is a detection at a threshold at which it is right, or counts otherwise than in the base.
    Events of a threshold that are right, with nothing wrong between them, are a *streak*: precision
    is highest at its last, and the recalls within it all see that.

    Attributes:
        base_image: Images of the detections that are wrong unless matched, by falling score.
        base_start: (cells + 1, ): where a cell's begin.
        image: Images of the events, by falling score, a detection's by threshold.
        upto: How many of the cell's base detections stand up to and with this one.
        iou: The threshold, by place.
        kind: Sum of :data:`RIGHT`, and :data:`LAST` and :data:`FIRST` of a streak.
        extra: 1 or -1 where it counts though it is not in the base, or the reverse.
        run: At the last event of a run of equal scores in one image, the number of events in it; 0
            elsewhere.
        run_base: (events, 2): base detections before and up to the end of that run.
        event_start: (cells + 1, ): where a cell's begin.
        gt_image: Images with ground truth to find.
        gt_count: How many each has.
        gt_start: (cells + 1, ): where a cell's begin.
    """

    base_image: np.ndarray
    base_start: np.ndarray
    image: np.ndarray
    upto: np.ndarray
    iou: np.ndarray
    kind: np.ndarray
    extra: np.ndarray
    run: np.ndarray
    run_base: np.ndarray
    event_start: np.ndarray
    gt_image: np.ndarray
    gt_count: np.ndarray
    gt_start: np.ndarray

    def arguments(self) -> tuple[np.ndarray, ...]:
        """All arrays in the order of the compiled loop's parameters."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


class ResampledAP:
    """The numbers of COCO over weighted images.

    Args:
        evaluation: Ground truth and detections.
        matches: Result of ``evaluation.match()``; matched here by default.
        groups: Further rows: images by name of the group. The first row is always all images.

    Attributes:
        rows: Names of the rows: ``'all'``, the groups, and categories as ``('class', id)``.
    """

    def __init__(
        self,
        evaluation: BoxEval,
        matches: list[dict | None] | None = None,
        groups: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        params = evaluation.params
        self.num_images = len(params.imgIds)
        self.num_categories = len(params.catIds)
        groups = dict(groups or {})
        self.num_groups = 1 + len(groups)
        self.rows = ['all', *groups, *(('class', number) for number in params.catIds)]
        member = np.zeros((self.num_groups, self.num_images), dtype=bool)
        member[0] = True
        for place, images in enumerate(groups.values(), 1):
            member[place, np.asarray(images, dtype=np.int64)] = True
        matches = evaluation.match() if matches is None else matches
        blocks = [
            _sorted_block(matches[place * self.num_images : (place + 1) * self.num_images])
            for place in range(self.num_categories * AREAS)
        ]
        self._lists = _flatten(blocks, member)
        if not np.array_equal(params.recThrs, RECALLS) or len(params.iouThrs) != IOUS:
            raise ValueError('only the thresholds of COCO can be resampled')

    def evaluate(self, weights: np.ndarray, threads: int | None = None) -> np.ndarray:
        """Evaluates several resamples.

        Args:
            weights: (resamples, images): how often each image counts, whole numbers from 0.
            threads: How many work at it; one for each processor by default.

        Returns:
            (resamples, rows, numbers) of :data:`NUMBERS` in [0, 1]; NaN where a resample holds
            nothing to find.

        Raises:
            ValueError: If ``weights`` has another shape, or is no array of whole numbers from 0.
        """
        values = self.categories(weights, threads)
        return np.concatenate([mean_of_known(values, axis=2), values[:, 0]], axis=1)

    def categories(self, weights: np.ndarray, threads: int | None = None) -> np.ndarray:
        """As :meth:`evaluate`, category by category: (resamples, groups, categories, numbers)."""
        weights = np.asarray(weights)
        if weights.ndim != 2 or weights.shape[1] != self.num_images:
            raise ValueError(
                f'weights must be (resamples, {self.num_images} images), got {weights.shape}'
            )
        if weights.dtype.kind not in 'iub' or (weights.size and weights.min() < 0):
            raise ValueError('weights must be whole numbers from 0: how often each image counts')
        batches = -(-len(weights) // LANES)
        lanes = np.zeros((batches * LANES, self.num_images), dtype=np.int32)
        lanes[: len(weights)] = weights
        lanes = lanes.reshape(batches, LANES, self.num_images).transpose(0, 2, 1).copy()
        sizes = (self.num_groups, self.num_categories)
        out = np.full((batches, LANES, *sizes, len(NUMBERS)), np.nan)
        threads = max(1, min(threads or available_cpus(), batches))
        parts = np.array_split(np.arange(batches), threads)

        def work(part: np.ndarray) -> None:
            evaluate(lanes, part, *sizes, *self._lists.arguments(), out)

        if threads == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, parts))
        return out.reshape(-1, *sizes, len(NUMBERS))[: len(weights)]

    def images_with_objects(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Images that hold something to find.

        Args:
            weights: (images, ): how often each counts; once by default.

        Returns:
            (groups, categories, numbers).
        """
        lists = self._lists
        each = np.ones(self.num_images, np.int64) if weights is None else np.asarray(weights)
        sums = np.concatenate([[0], np.cumsum(each[lists.gt_image])])
        counts = np.diff(sums[lists.gt_start])
        counts = counts.reshape(self.num_groups, self.num_categories, AREAS)
        return counts[..., [0, 0, 0, 1, 2, 3]]

    def holding(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many units (images, or recordings of several) hold something to find.

        Args:
            units: (images, ): the unit of each.

        Returns:
            (groups, categories, numbers), and of any category (groups, numbers).
        """
        shape = (self.num_groups, self.num_categories, AREAS)
        lists, cells = self._lists, np.arange(np.prod(shape)).reshape(shape)

        def count(chosen: np.ndarray) -> int:
            places = [lists.gt_image[lists.gt_start[c] : lists.gt_start[c + 1]] for c in chosen]
            return len(np.unique(units[np.concatenate(places)])) if places else 0

        each = np.array([count([cell]) for cell in cells.ravel()], dtype=np.int64).reshape(shape)
        any_of = np.array([[count(group[:, k]) for k in range(AREAS)] for group in cells])
        return each[..., [0, 0, 0, 1, 2, 3]], any_of[..., [0, 0, 0, 1, 2, 3]]

    def identity(self) -> np.ndarray:
        """(rows, numbers): every image once, which is what pycocotools says."""
        return self.evaluate(np.ones((1, self.num_images), dtype=np.int32), threads=1)[0]


def match(job: tuple) -> ResampledAP:
    """Matches one file: arguments of :class:`BoxEval`, and the groups, in a tuple."""
    gts, dts, num_images, categories, max_dets, area_scale, groups = job
    evaluation = BoxEval(gts, dts, num_images, categories, max_dets, area_scale)
    return ResampledAP(evaluation, groups=groups)


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    with np.errstate(invalid='ignore'):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def draw_weights(
    num_images: int, draws: int, seed: int | np.random.SeedSequence | np.random.Generator
) -> np.ndarray:
    """Bootstrap resamples of the images, with replacement.

    Args:
        num_images: How many there are, and how many are drawn.
        draws: Number of resamples.
        seed: Random seed, or what draws.

    Returns:
        (draws, images): how often each image was drawn.
    """
    rng = np.random.default_rng(seed)
    # counts of n draws with equal chances; a multinomial is quicker than counting draws
    return rng.multinomial(
        num_images, np.full(num_images, 1 / max(num_images, 1)), size=draws
    ).astype(np.int32)


@dataclass
class _Block:
    """Detections of a category and area range, by falling score, and what there is to find.

    Attributes:
        image: (detections, ).
        run: (detections, ): number of the run of equal scores within one image.
        right: (thresholds, detections): right, or (``wrong``) wrong; neither where ignored.
        wrong: (thresholds, detections).
        gts: (images, ): what there is to find in each.
    """

    image: np.ndarray
    run: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    gts: np.ndarray


def _sorted_block(results: Sequence[dict | None]) -> _Block:
    """Joins COCO's results of one category and area range, image after image."""
    found = [(place, item) for place, item in enumerate(results) if item is not None]
    gts = np.zeros(len(results), dtype=np.int32)
    for place, item in found:
        gts[place] = int((np.asarray(item['gtIgnore']) == 0).sum())
    if not found:
        empty = np.zeros((IOUS, 0), dtype=bool)
        return _Block(np.zeros(0, np.int32), np.zeros(0, np.int32), empty, empty, gts)
    counts = [len(item['dtScores']) for _, item in found]
    image = np.repeat([place for place, _ in found], counts).astype(np.int32)
    scores = np.concatenate([np.asarray(item['dtScores'], np.float64) for _, item in found])
    order = np.argsort(-scores, kind='mergesort')  # as COCOeval has it
    image, scores = image[order], scores[order]
    matched = np.concatenate([item['dtMatches'] for _, item in found], axis=1)[:, order] > 0
    ignored = np.concatenate([item['dtIgnore'] for _, item in found], axis=1)[:, order] > 0
    new = np.ones(len(image), dtype=bool)
    new[1:] = (image[1:] != image[:-1]) | (scores[1:] != scores[:-1])
    return _Block(image, np.cumsum(new), matched & ~ignored, ~matched & ~ignored, gts)


def _flatten(blocks: Sequence[_Block], member: np.ndarray) -> _Lists:
    """All cells of all groups as flat arrays."""
    base, events, gts = [], [], []
    for images in member:
        for block in blocks:
            chosen = images[block.image] if len(block.image) else np.zeros(0, dtype=bool)
            in_base = block.wrong.any(axis=0) & chosen
            base.append(block.image[in_base])
            events.append(_events(block, chosen, in_base))
            places = np.flatnonzero((block.gts > 0) & images)
            gts.append((places.astype(np.int32), block.gts[places]))

    def start(lengths: Sequence[int]) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    columns = [np.concatenate(column) for column in zip(*events)]
    return _Lists(
        np.concatenate(base),
        start([len(item) for item in base]),
        *columns,
        start([len(item[0]) for item in events]),
        np.concatenate([places for places, _ in gts]),
        np.concatenate([counts for _, counts in gts]).astype(np.int32),
        start([len(places) for places, _ in gts]),
    )


def _events(block: _Block, chosen: np.ndarray, in_base: np.ndarray) -> tuple[np.ndarray, ...]:
    """Events of one cell: columns of :class:`_Lists`, in their order."""
    right = block.right & chosen
    extra = (right | (block.wrong & chosen)).astype(np.int8) - in_base
    upto = np.cumsum(in_base, dtype=np.int32)
    _, run_of, lengths = np.unique(block.run, return_inverse=True, return_counts=True)
    several = (lengths[run_of] > 1) if len(run_of) else np.zeros(0, dtype=bool)
    kind = _streaks(right, upto, extra, several)
    places, ious = np.nonzero((right | (extra != 0)).T)
    run, run_base = np.zeros(len(places), np.int32), np.zeros((len(places), 2), np.int32)
    if several.any():  # a run of one needs no walk
        ends = np.cumsum(lengths)
        end, begin = ends[run_of[places]], (ends - lengths)[run_of[places]]
        _, last, counts = np.unique(run_of[places][::-1], return_index=True, return_counts=True)
        last = len(places) - 1 - last
        run[last] = np.where(several[places[last]], counts, 0)
        run_base[:, 0] = np.where(begin > 0, upto[begin - 1], 0)
        run_base[:, 1] = upto[end - 1]
    return (
        block.image[places],
        upto[places],
        ious.astype(np.int8),
        kind[ious, places],
        extra[ious, places],
        run,
        run_base,
    )


def _streaks(
    right: np.ndarray, upto: np.ndarray, extra: np.ndarray, several: np.ndarray
) -> np.ndarray:
    """(thresholds, detections): the kind of each; what is walked copy by copy is in no streak."""
    kind = np.where(right, RIGHT, 0).astype(np.int8)
    before = upto + np.cumsum(extra, axis=1) - np.cumsum(right, axis=1)  # wrong ones
    for row, found, wrong in zip(kind, right, before):
        places = np.flatnonzero(found)
        if len(places):
            new = np.ones(len(places) + 1, dtype=bool)
            alone = several[places]
            new[1:-1] = (np.diff(wrong[places]) != 0) | alone[1:] | alone[:-1]
            row[places] += FIRST * new[:-1] + LAST * new[1:]
    return kind
