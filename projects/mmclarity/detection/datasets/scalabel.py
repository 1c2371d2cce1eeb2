"""Reading of BDD100K's Scalabel labels, without any framework.

Four layouts occur in the wild and are told apart by their content:

* **det_20**: one JSON list of frames for each split,
  ``[{name, attributes, labels: [{id, category, attributes, box2d}]}]``;
* **2018**: ``bdd100k_labels_images_{train,val}.json``, the same fields with the
  old category names, and drivable areas and lanes among the labels;
* **Scalabel data set**: the same list under the key ``frames``, perhaps with the size of
  the images in ``config.imageSize``;
* **one file per image**: a folder of ``{name, attributes, frames: [{objects}]}``.

Scalabel boxes include their last pixel: a box from ``x1`` to ``x2`` is
``x2 - x1 + 1`` pixels wide, so the half-open box that mmdet and COCO use is
``(x1, y1, x2 + 1, y2 + 1)``.
"""

import math
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmclarity.utils.files import listing
from mmclarity.utils.json_files import LabelFileError, read_json, truth

from .scalabel_frames import (
    CLASSES,
    FRAME_ATTRIBUTES,
    IGNORED_MAPPING,
    LABEL_ATTRIBUTES,
    NAME_MAPPING,
    PALETTE,
    UNDEFINED,
    BoxT,
    Frame,
    Label,
    ParseReport,
)

__all__ = [
    'CLASSES',
    'FRAME_ATTRIBUTES',
    'IGNORED_MAPPING',
    'LABEL_ATTRIBUTES',
    'NAME_MAPPING',
    'PALETTE',
    'UNDEFINED',
    'BoxT',
    'Frame',
    'Label',
    'ParseReport',
    'fit_box',
    'load_frames',
]


_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_LABEL_SUFFIXES = ('.json', '.json.gz')
_FARTHEST = 1e9  # pixels; JSON's integers have no end
_BOX_KEYS = ('x1', 'y1', 'x2', 'y2')
_LAYOUT_HELP = (
    'Expected a JSON list of frames (det_20 or bdd100k_labels_images_*.json), a '
    'Scalabel data set {"frames": [...]}, or a folder with one JSON file per image'
)


