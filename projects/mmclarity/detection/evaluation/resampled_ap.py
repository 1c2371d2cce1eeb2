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
from mmclarity.utils.jit import compiled

from .coco_eval import SUMMARY, BoxEval

#: The numbers of each row, as :data:`SUMMARY` has them.
NUMBERS = tuple(SUMMARY)
#: COCO's area ranges in the order of ``BoxEval``; its IoU thresholds; its recall thresholds.
_AREAS, _IOUS, _RECALLS = 4, 10, 101


@dataclass
class _Lists:
    """Flat arrays with offsets: what the compiled loop reads.

    A *cell* is a group of images, a category and an area range, numbered in this order.

    Attributes:
        base_image: Images of the detections that are wrong unless matched, by falling score.
        base_start: (cells + 1, ): where a cell's begin.
        event_image: Images of the detections that are right, or ignored when matched.
        event_upto: How many of the cell's base detections stand up to and with this one.
        event_right: 1 where the detection is right.
        event_extra: 1 or -1 where it counts though it is not in the base, or the reverse.
        event_run: At the first event of a run of equal scores in one image, the number of events
            in it; 0 elsewhere.
        event_run_base: (events, 2): base detections before and up to the end of that run.
        event_start: (cells * thresholds + 1, ): where a cell's begin, threshold by threshold.
        gt_image: Images with ground truth to find.
        gt_count: How many each has.
        gt_start: (cells + 1, ): where a cell's begin.
    """

    base_image: np.ndarray
    base_start: np.ndarray
    event_image: np.ndarray
    event_upto: np.ndarray
    event_right: np.ndarray
    event_extra: np.ndarray
    event_run: np.ndarray
    event_run_base: np.ndarray
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
            for place in range(self.num_categories * _AREAS)
        ]
        self._lists = _flatten(blocks, member)
        self._recalls = np.asarray(params.recThrs, dtype=np.float64)

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
        weights = np.asarray(weights)
        if weights.ndim != 2 or weights.shape[1] != self.num_images:
            raise ValueError(
                f'weights must be (resamples, {self.num_images} images), got {weights.shape}'
            )
        if weights.dtype.kind not in 'iub' or (weights.size and weights.min() < 0):
            raise ValueError('weights must be whole numbers from 0: how often each image counts')
        weights = np.ascontiguousarray(weights, dtype=np.int32)
        out = np.full((len(weights), len(self.rows), len(NUMBERS)), np.nan)
        threads = max(1, min(threads or available_cpus(), len(weights)))
        parts = np.array_split(np.arange(len(weights)), threads)
        sizes = (self.num_groups, self.num_categories)

        def work(part: np.ndarray) -> None:
            _evaluate(weights, part, *sizes, self._recalls, *self._lists.arguments(), out)

        if threads == 1:
            work(parts[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, parts))
        return out

    def identity(self) -> np.ndarray:
        """(rows, numbers): every image once, which is what pycocotools says."""
        return self.evaluate(np.ones((1, self.num_images), dtype=np.int32), threads=1)[0]


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
        empty = np.zeros((_IOUS, 0), dtype=bool)
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
            upto = np.cumsum(in_base)
            for right, wrong in zip(block.right, block.wrong):
                extra = (right | wrong).astype(np.int8) - in_base
                events.append(_events(block, right, extra, upto, chosen))
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


def _events(
    block: _Block, right: np.ndarray, extra: np.ndarray, upto: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, ...]:
    """One threshold's events of one cell: columns of :class:`_Lists`, in their order."""
    places = np.flatnonzero((right | (extra != 0)) & chosen)
    run, run_base = np.zeros(len(places), np.int32), np.zeros((len(places), 2), np.int32)
    if len(places):
        # runs by number; those of one detection need no walk
        first = np.searchsorted(block.run, block.run[places], side='left')
        end = np.searchsorted(block.run, block.run[places], side='right')
        _, starts, counts = np.unique(block.run[places], return_index=True, return_counts=True)
        several = end[starts] - first[starts] > 1
        run[starts[several]] = counts[several]
        run_base[:, 0] = np.where(first > 0, upto[first - 1], 0)
        run_base[:, 1] = upto[end - 1]
    return (
        block.image[places],
        upto[places].astype(np.int32),
        right[places].astype(np.int8),
        extra[places].astype(np.int8),
        run,
        run_base,
    )


