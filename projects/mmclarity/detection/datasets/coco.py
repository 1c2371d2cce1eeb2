"""COCO data sets and detections in files, checked before they are used."""

import math
import sys
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
    for part in ('images', 'categories', 'annotations'):
        if part in coco and not isinstance(coco[part], list):
            raise LabelFileError(
                f'{path}: "{part}" must be a list, got {type(coco[part]).__name__}'
            )
    return coco


def check_images(path: str | Path, images: list[Any]) -> None:
    """Refuses images of a COCO data set that cannot be told apart.

    Raises:
        LabelFileError: Naming the image.
    """
    for place, item in enumerate(images):
        if not isinstance(item, dict) or not {'id', 'file_name'} <= set(item):
            raise LabelFileError(f'{path}: image {place} lacks "id" or "file_name"')
        if isinstance(item['id'], list | dict) or not isinstance(item['file_name'], str):
            raise LabelFileError(
                f'{path}: image {place}: "id" must be one, and "file_name" a text, got '
                f'{item["id"]!r} and {item["file_name"]!r}'
            )
    several = len(images) - len({item['id'] for item in images})
    if several:
        raise LabelFileError(f'{path}: {several} images share an id with another')


def category_names(path: str | Path, categories: list[Any]) -> dict[Any, str]:
    """Names of a COCO data set's categories by id.

    Raises:
        LabelFileError: If they cannot be told apart.
    """
    names: dict[Any, str] = {}
    for place, item in enumerate(categories):
        if not isinstance(item, dict) or not {'id', 'name'} <= set(item):
            raise LabelFileError(f'{path}: category {place} lacks "id" or "name"')
        if isinstance(item['id'], list | dict):
            raise LabelFileError(f'{path}: category {place}: "id" must be one, got {item["id"]!r}')
        if item['id'] in names or item['name'] in names.values():
            raise LabelFileError(
                f'{path}: two categories have the id {item["id"]!r} or the name '
                f'{item["name"]!r}; make them one, and correct the category_id of its objects'
            )
        names[item['id']] = item['name']
    return names


def size_of(image: dict[str, Any]) -> tuple[float, float] | None:
    """Width and height of a COCO image; None where they are not told, or no numbers of pixels.

    Examples:
        >>> size_of(dict(width=640, height='360')), size_of(dict(width=640)), size_of(dict())
        ((640, 360.0), None, None)
    """
    sides = []
    for key in ('width', 'height'):
        side = image.get(key)
        try:
            side = float(side) if isinstance(side, str) else side
        except ValueError:
            return None
        if not isinstance(side, int | float) or not 0 < side < math.inf:
            return None
        sides.append(side)
    return sides[0], sides[1]


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
        not all(isinstance(n, int | float) and abs(n) <= sys.float_info.max for n in numbers)
        or min(box[2:]) < 0
    ):
        raise LabelFileError(
            f'{place}: bbox must be [x, y, width, height], finite and not negative in '
            f'size, and score finite; got {box!r} and {item["score"]!r}'
        )