def load_frames(path: str | Path) -> tuple[list[Frame], ParseReport]:
    """Reads the labels of one split, whatever their layout.

    Args:
        path: A JSON file, or a folder of JSON files; each may be packed (``.json.gz``).

    Returns:
        The frames in the order of the file (files in the order of their names)
        and a report of what was skipped. Boxes are as labelled: clip them with
        :func:`fit_box` once the size of the image is known.

    Raises:
        FileNotFoundError: If ``path`` does not exist.
        LabelFileError: If the content is none of the layouts, has no frames, has
            labels but none of a BDD100K category, has a coordinate that is
            no finite number, or lists an image again with other labels.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such label file or folder')
    files = listing(path, _LABEL_SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise LabelFileError(f'{path}: the folder holds no *.json file. {_LAYOUT_HELP}')
    report = ParseReport()
    frames: list[Frame] = []
    for file in files:
        frames.extend(_parse_frame(raw, place, report) for raw, place in _raw_frames(file))
    if not frames:
        raise LabelFileError(f'{path}: the labels hold no frames. {_LAYOUT_HELP}')
    if report.unknown and not any(frame.labels for frame in frames):
        raise LabelFileError(
            f'{path}: none of {sum(report.unknown.values())} labels is of a BDD100K category; '
            f'found {sorted(report.unknown)[:20]}, known are {list(CLASSES)}. '
            'Is this the label file of another task (lanes, drivable area) or another data set? '
            'Classes of your own are read from COCO JSON (docs/user_guides/your_own_data.md)'
        )
    return _once(frames, report), report


def _once(frames: list[Frame], report: ParseReport) -> list[Frame]:
    """Every image once: one that is listed again counts as often in an evaluation.

    Raises:
        LabelFileError: If it is listed again with other labels: which are right?
    """
    kept: dict[str, Frame] = {}
    for frame in frames:
        first = kept.setdefault(frame.relative_path, frame)
        if first is frame:
            continue
        if (first.labels, first.attributes, first.size) != (
            frame.labels,
            frame.attributes,
            frame.size,
        ):
            raise LabelFileError(
                f'{frame.place}: this image has been listed before, with other labels, at '
                f'{first.place}; delete one of the two'
            )
        report.note('duplicates', frame.place)
    return list(kept.values())


def fit_box(
    label: Label, size: tuple[int, int], report: ParseReport, place: str = ''
) -> BoxT | None:
    """Clips a label's half-open box to its image.

    Up to one pixel beyond the border is usual in BDD100K (coordinates run to
    1280, not 1279) and is not reported.

    Args:
        label: The label.
        size: ``(width, height)`` of the image in pixels.
        report: Counts what is outside or was clipped.
        place: The frame's, for the report.

    Returns:
        ``(x1, y1, x2, y2)`` within ``[0, width] x [0, height]``, or None if
        nothing of the box lies in the image.

    Examples:
        >>> label = Label('7', 'car', (-5, 2, 9, 19), ignored=False, attributes={})
        >>> fit_box(label, (64, 48), ParseReport())
        (0.0, 2, 10, 20)
    """
    width, height = size
    x1, y1, x2, y2 = label.xyxy
    box = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if box[2] <= box[0] or box[3] <= box[1]:
        report.note('outside', f'{place}, label id {label.id!r}')
        return None
    if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
        report.note('clipped', f'{place}, label id {label.id!r}')
    return box


def _raw_frames(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields each raw frame of a file in det_20 fields, and its place for messages."""
    content = read_json(file)
    if isinstance(content, dict):
        if 'images' in content and 'annotations' in content:
            raise LabelFileError(
                f"{file}: this is COCO JSON; read it with mmdet's CocoDataset. {_LAYOUT_HELP}"
            )
        if 'frames' in content and 'name' in content:
            content = [_from_single_file(content, file)]
        elif 'frames' in content:
            content = _with_common_size(content)
        elif 'name' in content:
            content = [content]
    if not isinstance(content, list):
        raise LabelFileError(f'{file}: unknown layout ({_describe(content)}). {_LAYOUT_HELP}')
    for index, raw in enumerate(content):
        place = f'{file}: frame {index}'
        if isinstance(raw, dict) and {'image_id', 'score'} <= set(raw):
            raise LabelFileError(f'{file}: a COCO list of results; labels are wanted here')
        if not isinstance(raw, dict) or not isinstance(raw.get('name'), str) or not raw['name']:
            raise LabelFileError(
                f'{place}: a frame must be an object with a file name under "name", '
                f'got {_describe(raw)}. {_LAYOUT_HELP}'
            )
        yield raw, f'{place} ({raw["name"]!r})'


def _with_common_size(content: dict[str, Any]) -> Any:
    """The frames of a Scalabel data set; the size that its ``config`` tells is that of all."""
    frames, config = content['frames'], content.get('config')
    size = config.get('imageSize') if isinstance(config, dict) else None
    if size is None or not isinstance(frames, list):
        return frames
    return [
        {**raw, 'size': size} if isinstance(raw, dict) and raw.get('size') is None else raw
        for raw in frames
    ]