@compiled
def _needed(recalls, total, needed):  # pragma: no cover
    """The least number of right ones of ``total`` that reaches each recall, by division."""
    for place in range(len(recalls)):
        count = int(recalls[place] * total)
        needed[place] = count if count / total >= recalls[place] else count + 1


@compiled
def _precision(
    weights, low, high, image, upto, right, extra, run, run_base, wrong, needed, best
):  # pragma: no cover
    """Mean over the recall thresholds of one curve's highest precision from there on.

    ``best`` keeps the highest precision between two neighbouring recall thresholds.
    """
    best[:] = 0.0
    rights, extras, reached = 0, 0, -1
    last = len(needed) - 1
    event = low
    while event < high:
        weight = weights[image[event]]
        members = run[event]
        if members == 0 or weight < 2:
            rights += weight * right[event]
            extras += weight * extra[event]
            if right[event]:
                while reached < last and rights >= needed[reached + 1]:
                    reached += 1
                value = rights / (wrong[upto[event]] + extras + 1e-300)
                if reached >= 0:
                    best[reached] = max(best[reached], value)
            event += 1
            continue
        before, length = run_base[event, 0], run_base[event, 1] - run_base[event, 0]
        for copy in range(weight):
            for item in range(event, event + members):
                rights += right[item]
                extras += extra[item]
                if right[item]:
                    while reached < last and rights >= needed[reached + 1]:
                        reached += 1
                    total = wrong[before] + copy * length + upto[item] - before + extras
                    best[reached] = max(best[reached], rights / total)
        event += members
    highest, total = 0.0, 0.0
    for place in range(last, -1, -1):
        highest = max(highest, best[place])
        total += highest
    return total / len(needed)


@compiled
def _evaluate(
    weights,
    chosen,
    num_groups,
    num_categories,
    recalls,
    base_image,
    base_start,
    event_image,
    event_upto,
    event_right,
    event_extra,
    event_run,
    event_run_base,
    event_start,
    gt_image,
    gt_count,
    gt_start,
    out,
):  # pragma: no cover
    """Fills ``out`` for the resamples ``chosen``; see :meth:`ResampledAP.evaluate`."""
    longest = 0
    for cell in range(len(base_start) - 1):
        longest = max(longest, base_start[cell + 1] - base_start[cell])
    wrong = np.zeros(longest + 1, dtype=np.int32)
    needed = np.zeros(len(recalls), dtype=np.int32)
    best = np.zeros(len(recalls))
    values = np.zeros((num_categories, 6))  # AP, AP50, AP75, small, medium, large
    for draw in chosen:
        weight = weights[draw]
        for group in range(num_groups):
            for category in range(num_categories):
                values[category] = np.nan
                for area in range(4):
                    cell = (group * num_categories + category) * 4 + area
                    total = 0
                    for item in range(gt_start[cell], gt_start[cell + 1]):
                        total += weight[gt_image[item]] * gt_count[item]
                    if total == 0:
                        continue
                    _needed(recalls, total, needed)
                    begin = base_start[cell]
                    count = 0  # no reading back of what was just written: it is slow
                    for item in range(base_start[cell + 1] - begin):
                        count += weight[base_image[begin + item]]
                        wrong[item + 1] = count
                    mean = 0.0
                    for iou in range(10):
                        place = cell * 10 + iou
                        value = _precision(
                            weight,
                            event_start[place],
                            event_start[place + 1],
                            event_image,
                            event_upto,
                            event_right,
                            event_extra,
                            event_run,
                            event_run_base,
                            wrong,
                            needed,
                            best,
                        )
                        mean += value / 10
                        if area == 0 and iou == 0:
                            values[category, 1] = value
                        elif area == 0 and iou == 5:
                            values[category, 2] = value
                    values[category, 0 if area == 0 else 2 + area] = mean
                if group == 0:
                    out[draw, num_groups + category] = values[category]
            for number in range(6):
                count, sum_ = 0, 0.0
                for category in range(num_categories):
                    if not np.isnan(values[category, number]):
                        count += 1
                        sum_ += values[category, number]
                out[draw, group, number] = sum_ / count if count else np.nan
