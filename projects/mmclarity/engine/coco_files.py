"""Does a COCO file hold what mmdet reads of it? Asked before a data set is built.

mmdet's ``CocoDataset`` ends with an error that names neither file nor annotation where a field is
missing, and passes over boxes of no known image, without a size or outside of their image in
silence. Boxes of another form than COCO's, or of images that were resized since, it learns as they
are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mmclarity.utils.images import upright_size
from mmclarity.utils.json_files import LabelFileError
from mmclarity.utils.label_scale import seems_smaller

_SHOWN = 5  # of what is wrong
_PROBED = 64  # images whose size is compared; all are looked for
_KINDS: dict[str, tuple[type, ...]] = {
    'id': (int, float, str),
    'file_name': (str,),
    'width': (int, float),
    'height': (int, float),
}
_SIDES = ('width', 'height')
_REMEDIES = {
    'id': 'number the annotations: 1, 2, ...',
    'image_id': 'give the id of its image',
    'category_id': 'give the id of its category',
    'bbox': 'give x, y, width and height in pixels, or remove the annotation',
    'area': 'mmdet reads it; width x height of the box will do',
}


def check_coco_content(
    place: str,
    content: Mapping[str, Any],
    folder: Path | None,
    masks: Container[Any] = (),
) -> None:
    """Check images and annotations; what mmdet would pass over is told as a warning.

    Args:
        place: Of the file, begins the messages.
        content: Of the file, with ``images``, ``annotations`` and ``categories``.
        folder: Of the images; None if they are not on the disk.
        masks: Ids of the categories whose masks will be read.

    Raises:
        LabelFileError: Naming the image or annotation, its field, and the remedy.
    """
    images = _images(place, content['images'])
    if folder is not None:
        _check_files(place, list(images.values()), folder)
    _check_annotations(place, content, images)
    unmasked = [
        item
        for item in content['annotations']
        if item['category_id'] in masks
        and item['image_id'] in images
        and not item.get('segmentation')
        and not _is_lost(item, images[item['image_id']])
    ]
    if unmasked:
        raise LabelFileError(
            f'{place}: {len(unmasked)} of {len(content["annotations"])} annotations have no '
            f'segmentation (the first: id {unmasked[0]["id"]}), and the pipeline reads masks: add '
            'them, remove these annotations, or take a detector without masks'
        )


def _images(place: str, listed: Any) -> dict[Any, dict]:
    images: dict[Any, dict] = {}
    for index, image in enumerate(_objects(place, 'images', listed)):
        wrong = [key for key, kinds in _KINDS.items() if not isinstance(image.get(key), kinds)]
        wrong = wrong or [key for key in _SIDES if not image[key] > 0]
        if wrong:
            raise LabelFileError(
                f'{place}: images[{index}] ({image.get("file_name")}): {wrong[0]} is '
                f'{_told(image, wrong[0])}; mmdet needs id, file_name, width and height'
            )
        first = images.setdefault(image['id'], image)
        if first is not image:
            raise LabelFileError(
                f'{place}: two images have the id {image["id"]!r}: {first["file_name"]} and '
                f'{image["file_name"]}; give each its own, and its boxes that image_id'
            )
    return images


def _check_files(place: str, images: list[dict], folder: Path) -> None:
    missing = [image['file_name'] for image in images if not (folder / image['file_name']).exists()]
    if missing:
        more = ', ...' if len(missing) > _SHOWN else ''
        raise LabelFileError(
            f'{place}: {len(missing)} of {len(images)} images are missing in {folder}: '
            f'{", ".join(missing[:_SHOWN])}{more}; put them there, correct data_prefix, or remove '
            'them from the file'
        )
    for image in images[:: max(1, len(images) // _PROBED)]:
        path = folder / image['file_name']
        try:
            with Image.open(path) as picture:
                turned, size = picture.size, upright_size(picture)
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # of a kind that Pillow does not read; whoever loads it says so
        wanted = (round(image['width']), round(image['height']))
        if size != wanted:
            is_turned = turned == wanted
            raise LabelFileError(
                f'{place}: {path} is {size[0]} x {size[1]} pixels'
                + (' as its EXIF tag turns it' if is_turned else '')
                + f', but the file says {wanted[0]} x {wanted[1]}: its boxes would lie elsewhere. '
                + (
                    'Write size and boxes of the upright picture, or save pictures without the tag'
                    if is_turned
                    else 'Take the pictures that were labelled, or scale width, height and bbox'
                )
            )


def _check_annotations(place: str, content: Mapping[str, Any], images: dict[Any, dict]) -> None:
    categories = {_text(category['id']): category['id'] for category in content['categories']}
    pictures = {_text(number): number for number in images}
    ids: set[Any] = set()
    foreign: list[dict] = []
    lost: list[dict] = []
    fits = [0, 0]  # boxes inside as x, y, width, height, and as two corners
    inside: list[dict] = []
    for index, item in enumerate(_objects(place, 'annotations', content['annotations'])):
        where = f'{place}: annotations[{index}]'
        _check_fields(where, item, ids)
        _check_known(where, item, 'category_id', categories, 'categories')
        if not _check_known(where, item, 'image_id', pictures, 'images', strict=False):
            foreign.append(item)
            continue
        inside.append(item)
        image = images[item['image_id']]
        if _is_lost(item, image):
            lost.append(item)
        x, y, width, height = item['bbox']
        limit = image['width'] + 1, image['height'] + 1
        fits[0] += x + width <= limit[0] and y + height <= limit[1]
        fits[1] += width > x and height > y and width <= limit[0] and height <= limit[1]
    _check_form(place, inside, fits)
    _tell_of_scale(place, inside, images)
    if foreign and not inside:
        raise LabelFileError(
            f'{place}: no annotation belongs to an image of the file; the first has image_id '
            f'{foreign[0]["image_id"]!r}. Do images and annotations come from one file?'
        )
    for some, why in (
        (foreign, 'belong to no image of the file'),
        (lost, 'are less than a pixel wide, high or large, or outside of their image'),
    ):
        if some:
            named = ', '.join(f'id {item["id"]} (bbox {item["bbox"]})' for item in some[:3])
            warnings.warn(
                f'{place}: {len(some)} of {len(ids)} annotations {why}, and are left out: {named}'
                + (', ...' if len(some) > 3 else ''),
                stacklevel=2,
            )


def _check_fields(where: str, item: dict, ids: set[Any]) -> None:
    for key, remedy in _REMEDIES.items():
        if item.get(key) is None:
            raise LabelFileError(f'{where} (id {item.get("id")!r}) has no {key}: {remedy}')
    if isinstance(item['id'], list | dict) or item['id'] in ids:
        raise LabelFileError(
            f'{where}: two annotations have the id {item["id"]!r}: {_REMEDIES["id"]}'
        )
    ids.add(item['id'])
    box, area = item['bbox'], item['area']
    numbers = [*box, area] if isinstance(box, list) and len(box) == 4 else [None]
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise LabelFileError(
            f'{where} (id {item["id"]!r}): bbox {box!r} and area {area!r} must be four numbers and '
            f'one, finite; {_REMEDIES["bbox"]}'
        )


def _check_known(
    where: str, item: dict, key: str, known: Mapping[str, Any], name: str, strict: bool = True
) -> bool:
    """Whether an id is among the ``known``, which are given by their texts."""
    value, text = item[key], _text(item[key])
    if text in known:
        if known[text] == value:
            return True
        raise LabelFileError(
            f'{where}: {key} is {value!r}, and the id in "{name}" is {known[text]!r}: mmdet takes '
            'text and number for two; write both alike'
        )
    if strict:
        raise LabelFileError(
            f'{where}: {key} {value!r} is none of the {name}; add it there, or remove its '
            'annotations'
        )
    return False


def _text(number: Any) -> str:
    """Of an id; 1.0, as pandas writes it, is 1 for mmdet, too."""
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def _is_lost(item: dict, image: dict) -> bool:
    """Whether mmdet's ``CocoDataset`` passes over it."""
    x, y, width, height = item['bbox']
    across = min(x + width, image['width']) - max(x, 0)
    down = min(y + height, image['height']) - max(y, 0)
    return across <= 0 or down <= 0 or item['area'] <= 0 or width < 1 or height < 1


