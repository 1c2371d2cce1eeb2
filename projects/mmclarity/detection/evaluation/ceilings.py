"""What a detector would reach if one kind of its mistakes were put right.

Attention among proposals names what cannot be named alone. How much there is to win from names is
seen before anything is trained: it is the AP that the plain detector's own detections would have
if each bore the right name. The kinds of mistakes and the two overlaps that tell them apart are
those of TIDE (Bolya et al., 2020), which puts right one mistake after another at IoU 0.5; here AP
over 0.5:0.95 is evaluated anew.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pycocotools import mask as mask_utils

from .coco_eval import BoxEval, BoxSummary

#: A detection lies on an object from this IoU on.
ON_OBJECT = 0.5
#: A detection that overlaps nothing by as much lies on the background.
NEAR_OBJECT = 0.1

Rule = Callable[[list[dict], list[dict], np.ndarray], list[dict]]


def evaluate_ceilings(
    gts: Sequence[dict],
    dts: Sequence[dict],
    num_images: int,
    category_ids: Sequence[int],
    max_dets: int = 100,
) -> dict[str, BoxSummary]:
    """AP as it is, and with every name, every box, or everything on the background put right.

    Args:
        gts: Ground truth, as for :class:`BoxEval`. Crowds are no objects: what lies on them is
            left as it is.
        dts: Detections, as for :class:`BoxEval`.
        num_images: Number of images.
        category_ids: Categories to evaluate; ground truth and detections of others are left out.
        max_dets: Detections counted for each image and category.

    Returns:
        ``'as it is'``; ``'names right'`` (:func:`rename`), ``'boxes right'`` (:func:`refit`),
        ``'background left alone'`` (:func:`drop_background`).
    """
    wanted = set(category_ids)
    rules: dict[str, Rule] = {
        'names right': rename,
        'boxes right': refit,
        'background left alone': drop_background,
    }
    detections = {'as it is': list(dts), **{name: [] for name in rules}}
    objects, found = (
        [item for item in items if item['category_id'] in wanted] for items in (gts, dts)
    )
    for image in _images(objects, found, num_images):
        for name, rule in rules.items():
            detections[name] += rule(*image)
    summaries = {}
    for name, changed in detections.items():
        evaluation = BoxEval(gts, changed, num_images, category_ids, max_dets)
        summaries[name] = evaluation.summarize_images(evaluation.match())
    return summaries


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


def rename(objects: list[dict], found: list[dict], overlaps: np.ndarray) -> list[dict]:
    """Gives detections on objects the objects' names.

    A detection that lies on objects, but on none of its own name, takes the name of the one it
    overlaps most; it goes if another detection on that object has the name by then and scores
    higher, being the same find twice. Detections that had the right name stay as they are.

    Args:
        objects: Ground truth of one image.
        found: Its detections.
        overlaps: IoU of each detection with each object, (detections, objects).
    """
    lies_on = np.where((overlaps >= ON_OBJECT) & _real(objects), overlaps, 0)
    if not lies_on.any():
        return found
    names = np.array([gt['category_id'] for gt in objects])
    scores = np.array([dt['score'] for dt in found])
    new_names = np.array([dt['category_id'] for dt in found])
    wrong = lies_on.any(axis=1) & ~(lies_on * (new_names[:, None] == names)).any(axis=1)
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