def _from_single_file(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Rewrites the old one-file-per-image layout in det_20 fields."""
    inner = content['frames'] if content['frames'] is not None else []
    if not isinstance(inner, list) or not all(isinstance(item, dict) for item in inner):
        raise LabelFileError(f'{file}: "frames" must be a list of objects, got {_describe(inner)}')
    if len(inner) > 1:
        raise LabelFileError(
            f'{file}: {len(inner)} frames for one image {content["name"]!r}; keep '
            'the one that belongs to the image'
        )
    return {**content, 'frames': None, 'labels': inner[0].get('objects') if inner else None}


def _parse_frame(raw: dict[str, Any], place: str, report: ParseReport) -> Frame:
    """Validates one frame in det_20 fields."""
    name = raw['name']
    if not name.lower().endswith(_IMAGE_SUFFIXES):
        name += '.jpg'  # the old layout gives names without a suffix
    name = posixpath.normpath(name)  # './a.jpg' is 'a.jpg'
    attributes = _small(_expect(raw, 'attributes', dict, place) or {}, FRAME_ATTRIBUTES)
    attributes = {
        **attributes,
        **{key: attributes.get(key) or UNDEFINED for key in FRAME_ATTRIBUTES},
    }
    size = _expect(raw, 'size', dict, place)
    if size is not None:
        size = (size.get('width'), size.get('height'))
        if not all(isinstance(n, int) and n > 0 for n in size):
            raise LabelFileError(
                f'{place}: "size" must give width and height as positive integers, '
                f'got {raw["size"]}; mend or remove it'
            )
    raw_labels = _expect(raw, 'labels', list, place)
    if not raw_labels:
        report.negatives += 1
    labels = (
        _parse_label(item, f'{place}, label {index}', report)
        for index, item in enumerate(raw_labels or [])
    )
    return Frame(
        name,
        [label for label in labels if label is not None],
        attributes,
        place,
        _expect(raw, 'videoName', str, place),
        size,
    )


def _parse_label(raw: Any, place: str, report: ParseReport) -> Label | None:
    """Validates one label; returns None (and counts) if it is to be skipped."""
    if not isinstance(raw, dict):
        raise LabelFileError(f'{place}: a label must be an object, got {_describe(raw)}')
    place = f'{place} (id {raw.get("id")!r})'
    category = _expect(raw, 'category', str, place)
    attributes = _small(_expect(raw, 'attributes', dict, place) or {}, LABEL_ATTRIBUTES)
    ignored = bool(attributes.get('ignored') or attributes.get('crowd'))
    ignored = ignored or category in IGNORED_MAPPING
    known = NAME_MAPPING.get(category, IGNORED_MAPPING.get(category, category))
    if known not in CLASSES:
        report.unknown[str(category)] += 1
        return None
    box2d = _expect(raw, 'box2d', dict, place)
    if box2d is None:
        report.note('no_box', place)
        return None
    box = []
    for key in _BOX_KEYS:
        value = box2d.get(key)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not -_FARTHEST < value < _FARTHEST  # NaN too
        ):
            real = isinstance(value, int | float) and not isinstance(value, bool)
            why = 'not a finite number'
            if real and (isinstance(value, int) or math.isfinite(value)):
                why = f'farther than {_FARTHEST:g} pixels from the image'
            raise LabelFileError(
                f'{place}: box2d["{key}"] is {str(value)[:40]}, {why}; mend the coordinate or '
                'delete the label'
            )
        box.append(float(value))
    if box[2] < box[0] or box[3] < box[1]:
        report.note('no_area', place)
        return None
    return Label(str(raw.get('id')), known, tuple(box), ignored, attributes)


def _small(attributes: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """The attributes, those that have a meaning here under their names in small letters.

    Track labels write ``Crowd`` and ``Occluded``. Where both spellings stand, a true one wins.
    Texts such as 'false' in the place of a boolean are read as what they say.
    """
    result: dict[str, Any] = {}
    for key, value in attributes.items():
        key = key.lower() if key.lower() in known else key
        if isinstance(value, str) and known is LABEL_ATTRIBUTES and key in known:
            value = truth(value)
        result[key] = result.get(key) or value
    return result


def _expect(raw: dict[str, Any], key: str, kind: type, place: str) -> Any:
    """Returns ``raw[key]``, None if missing or null; refuses another type."""
    value = raw.get(key)
    if value is not None and not isinstance(value, kind):
        raise LabelFileError(
            f'{place}: "{key}" must be of type {kind.__name__} or null, got {_describe(value)}'
        )
    return value


def _describe(value: Any) -> str:
    """Short description of a JSON value for messages."""
    if isinstance(value, dict):
        return f'an object with keys {sorted(value)[:8]}'
    if isinstance(value, list):
        return f'a list of {len(value)}'
    return f'{type(value).__name__} {str(value)[:40]!r}'