def _check_form(place: str, items: Sequence[dict], fits: Sequence[int]) -> None:
    if not items:
        return
    first = f'id {items[0]["id"]} has {items[0]["bbox"]}'
    if all(max(item['bbox']) <= 1 for item in items):
        raise LabelFileError(
            f'{place}: no box is larger than a pixel ({first}): these are fractions of the image; '
            'COCO has pixels: x, y, width, height'
        )
    if fits[1] == len(items) and fits[0] < 0.8 * len(items):
        raise LabelFileError(
            f'{place}: {len(items) - fits[0]} of {len(items)} boxes reach out of their image, and '
            f'none would as two corners ({first}): COCO has x, y, width, height'
        )


def _tell_of_scale(place: str, items: Sequence[dict], images: Mapping[Any, dict]) -> None:
    """Warn of boxes that seem to be of smaller images than the file says."""
    boxes = [
        [item['bbox'][0], item['bbox'][1], *map(sum, zip(item['bbox'][:2], item['bbox'][2:]))]
        for item in items
    ]
    told = seems_smaller(boxes, [(image['width'], image['height']) for image in images.values()])
    if told is not None:
        warnings.warn(f'{place}: {told}', stacklevel=2)


def _objects(place: str, name: str, listed: Any) -> list[dict]:
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise LabelFileError(f'{place}: "{name}" must be a list of objects')
    return listed


def _told(item: dict, key: str) -> str:
    return f'{item[key]!r:.40}' if key in item else 'missing'
