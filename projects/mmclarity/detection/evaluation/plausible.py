"""Are these detections of these labels? What numbers alone cannot say, and AP does not show.

A COCO result list names images and categories by number, and its boxes by four numbers. Another
program's numbering, boxes of another form, or a test that broke off give an AP that is low and
looks like one. Where they lie tells: the surest detections of a detector that works lie on objects.
"""

from collections.abc import Callable, Sequence

import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from mmclarity.utils.json_files import LabelFileError

from .labelled import Labelled

_SUREST = 3000  # detections that are looked at
_LEAST = 30  # of them that must speak for another reading
_CLEARLY = 4  # times as many as for the one that was taken
_IOU = 0.5


def doubts(path: object, dts: Sequence[dict], labelled: Labelled) -> list[str]:
    """What makes one doubt that detections belong to the labels as they were read.

    Args:
        path: Of the detections, for messages.
        dts: Detections; ``image_id`` is the place of the image.
        labelled: Images and ground truth.

    Returns:
        Sentences for the reader of the numbers.

    Raises:
        LabelFileError: If boxes are fractions of the image, or two corners.
    """
    notes = _absent(path, dts, labelled)
    gts = [gt for gt in labelled.gts if not gt['iscrowd']]
    if not dts or not gts:
        return notes
    chosen = sorted(dts, key=lambda dt: -dt['score'])[:_SUREST]
    ends = max(max(dt['bbox'][0] + dt['bbox'][2], dt['bbox'][1] + dt['bbox'][3]) for dt in chosen)
    if ends <= 2 < max(gt['bbox'][0] + gt['bbox'][2] for gt in gts):
        raise LabelFileError(
            f'{path}: boxes are fractions of the image, e.g. {chosen[0]["bbox"]}; give pixels: x, '
            'y, width, height'
        )
    pairs = _on_objects(chosen, gts)
    if _many(len(_on_objects(chosen, gts, box=_as_corners)), len(pairs)):
        raise LabelFileError(
            f'{path}: boxes look like two corners (x1, y1, x2, y2), e.g. {chosen[0]["bbox"]}: read '
            f'so, {_CLEARLY} times as many lie on objects; a COCO result list has x, y, width, '
            'height'
        )
    return notes + _other_images(path, chosen, gts, pairs, labelled) + _names(path, pairs, labelled)


def check_scores(path: object, dts: Sequence[dict]) -> None:
    """Refuses scores that are no probabilities, where thresholds and calibration are asked of them.

    Raises:
        LabelFileError: Naming the remedy.
    """
    scores = [dt['score'] for dt in dts]
    if scores and not 0 <= min(scores) <= max(scores) <= 1:
        raise LabelFileError(
            f'{path}: scores go from {min(scores):g} to {max(scores):g}; thresholds and '
            'calibration ask for scores from 0 to 1 (per cent: divide by 100)'
        )


def _absent(path: object, dts: Sequence[dict], labelled: Labelled) -> list[str]:
    """Images with objects and without a detection, and what is listed twice."""
    if not dts:
        return [f'{path}: holds no detection at all.']
    notes = []
    filled = {gt['image_id'] for gt in labelled.gts if not gt['iscrowd']}
    empty = filled - {dt['image_id'] for dt in dts}
    if len(empty) > max(5, len(filled) / 10):
        notes.append(
            f'{path}: no detection in {len(empty):,} of the {len(filled):,} images that hold '
            f'objects, e.g. {labelled.names[min(empty)]!r}: was it tested on them? What lies in '
            'them counts as not found.'
        )
    different = {(dt['image_id'], dt['category_id'], dt['score'], *dt['bbox']) for dt in dts}
    twice = len(dts) - len(different)
    if twice > len(dts) / 100:
        notes.append(
            f'{path}: {twice:,} of {len(dts):,} detections stand there twice; the second counts as '
            'wrong.'
        )
    return notes


def _other_images(
    path: object,
    chosen: Sequence[dict],
    gts: Sequence[dict],
    pairs: Sequence[tuple[int, int]],
    labelled: Labelled,
) -> list[str]:
    """Ids one off, and boxes in pixels of another size."""
    last = len(labelled.names) - 1
    for step, told in ((1, 'one lower'), (-1, 'one higher')):
        moved = [dict(dt, image_id=min(max(dt['image_id'] + step, 0), last)) for dt in chosen]
        if _many(len(_on_objects(moved, gts)), len(pairs)):
            return [
                f'{path}: its detections lie on the objects of the next image in the list: its '
                f'image ids are {told} than those of the labels, or of other images.'
            ]
    for factor in (2.0, 0.5):
        scaled = [dict(dt, bbox=[factor * v for v in dt['bbox']]) for dt in chosen]
        if _many(len(_on_objects(scaled, gts)), len(pairs)):
            return [
                f'{path}: times {factor:g}, its boxes lie on the objects: labels and results are '
                'in pixels of images of different sizes.'
            ]
    if len(chosen) >= 10 * _LEAST and len(pairs) < len(chosen) / 50:
        return [
            f'{path}: of its {len(chosen):,} surest detections {len(pairs):,} lie on an object: '
            'are its images, ids and boxes those of the labels?'
        ]
    return []


def _names(path: object, pairs: Sequence[tuple[int, int]], labelled: Labelled) -> list[str]:
    """Category numbers of another list."""
    ids = sorted(labelled.categories)
    place = {number: index for index, number in enumerate(ids)}
    table = np.zeros((len(ids), len(ids)), dtype=np.int64)
    for said, true in pairs:
        table[place[said], place[true]] += 1
    rows, columns = linear_sum_assignment(-table)
    if not _many(int(table[rows, columns].sum()), int(np.trace(table))):
        return []
    row = max(
        range(len(ids)),
        key=lambda index: table[index, columns[index]] * (rows[index] != columns[index]),
    )
    said, true = (labelled.categories[ids[index]] for index in (row, columns[row]))
    return [
        f'{path}: of its detections on objects {np.trace(table):,} of {len(pairs):,} bear the '
        f'right name, and {table[rows, columns].sum():,} would with the category ids in another '
        f'order (what it calls {said} is {true}): are its ids those of the labels?'
    ]


def _many(other: int, own: int) -> bool:
    return other >= _LEAST and other >= _CLEARLY * own


def _as_corners(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], max(box[2] - box[0], 0), max(box[3] - box[1], 0)]


def _on_objects(
    dts: Sequence[dict],
    gts: Sequence[dict],
    box: Callable[[Sequence[float]], Sequence[float]] = list,
) -> list[tuple[int, int]]:
    """Categories of the detections that lie on an object, and of the nearest object."""
    found: dict[int, tuple[list, list]] = {dt['image_id']: ([], []) for dt in dts}
    for place, items in enumerate((dts, gts)):
        for item in items:
            if item['image_id'] in found:
                found[item['image_id']][place].append(item)
    pairs = []
    for own, objects in found.values():
        if objects:
            boxes = [[float(v) for v in box(dt['bbox'])] for dt in own]
            overlaps = np.asarray(
                mask_utils.iou(boxes, [gt['bbox'] for gt in objects], [0] * len(objects))
            )
            nearest = overlaps.argmax(axis=1)
            pairs += [
                (dt['category_id'], objects[column]['category_id'])
                for dt, column, row in zip(own, nearest, overlaps)
                if row[column] >= _IOU
            ]
    return pairs
