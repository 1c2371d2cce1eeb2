"""Each mistake of a detector under one name, and what it costs: TIDE (Bolya et al., ECCV 2020).

At IoU 0.5, every detection that is not right is one of

* ``box``: of the right name, but overlaps its object by 0.1 to 0.5 only;
* ``name``: lies on an object (0.5) of another name;
* ``duplicate``: lies on an object of its name that a better-scoring detection has found;
* ``background``: overlaps nothing by more than 0.1;
* ``both``: anything else, as a rule wrong name and wrong box;

and ``missed`` is an object that is neither found nor meant by a ``name`` or ``box`` mistake. The
cost of a kind (dAP) is what AP50 would gain if all its mistakes were put right: a box or a name is
mended if it is the best-scoring attempt at an object not found otherwise, and goes if not; missed
objects are not asked for; the other kinds go. The costs do not add up to 100 - AP50: one mistake
hides others.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as mask_utils

from .ceilings import NEAR_OBJECT, ON_OBJECT
from .coco_eval import area_of

#: Kinds of mistakes, in the order of tables.
KINDS = ('name', 'box', 'both', 'duplicate', 'background', 'missed')
#: Names and upper limits of the sizes, in pixels squared (COCO's).
SIZES = {'small': 32**2, 'medium': 96**2, 'large': float('inf')}
_RECALLS = np.linspace(0.0, 1.0, 101)
_RIGHT, _IGNORED = 'right', 'ignored'


class ErrorKinds:
    """Every detection and object of a result file, with what became of it.

    Args:
        gts: Ground truth, as for :class:`BoxEval`. What lies in a crowd of its name by more than
            half is neither right nor wrong.
        dts: Detections, as for :class:`BoxEval`.
        num_images: Number of images.
        category_ids: Categories to evaluate; ground truth and detections of others are left out.
        max_dets: Best-scoring detections counted for each image and category.
        area_scale: As for :class:`BoxEval`; for the sizes of :meth:`size_of`.

    Attributes:
        category_ids: Sorted.
        dts: Detections that count, ordered by falling score.
        gts: Objects (no crowds).
        kind: (detections, ): ``'right'``, ``'ignored'``, or one of :data:`KINDS`.
        target: (detections, ): place of the object found or meant, -1 without.
        best: (detections, ): whether this ``name`` or ``box`` mistake is the best-scoring attempt
            at an object that is not found.
        found: (objects, ): whether a detection is right about it.
        missed: (objects, ).
    """

    def __init__(
        self,
        gts: Sequence[dict],
        dts: Sequence[dict],
        num_images: int,
        category_ids: Sequence[int],
        max_dets: int = 100,
        area_scale: float | Sequence[float] = 1.0,
    ) -> None:
        self.category_ids = sorted(category_ids)
        self.num_images = num_images
        self._scale = np.broadcast_to(np.asarray(area_scale, dtype=float), (num_images,))
        wanted = set(category_ids)
        self.gts = [gt for gt in gts if gt['category_id'] in wanted and not gt['iscrowd']]
        crowds = [gt for gt in gts if gt['category_id'] in wanted and gt['iscrowd']]
        self.dts = _best_scoring([dt for dt in dts if dt['category_id'] in wanted], max_dets)
        self.kind = np.full(len(self.dts), 'background', dtype='U10')
        self.target = np.full(len(self.dts), -1, dtype=np.int64)
        self.best = np.zeros(len(self.dts), dtype=bool)
        self._lies_on = self.target.copy()  # the object of another name that a `box` mistake is on
        self.found = np.zeros(len(self.gts), dtype=bool)
        self.missed = np.zeros(len(self.gts), dtype=bool)
        by_image = [_by_image(items) for items in (self.dts, self.gts, crowds)]
        for image in range(num_images):
            self._judge(*(places.get(image, []) for places in by_image), crowds)
        self._categories = np.array([dt['category_id'] for dt in self.dts], dtype=np.int64)
        self._images = np.array([dt['image_id'] for dt in self.dts], dtype=np.int64)
        self._gt_categories = np.array([gt['category_id'] for gt in self.gts], dtype=np.int64)
        self._gt_images = np.array([gt['image_id'] for gt in self.gts], dtype=np.int64)
        self.scores = np.array([dt['score'] for dt in self.dts], dtype=np.float64)

    def _judge(
        self, found: list[int], objects: list[int], in_crowds: list[int], crowds: Sequence[dict]
    ) -> None:
        """Judges one image: places of its detections (by falling score), objects and crowds."""
        names = np.array([self.gts[place]['category_id'] for place in objects])
        own_names = np.array([self.dts[place]['category_id'] for place in found])
        overlaps = _overlaps(
            [self.dts[place] for place in found], [self.gts[place] for place in objects], False
        )
        same = own_names[:, None] == names[None, :] if objects else np.zeros((len(found), 0), bool)
        taken = np.zeros(len(objects), dtype=bool)
        inside = self._inside(found, [crowds[place] for place in in_crowds])
        for row, place in enumerate(found):
            free = np.where(same[row] & ~taken, overlaps[row], -1.0)
            if len(free) and free.max() >= ON_OBJECT:
                taken[free.argmax()] = True
                self.kind[place], self.target[place] = _RIGHT, objects[free.argmax()]
            elif inside[row]:
                self.kind[place] = _IGNORED
        self.found[objects] = taken
        attempted: set[int] = set()
        for row, place in enumerate(found):
            if self.kind[place] in (_RIGHT, _IGNORED):
                continue
            kind, column = _kind(overlaps[row], same[row], taken)
            self.kind[place] = kind
            if column is None:
                continue
            self.target[place] = objects[column]
            others = overlaps[row] * ~same[row]
            if kind == 'box' and others.max() >= ON_OBJECT:
                self._lies_on[place] = objects[int(others.argmax())]
            if kind in ('name', 'box') and not taken[column] and column not in attempted:
                attempted.add(column)
                self.best[place] = True
        for column, place in enumerate(objects):
            self.missed[place] = not taken[column] and column not in attempted

    def _inside(self, found: list[int], crowds: list[dict]) -> np.ndarray:
        """(detections, ): whether they lie in a crowd of their name."""
        if not crowds or not found:
            return np.zeros(len(found), dtype=bool)
        items = [self.dts[place] for place in found]
        own = np.array([[dt['category_id'] == c['category_id'] for c in crowds] for dt in items])
        return ((_overlaps(items, crowds, True) > ON_OBJECT) & own).any(axis=1)

    def counts(
        self, images: Sequence[int] | None = None, category: int | None = None, size: str = ''
    ) -> dict[str, int]:
        """Mistakes of each kind.

        Args:
            images: Of these images; all by default.
            category: Of detections (missed: objects) of this category; all by default.
            size: Of this size: of the object meant, or of the detection where none is meant.
        """
        found, missed = self._of(images, category, size)
        counts = {kind: int((found & (self.kind == kind)).sum()) for kind in KINDS[:-1]}
        return counts | {'missed': int((missed & self.missed).sum())}

    def number(
        self, images: Sequence[int] | None = None, category: int | None = None, size: str = ''
    ) -> int:
        """How many objects a part has; see :meth:`counts`."""
        return int(self._of(images, category, size)[1].sum())

    def costs(
        self, images: Sequence[int] | None = None, category: int | None = None, size: str = ''
    ) -> dict[str, float]:
        """What AP50 would gain from each kind put right, in [0, 1]; NaN without objects.

        Args:
            images: AP50 over these images; all by default.
            category: AP50 of this category; the mean of all by default.
            size: Only mistakes of this size are put right; AP50 stays that of all sizes.

        Returns:
            By kind; also ``'AP50'``, and the gain from all ``'false positives'`` gone and all
            ``'false negatives'`` not asked for.
        """
        found, objects = self._of(images, None, '')
        chosen, chosen_objects = self._of(images, None, size)
        base = self._ap(found, objects, category)
        result = {'AP50': base}
        for kind in KINDS[:-1]:
            mend = chosen & (self.kind == kind)
            result[kind] = self._ap(found & ~(mend & ~self.best), objects, category, mend) - base
        result['missed'] = (
            self._ap(found, objects & ~(chosen_objects & self.missed), category, asked=objects)
            - base
        )
        wrong = np.isin(self.kind, KINDS)
        result['false positives'] = self._ap(found & ~(chosen & wrong), objects, category) - base
        result['false negatives'] = (
            self._ap(found, objects & ~(chosen_objects & ~self.found), category, asked=objects)
            - base
        )
        # A gain below zero would come from steps of the curve only (as in the authors' code).
        return {k: v if k == 'AP50' or np.isnan(v) else max(v, 0.0) for k, v in result.items()}

    def curve(self, category: int, images: Sequence[int] | None = None) -> np.ndarray:
        """(101, ): highest precision at IoU 0.5 from each recall 0, 0.01, ... 1 on."""
        found, objects = self._of(images, category, '')
        right = self.kind[found & (self.kind != _IGNORED)] == _RIGHT
        return precision_curve(right, int(objects.sum()))

    def confusion(self, min_score: float) -> np.ndarray:
        """Names against names: (categories + 1, categories + 1), counts.

        Row: what the object is; the last is no object, or one that another detection has taken.
        Column: what it was called; the last is nothing. Each object has one detection: the right
        one, or the best-scoring on it of another name.

        Args:
            min_score: Detections below are not counted.
        """
        size = len(self.category_ids)
        place_of = {number: place for place, number in enumerate(self.category_ids)}
        table = np.zeros((size + 1, size + 1), dtype=np.int64)
        taken = np.zeros(len(self.gts), dtype=bool)
        confident = self.scores >= min_score
        on = np.where(self.kind == 'box', self._lies_on, self.target)
        misnamed = (self.kind == 'name') | ((self.kind == 'box') & (on >= 0))
        for wanted in (self.kind == _RIGHT, misnamed):
            for place in np.flatnonzero(confident & wanted):
                target, column = on[place], place_of[self.dts[place]['category_id']]
                row = size if taken[target] else place_of[self.gts[target]['category_id']]
                taken[target] = True
                table[row, column] += 1
        others = np.isin(self.kind, ('box', 'both', 'duplicate', 'background')) & ~misnamed
        others &= confident
        for place in np.flatnonzero(others):
            table[size, place_of[self.dts[place]['category_id']]] += 1
        for gt in (gt for gt, seen in zip(self.gts, taken) if not seen):
            table[place_of[gt['category_id']], size] += 1
        return table

    def calibration(self, bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Do scores tell how often a detection is right?

        Args:
            bins: Equal parts of [0, 1].

        Returns:
            Mean score, share of right ones and number of detections of each bin (NaN, NaN, 0 where
            empty), and the expected calibration error (Naeini et al., AAAI 2015): the mean gap
            between the first two, weighted by the third.
        """
        counted = self.kind != _IGNORED
        scores, right = self.scores[counted], self.kind[counted] == _RIGHT
        place = np.clip((scores * bins).astype(int), 0, bins - 1)
        number = np.bincount(place, minlength=bins)
        with np.errstate(invalid='ignore'):
            mean = np.bincount(place, scores, bins) / number
            share = np.bincount(place, right, bins) / number
        gap = np.nansum(np.abs(mean - share) * number)
        return mean, share, number, float(gap / number.sum()) if number.sum() else float('nan')

    def size_of(self, item: dict) -> str:
        """``'small'``, ``'medium'`` or ``'large'``."""
        area = area_of(item) * self._scale[item['image_id']]
        return next(name for name, limit in SIZES.items() if area <= limit)

    def _of(
        self, images: Sequence[int] | None, category: int | None, size: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks of detections and objects."""
        masks = []
        for image, categories in (
            (self._images, self._categories),
            (self._gt_images, self._gt_categories),
        ):
            mask = np.ones(len(image), dtype=bool)
            if images is not None:
                mask &= np.isin(image, np.asarray(images, dtype=np.int64))
            if category is not None:
                mask &= categories == category
            masks.append(mask)
        if size:
            sizes = np.array([self.size_of(gt) == size for gt in self.gts], dtype=bool)
            own = np.array([self.size_of(dt) == size for dt in self.dts], dtype=bool)
            meant = self.target >= 0
            own[meant] = sizes[self.target[meant]]
            masks = [masks[0] & own, masks[1] & sizes]
        return masks[0], masks[1]

    def _ap(
        self,
        found: np.ndarray,
        objects: np.ndarray,
        category: int | None,
        mend: np.ndarray | None = None,
        asked: np.ndarray | None = None,
    ) -> float:
        """AP50 of a category, or the mean of those with objects.

        Args:
            found: Mask of the detections.
            objects: Mask of the objects to find.
            category: The category.
            mend: Mask of detections that are right now, under their object's name.
            asked: Mask of the objects by which categories are chosen, if others than ``objects``.
        """
        categories, right = self._categories, self.kind == _RIGHT
        if mend is not None and len(self.gts):
            mend = mend & self.best
            categories = np.where(mend, self._gt_categories[self.target], categories)
            right = right | mend
        counted = found & (self.kind != _IGNORED)
        asked = objects if asked is None else asked
        values = [
            precision_curve(
                right[counted & (categories == number)],
                int((objects & (self._gt_categories == number)).sum()),
            ).mean()
            for number in (self.category_ids if category is None else [category])
            if (asked & (self._gt_categories == number)).any()
        ]
        return float(np.mean(values)) if values else float('nan')


def precision_curve(right: np.ndarray, total: int) -> np.ndarray:
    """(101, ): highest precision from each recall on; zeros without objects or detections.

    Args:
        right: (detections, ): which are right, by falling score.
        total: Objects to find.
    """
    curve = np.zeros(len(_RECALLS))
    if not total or not len(right):
        return curve
    rights = np.cumsum(right)
    precision = rights / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(rights / total, _RECALLS, side='left')
    reached = places < len(right)
    curve[reached] = precision[places[reached]]
    return curve


def _kind(overlaps: np.ndarray, same: np.ndarray, taken: np.ndarray) -> tuple[str, int | None]:
    """Kind of a detection that is not right, and the object it means.

    Args:
        overlaps: (objects, ): its IoU with each.
        same: (objects, ): which bear its name.
        taken: (objects, ): which are found.
    """
    if not len(overlaps):
        return 'background', None
    of_name, of_others = overlaps * same, overlaps * ~same
    if NEAR_OBJECT <= of_name.max() <= ON_OBJECT:
        return 'box', int(of_name.argmax())
    if of_others.max() >= ON_OBJECT:
        return 'name', int(of_others.argmax())
    if (of_name * taken).max() >= ON_OBJECT:
        return 'duplicate', int((of_name * taken).argmax())
    if overlaps.max() <= NEAR_OBJECT:
        return 'background', None
    return 'both', int(overlaps.argmax())


def _best_scoring(dts: list[dict], max_dets: int) -> list[dict]:
    """By falling score, at most so many for each image and category."""
    # equal scores by image, then as they stand in the file, as COCOeval has them
    ordered = sorted(dts, key=lambda dt: (-dt['score'], dt['image_id']))
    seen: dict[tuple, int] = defaultdict(int)
    kept = []
    for dt in ordered:
        pair = dt['image_id'], dt['category_id']
        seen[pair] += 1
        if seen[pair] <= max_dets:
            kept.append(dt)
    return kept


def _by_image(items: Sequence[dict]) -> dict[int, list[int]]:
    places = defaultdict(list)
    for place, item in enumerate(items):
        places[item['image_id']].append(place)
    return places


def _overlaps(dts: list[dict], gts: list[dict], crowd: bool) -> np.ndarray:
    """(detections, objects): IoU; for crowds the share of the detection inside."""
    if not dts or not gts:
        return np.zeros((len(dts), len(gts)))
    boxes = ([item['bbox'] for item in items] for items in (dts, gts))
    return np.asarray(mask_utils.iou(*boxes, [int(crowd)] * len(gts)))
