"""COCO data sets and detections in files, checked before they are used."""

import math
from collections.abc import Container
from pathlib import Path
from typing import Any

from mmclarity.utils.json_files import LabelFileError, read_json


def read_coco(path: str | Path) -> dict[str, Any]:
    """Reads a COCO data set.

    Raises:
        FileNotFoundError: If there is no such file.
        LabelFileError: If it is no JSON or lacks ``images`` or ``categories``.
    """
    coco = read_json(path)
    if not isinstance(coco, dict) or not {'images', 'categories'} <= set(coco):
        raise LabelFileError(f'{path}: expected a COCO data set with "images" and "categories"')
    return coco


def read_detections(path: str | Path) -> list[Any]:
    """Reads a COCO result list; :func:`check_detection` tells whether each belongs to a data set.

    Raises:
        FileNotFoundError: If there is no such file.
        LabelFileError: If it is no list.
    """
    detections = read_json(path)
    if not isinstance(detections, list):
        raise LabelFileError(f'{path}: expected a list of detections')
    return detections


def check_detection(
    item: Any, place: str, images: Container[Any], categories: dict[Any, str]
) -> None:
    """Refuses what is no detection in one of the images.

    One is a dict with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in pixels) and
    ``score``.

    Args:
        item: What should be a detection.
        place: File and number, for messages.
        images: Ids of the images.
        categories: Names of the categories by id.

    Raises:
        LabelFileError: If it lacks a field, names an unknown image or category, or has a box that
            is no box.
    """
    lacking = [
        key
        for key in ('image_id', 'category_id', 'bbox', 'score')
        if not isinstance(item, dict) or key not in item
    ]
    if lacking:
        raise LabelFileError(f'{place}: lacks {lacking}; is this a COCO result list?')
    for key in ('image_id', 'category_id'):
        if isinstance(item[key], list | dict):
            raise LabelFileError(f'{place}: {key} must be one number, got {item[key]!r}')
    if item['image_id'] not in images:
        raise LabelFileError(
            f'{place}: image_id {item["image_id"]!r} is not among the images; give '
            'the COCO file that belongs to these detections'
        )
    if item['category_id'] not in categories:
        raise LabelFileError(
            f'{place}: category_id {item["category_id"]!r} is not among the '
            f'categories {categories}; give the COCO file that belongs to these detections'
        )
    box = item['bbox']
    numbers = [*box, item['score']] if isinstance(box, list) and len(box) == 4 else [None]
    if (
        not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
        or min(box[2:]) < 0
    ):
        raise LabelFileError(
            f'{place}: bbox must be [x, y, width, height], finite and not negative in '
            f'size, and score finite; got {box!r} and {item["score"]!r}'
        )
