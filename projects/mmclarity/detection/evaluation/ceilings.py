"""What a detector would reach if one kind of its mistakes were put right.

Attention among proposals names what cannot be named alone. How much there is to win from names is
seen before anything is trained: it is the AP that the plain detector's own detections would have
if each bore the right name. The kinds of mistakes and the two overlaps that tell them apart are
those of TIDE (Bolya et al., 2020), which puts right one mistake after another at IoU 0.5; here AP
over 0.5:0.95 is evaluated anew.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_utils

from .coco_eval import BoxEval, BoxSummary

#: A detection lies on an object from this IoU on.
ON_OBJECT = 0.5
#: A detection that overlaps nothing by as much lies on the background.
NEAR_OBJECT = 0.1

#: A right neighbour is one that scores this much, within so many sides of the larger of both boxes.
SURE, CLOSE = 0.5, 5.0

Rule = Callable[[list[dict], list[dict], np.ndarray], list[dict]]


def evaluate_ceilings_of(
    gts: Sequence[dict],
    dts: Sequence[dict],
    num_images: int,
    category_ids: Sequence[int],
    max_dets: int = 100,
    area_scale: float | Sequence[float] = 1.0,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, dict[str, BoxSummary]]:
    """AP as it is and with one kind of mistakes put right, over all images and groups of them.

    Args:
        gts: Ground truth, as for :class:`BoxEval`. Crowds are no objects: what lies on them is
            left as it is.
        dts: Detections, as for :class:`BoxEval`.
        num_images: Number of images.
        category_ids: Categories to evaluate; ground truth and detections of others are left out.
        max_dets: Detections counted for each image and category.
        area_scale: As for :class:`BoxEval`.
        groups: Images by name.

    Returns:
        By group, ``'all'`` first, and within it: ``'as it is'``; ``'names right'``
        (:func:`rename`), ``'names near a right one'`` (:func:`rename_near_sure`), ``'boxes right'``
        (:func:`refit`), ``'no duplicates'`` (:func:`drop_duplicates`), ``'background left alone'``
        (:func:`drop_background`), ``'missed not asked for'`` (:func:`without_missed`; a class that
        is missed altogether stays as it is).
    """
    wanted = set(category_ids)
    rules: dict[str, Rule] = {
        'names right': rename,
        'names near a right one': rename_near_sure,
        'boxes right': refit,
        'no duplicates': drop_duplicates,
        'background left alone': drop_background,
    }
    detections = {'as it is': list(dts), **{name: [] for name in rules}}
    objects, found = (
        [item for item in items if item['category_id'] in wanted] for items in (gts, dts)
    )
    asked: list[dict] = []
    for image in _images(objects, found, num_images):
        asked += without_missed(*image)
        for name, rule in rules.items():
            detections[name] += rule(*image)
    cases = {name: (objects, changed) for name, changed in detections.items()}
    cases['missed not asked for'] = (asked, found)
    members = {'all': None, **(groups or {})}
    results: dict[str, dict[str, BoxSummary]] = {group: {} for group in members}
    for name, (case_gts, case_dts) in cases.items():
        evaluation = BoxEval(case_gts, case_dts, num_images, category_ids, max_dets, area_scale)
        matches = evaluation.match()
        for group, images in members.items():
            results[group][name] = evaluation.summarize_images(matches, images)
    for summaries in results.values():
        _keep_what_is_gone(summaries['missed not asked for'], summaries['as it is'])
    return results


def _keep_what_is_gone(changed: BoxSummary, base: BoxSummary) -> None:
    """Classes of which nothing is asked for any more count as they are.

    Left out of the mean over the classes, they would raise it, though nobody finds more: of ten
    classes, one of which is never found, by a ninth.
    """
    gone = (changed.precision <= -1) & (base.precision > -1)
    changed.precision = np.where(gone, base.precision, changed.precision)


def share_found(gts: Sequence[dict], dts: Sequence[dict], num_images: int) -> float:
    """Share of the objects, in [0, 1], on which any detection lies, whatever its name and score.

    Args:
        gts: Ground truth; crowds are no objects.
        dts: Detections.
        num_images: Number of images.

    Returns:
        The share; NaN without objects.
    """
    seen: list[bool] = []
    for objects, _, overlaps in _images(gts, dts, num_images):
        seen += (overlaps >= ON_OBJECT)[:, _real(objects)].any(axis=0).tolist()
    return float(np.mean(seen)) if seen else float('nan')


def rename(
    objects: list[dict],
    found: list[dict],
    overlaps: np.ndarray,
    chosen: np.ndarray | None = None,
) -> list[dict]:
    """Gives detections on objects the objects' names.

    A detection that lies on objects, but on none of its own name, takes the name of the one it
    overlaps most; it goes if another detection on that object has the name by then and scores
    higher, being the same find twice. Detections that had the right name stay as they are.

    Args:
        objects: Ground truth of one image.
        found: Its detections.
        overlaps: IoU of each detection with each object, (detections, objects).
        chosen: (detections, ): those that may be renamed; all by default.
    """
    lies_on = np.where((overlaps >= ON_OBJECT) & _real(objects), overlaps, 0)
    if not lies_on.any():
        return found
    names = np.array([gt['category_id'] for gt in objects])
    scores = np.array([dt['score'] for dt in found])
    new_names = np.array([dt['category_id'] for dt in found])
    wrong = lies_on.any(axis=1) & ~(lies_on * (new_names[:, None] == names)).any(axis=1)
    if chosen is not None:
        wrong &= chosen
    new_names[wrong] = names[lies_on[wrong].argmax(axis=1)]
    of_own_name = lies_on * (new_names[:, None] == names)
    place = np.where(of_own_name.any(axis=1), of_own_name.argmax(axis=1), -1)
    stays = np.ones(len(found), dtype=bool)
    for renamed in np.unique(place[wrong]):
        same = np.flatnonzero(place == renamed)
        stays[same] = (same == same[scores[same].argmax()]) | ~wrong[same]
    return [
        {**dt, 'category_id': int(name)} for dt, name, stay in zip(found, new_names, stays) if stay
    ]


def near_sure(
    objects: list[dict],
    found: list[dict],
    overlaps: np.ndarray,
    sure: float = SURE,
    close: float = CLOSE,
) -> tuple[np.ndarray, np.ndarray]:
    """Which wrong names have a right neighbour: one that a reader of the scene would have used.

    A detection's name is wrong as in :func:`rename`. Its neighbour is a detection on *another*
    object, rightly named, of the name that would be right here, with a score of ``sure`` or more;
    the centres lie apart by at most ``close`` times the longest side of the two boxes.

    Args:
        objects: Ground truth of one image.
        found: Its detections.
        overlaps: (detections, objects): IoU.
        sure: Least score of the neighbour.
        close: Farthest distance, in sides.

    Returns:
        (detections, ): names that are wrong; (detections, ): those of them with a neighbour.
    """
    wrong, near = np.zeros(len(found), dtype=bool), np.zeros(len(found), dtype=bool)
    lies_on = np.where((overlaps >= ON_OBJECT) & _real(objects), overlaps, 0)
    if not lies_on.any():
        return wrong, near
    names = np.array([gt['category_id'] for gt in objects])
    own = np.array([dt['category_id'] for dt in found])
    scores = np.array([dt['score'] for dt in found])
    of_own = lies_on * (own[:, None] == names)
    wrong = lies_on.any(axis=1) & ~of_own.any(axis=1)
    boxes = np.array([dt['bbox'] for dt in found], dtype=float)
    centres, sides = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:].max(axis=1)
    right = of_own.any(axis=1) & (scores >= sure)
    for place in np.flatnonzero(wrong):
        target = lies_on[place].argmax()
        others = right & (own == names[target]) & (of_own.argmax(axis=1) != target)
        distance = np.hypot(*(centres - centres[place]).T)
        near[place] = (others & (distance <= close * np.maximum(sides, sides[place]))).any()
    return wrong, near


def rename_near_sure(objects: list[dict], found: list[dict], overlaps: np.ndarray) -> list[dict]:
    """As :func:`rename`, but only names that :func:`near_sure` finds a right neighbour for."""
    return rename(objects, found, overlaps, near_sure(objects, found, overlaps)[1])


def count_near_sure(
    gts: Sequence[dict],
    dts: Sequence[dict],
    num_images: int,
    least: float = 0.0,
    sure: float = SURE,
    close: float = CLOSE,
) -> tuple[int, int]:
    """Counts wrong names with a score of ``least`` or more, and those with a right neighbour.

    See :func:`near_sure`.
    """
    total = helped = 0
    for objects, found, overlaps in _images(gts, dts, num_images):
        wrong, near = near_sure(objects, found, overlaps, sure, close)
        counted = np.array([dt['score'] >= least for dt in found], dtype=bool)
        total += int((wrong & counted).sum())
        helped += int((near & counted).sum())
    return total, helped


def drop_duplicates(objects: list[dict], found: list[dict], overlaps: np.ndarray) -> list[dict]:
    """Leaves out what finds an object again.

    A detection goes if a better-scoring one of its name overlaps the same object at least as much:
    whatever IoU is asked for, it can only be wrong. Arguments as for :func:`rename`.
    """
    lies_on = np.where((overlaps >= ON_OBJECT) & _real(objects), overlaps, 0)
    if not lies_on.any():
        return found
    names = np.array([gt['category_id'] for gt in objects])
    own = np.array([dt['category_id'] for dt in found])
    of_own = lies_on * (own[:, None] == names)
    target = np.where(of_own.any(axis=1), of_own.argmax(axis=1), -1)
    stays = np.ones(len(found), dtype=bool)
    order = np.argsort([-dt['score'] for dt in found], kind='stable')
    tightest: dict[int, float] = {}
    for place in order:
        if target[place] >= 0:
            overlap = of_own[place, target[place]]
            stays[place] = overlap > tightest.get(target[place], 0.0)
            tightest[target[place]] = max(overlap, tightest.get(target[place], 0.0))
    return [dt for dt, stay in zip(found, stays) if stay]


def without_missed(objects: list[dict], found: list[dict], overlaps: np.ndarray) -> list[dict]:
    """The objects that something points to, and crowds; arguments as for :func:`rename`.

    Missed is an object on which nothing lies, whatever its name, and near which (``NEAR_OBJECT``)
    there is nothing of its name.
    """
    if not objects or not found:
        return [gt for gt in objects if gt['iscrowd']]
    names = np.array([gt['category_id'] for gt in objects])
    own = np.array([dt['category_id'] for dt in found])
    near = (overlaps >= NEAR_OBJECT) & (own[:, None] == names)
    seen = ((overlaps >= ON_OBJECT) | near).any(axis=0)
    return [gt for gt, kept in zip(objects, seen) if kept or gt['iscrowd']]


def refit(objects: list[dict], found: list[dict], overlaps: np.ndarray) -> list[dict]:
    """Gives detections near objects of their own name the objects' boxes.

    A detection goes to the object of its name it overlaps most, if by ``NEAR_OBJECT`` or more;
    of those that go to one object the best-scoring stays. Arguments as for :func:`rename`.
    """
    best: dict[int, dict] = {}
    others = []
    names = np.array([gt['category_id'] for gt in objects])
    for dt, row in zip(found, overlaps):
        row = np.where((names == dt['category_id']) & _real(objects), row, -1)
        if not objects or row.max() < NEAR_OBJECT:
            others.append(dt)
            continue
        place = int(row.argmax())
        if place not in best or dt['score'] > best[place]['score']:
            best[place] = {**dt, 'bbox': objects[place]['bbox']}
    return others + list(best.values())


def drop_background(objects: list[dict], found: list[dict], overlaps: np.ndarray) -> list[dict]:
    """Leaves out detections that overlap no object and no crowd by ``NEAR_OBJECT``.

    Arguments as for :func:`rename`.
    """
    near = (overlaps >= NEAR_OBJECT).any(axis=1)
    return [dt for dt, stays in zip(found, near) if stays]


def _images(
    gts: Sequence[dict], dts: Sequence[dict], num_images: int
) -> Iterator[tuple[list[dict], list[dict], np.ndarray]]:
    """Ground truth, detections and their overlaps, image by image: arguments of a rule."""
    objects, found = defaultdict(list), defaultdict(list)
    for store, items in ((objects, gts), (found, dts)):
        for item in items:
            store[item['image_id']].append(item)
    for image in range(num_images):
        yield objects[image], found[image], _overlaps(objects[image], found[image])


def _real(objects: list[dict]) -> np.ndarray:
    """(objects, ): which ground truth is no crowd."""
    return np.array([not gt['iscrowd'] for gt in objects], dtype=bool)


def _overlaps(objects: list[dict], found: list[dict]) -> np.ndarray:
    """(detections, objects): IoU; for a crowd the share of the detection inside it."""
    if not objects or not found:
        return np.zeros((len(found), len(objects)))
    return np.asarray(
        mask_utils.iou(
            [dt['bbox'] for dt in found],
            [gt['bbox'] for gt in objects],
            [int(bool(gt['iscrowd'])) for gt in objects],
        )
    )
