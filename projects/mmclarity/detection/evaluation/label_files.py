"""Labels and results of detectors in files, brought into one form, without any framework.

Labels are Scalabel (BDD100K, all layouts of :mod:`~mmclarity.detection.datasets.scalabel`) or COCO
JSON; results are COCO result lists or Scalabel frames whose labels bear a ``score``.
"""

import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mmclarity.utils.json_files import LabelFileError, read_json, truth

from ..datasets.coco import category_names, check_detection, check_images, read_coco, size_of
from ..datasets.scalabel import (
    CLASSES,
    NAME_MAPPING,
    fit_box,
    load_frames,
)
from .labelled import Labelled, Size, parse_size

_IGNORE = (
    '{}: {:,} objects say "ignore"; they are to be found, as in pycocotools, which reads "iscrowd" '
    'only (mmdet leaves them out).'
)

__all__ = ['Labelled', 'parse_size', 'read_labels', 'read_results']


def read_labels(path: str | Path, image_size: Size | None = None) -> Labelled:
    """Reads the labels of one split.

    Args:
        path: Scalabel JSON or folder, or COCO JSON.
        image_size: ``(width, height)`` in pixels of every image whose size the labels do not give.

    Raises:
        FileNotFoundError: If there is no such file.
        LabelFileError: If the content cannot be used; the message names place and remedy.
    """
    path = Path(path)
    if path.is_file():
        content = read_json(path)
        if isinstance(content, dict) and 'images' in content:
            return _from_coco(path, image_size)
    return _from_scalabel(path, image_size)


def _short(paths: Sequence[str]) -> list[str]:
    """File names without folders, if these still tell the images apart."""
    names = [PurePosixPath(name.replace('\\', '/')).name for name in paths]
    return names if len(set(names)) == len(names) else list(paths)


def _from_scalabel(path: Path, image_size: Size | None) -> Labelled:
    frames, report = load_frames(path)
    if report.duplicates:
        raise LabelFileError(
            f'{path}: {report.duplicates} frames occur more than once; an image must count once: '
            'delete the copies'
        )
    ids = {name: number for number, name in enumerate(CLASSES, 1)}
    gts = []
    sizes = [frame.size or image_size for frame in frames]
    for place, (frame, size) in enumerate(zip(frames, sizes)):
        for label in frame.labels:
            box = fit_box(label, size, report, frame.place) if size else label.xyxy
            if box is not None:
                gts.append(_gt(place, ids[label.category], box, label.ignored))
    report.check_outside(str(path), len(gts))
    notes = _twice(path, gts)
    if None in sizes:
        notes.append(
            f'{path.name} gives no image sizes: boxes are as labelled, not clipped to their image '
            '(--image-size WIDTHxHEIGHT clips them)'
        )
    paths = [frame.relative_path for frame in frames]
    return Labelled(
        source=str(path),
        names=_short(paths),
        paths=paths,
        ids={place + 1: place for place in range(len(frames))},  # as BDD100KDataset counts
        sizes=sizes,
        attributes=[frame.attributes for frame in frames],
        categories={number: name for name, number in ids.items()},
        gts=gts,
        notes=notes,
    )


def _gt(place: int, category: int, box: Sequence[float], crowd: bool) -> dict:
    x1, y1, x2, y2 = box
    return {
        'image_id': place,
        'category_id': category,
        'bbox': [x1, y1, x2 - x1, y2 - y1],
        'iscrowd': int(crowd),
    }


def _by_id(images: list[dict]) -> list[dict]:
    """In the order in which pycocotools takes detections of equal scores."""
    try:
        return sorted(images, key=lambda item: item['id'])
    except TypeError:  # numbers among texts
        return images


def _twice(path: Path, gts: Sequence[dict]) -> list[str]:
    """What to say of objects that are labelled twice, of which one at most can be found."""
    different = {(gt['image_id'], gt['category_id'], *gt['bbox']) for gt in gts}
    twice = len(gts) - len(different)
    if twice <= len(gts) / 100:
        return []
    return [
        f'{path.name}: {twice:,} of {len(gts):,} objects stand there twice; a detector that marks '
        'each once misses the second.'
    ]


def _check_files(path: Path, images: list[dict]) -> None:
    """Refuses one file under two ids: it would count twice."""
    seen: dict[str, Any] = {}
    for item in images:
        name = posixpath.normpath(str(item['file_name']))
        if name in seen:
            raise LabelFileError(
                f'{path}: the image {item["file_name"]} has two ids, {seen[name]!r} and '
                f'{item["id"]!r}; an image must count once: delete one of the two'
            )
        seen[name] = item['id']


def _attributes(image: dict) -> dict[str, Any]:
    """Of a COCO image; the number of its video too, where it is one's frame."""
    video = {'video_id': image['video_id']} if image.get('video_id') is not None else {}
    told = image.get('attributes')
    return {**video, **told} if isinstance(told, dict) else video


def _from_coco(path: Path, image_size: Size | None) -> Labelled:
    coco = read_coco(path)
    if 'annotations' not in coco:
        raise LabelFileError(f'{path}: no "annotations"; give the ground truth')
    check_images(path, coco['images'])
    images = _by_id(coco['images'])
    ids = {item['id']: place for place, item in enumerate(images)}
    _check_files(path, images)
    names = category_names(path, coco['categories'])
    gts = []
    for index, item in enumerate(coco['annotations']):
        scored = {**item, 'score': 0.0} if isinstance(item, dict) else item
        check_detection(scored, f'{path}: annotation {index}', ids, names)
        crowd = int(truth(item.get('iscrowd', 0)))
        gts.append({**item, 'iscrowd': crowd, 'image_id': ids[item['image_id']]})
    ignored = sum(bool(truth(gt.get('ignore', 0))) and not gt['iscrowd'] for gt in gts)
    paths = [item['file_name'] for item in images]
    return Labelled(
        source=str(path),
        names=_short(paths),
        paths=paths,
        ids=ids,
        sizes=[size_of(item) or image_size for item in images],
        attributes=[_attributes(item) for item in images],
        categories=names,
        gts=gts,
        notes=[_IGNORE.format(path.name, ignored)] * bool(ignored) + _twice(path, gts),
    )


def read_results(path: str | Path, labelled: Labelled) -> list[dict]:
    """Reads what a detector found in the labelled images.

    A COCO result list names images by number only. If the ``*.gt.json`` that ``BDD100KMetric``
    writes stands beside a ``*.bbox.json``, its file names tell whether the images are the labelled
    ones; otherwise the numbers are taken for those of the labels (for Scalabel labels: the place in
    the file from 1, and BDD100K's category numbers, as ``tools/test.py`` writes them).

    Args:
        path: COCO result list, COCO file whose annotations have scores (of ``detect.py``), or
            Scalabel frames.
        labelled: The images.

    Returns:
        Detections as :class:`BoxEval` has them; ``image_id`` is the place of the image.

    Raises:
        FileNotFoundError: If there is no such file.
        LabelFileError: If it is cut off, neither of the two, or of other images or classes.
    """
    path = Path(path)
    content = read_json(path)
    if isinstance(content, dict) and 'frames' in content:
        content = content['frames']
    numbering = None
    if _is_coco(content) and _has_scores(content['annotations']):
        numbering = _matched(path, path.name, read_coco(path), labelled)
        content = content['annotations']
    if not isinstance(content, list):
        raise LabelFileError(
            f'{path}: expected a COCO result list (the *.bbox.json of a test with outfile_prefix) '
            f'or Scalabel frames{"; this is ground truth" if _is_coco(content) else ""}'
        )
    if content and isinstance(content[0], dict) and 'name' in content[0]:
        return _scalabel_results(path, content, labelled)
    images, categories = numbering or _numbering(path, labelled)
    images = {**_by_file_name(labelled), **images}
    names = {number: labelled.categories[category] for number, category in categories.items()}
    found = []
    for index, item in enumerate(content):
        _check_category(item, path, index, names)
        check_detection(item, f'{path}: detection {index}', images, names)
        found.append(
            {
                'image_id': images[item['image_id']],
                'category_id': categories[item['category_id']],
                'bbox': item['bbox'],
                'score': item['score'],
            }
        )
    return found


def _by_file_name(labelled: Labelled) -> dict[str, int]:
    """Places of images by file name, with folder and without, and by that without its ending.

    Programs that know no ids (ultralytics, YOLO's descendants) write these.
    """
    places: dict[str, int] = {}
    stems = [PurePosixPath(name).stem for name in labelled.names]
    for names in (stems, labelled.names, labelled.paths):
        if len(set(names)) == len(names):
            places.update(
                {
                    name: place
                    for place, name in enumerate(names)
                    if not name.isdecimal()  # an id as text?
                }
            )
    return places


def _check_category(item: Any, path: Path, index: int, names: dict[int, str]) -> None:
    """Refuses numbers that are the places of categories, not their ids."""
    number = item.get('category_id') if isinstance(item, dict) else None
    if isinstance(number, int) and number not in names and 0 <= number <= len(names):
        raise LabelFileError(
            f'{path}: detection {index}: category_id {number!r} is not among the categories '
            f"{names}. Does it count the classes from 0 or 1? Write the labels' ids"
        )


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and 'annotations' in content


def _has_scores(annotations: Any) -> bool:
    """Whether these are detections: objects of ground truth have no scores."""
    return (
        isinstance(annotations, list)
        and bool(annotations)
        and all(isinstance(item, dict) and 'score' in item for item in annotations)
    )


def _numbering(path: Path, labelled: Labelled) -> tuple[dict[Any, int], dict[Any, int]]:
    """Places of images and ids of categories, by the numbers a COCO result list uses."""
    own = labelled.ids, {number: number for number in labelled.categories}
    name = path.name.removesuffix('.gz')
    start = path.with_name(name.removesuffix('.bbox.json'))
    beside = next(
        (
            file
            for file in (Path(f'{start}.gt.json'), Path(f'{start}.gt.json.gz'))
            if file.is_file()
        ),
        None,
    )
    if not name.endswith('.bbox.json') or beside is None:
        return own
    return _matched(path, beside.name, read_coco(beside), labelled) or own


def _matched(
    path: Path, told_by: str, coco: dict, labelled: Labelled
) -> tuple[dict[Any, int], dict[Any, int]] | None:
    """The same from the images and categories that ``coco`` names; None if they have no names."""
    check_images(path.with_name(told_by), coco['images'])
    places = {name: place for place, name in enumerate(labelled.names)}
    names = _short([item['file_name'] for item in coco['images']])
    if set(names) != set(places) and set(names).isdisjoint(places) and len(set(names)) < len(names):
        return None  # one of the two has no unique names
    strange = [name for name in names if name not in places]
    absent = set(places) - set(names)
    if strange or absent:
        first = strange[0] if strange else sorted(absent)[0]
        raise LabelFileError(
            f'{path}: the detector was run on other images than {labelled.source} labels '
            f'({told_by}: {len(strange)} of {len(names)} are not labelled, {len(absent)} '
            f'labelled ones are missing, e.g. {first!r}); give the labels of the images it was '
            'run on'
        )
    _check_sizes(path, told_by, coco['images'], names, labelled)
    ids = {name: number for number, name in labelled.categories.items()}
    other = [item['name'] for item in coco['categories'] if item['name'] not in ids]
    if other:
        raise LabelFileError(
            f'{path}: the detector names {other}, which are no classes of {labelled.source} '
            f'({list(ids)}); give the labels of the classes it was trained on'
        )
    return (
        {item['id']: places[name] for item, name in zip(coco['images'], names)},
        {item['id']: ids[item['name']] for item in coco['categories']},
    )


def _check_sizes(
    path: Path, told_by: str, images: list[dict], names: list[str], labelled: Labelled
) -> None:
    """Refuses detections in pixels of larger or smaller images than the labels'."""
    sizes = dict(zip(labelled.names, labelled.sizes))
    for item, name in zip(images, names):
        own, wanted = size_of(item), sizes[name]
        if wanted and own and max(abs(a - b) for a, b in zip(own, wanted)) > 1:
            raise LabelFileError(
                f'{path}: it was run on {name} in {own[0]}x{own[1]} pixels ({told_by}), but '
                f'{labelled.source} labels it in {wanted[0]}x{wanted[1]}: boxes would lie '
                f'elsewhere. Give {told_by} itself as labels, or labels of that size'
            )


def _scalabel_results(path: Path, frames: list, labelled: Labelled) -> list[dict]:
    places = {name: place for place, name in enumerate(labelled.names)}
    places.update({name: place for place, name in enumerate(labelled.paths)})
    ids = {name: number for number, name in labelled.categories.items()}
    found, seen = [], set()
    for index, frame in enumerate(frames):
        name = frame.get('name') if isinstance(frame, dict) else None
        if isinstance(name, str) and f'{frame.get("videoName")}/{name}' in places:
            name = f'{frame["videoName"]}/{name}'  # other videos may have one of this name
        place = places.get(name)
        if place is None or place in seen:
            why = 'occurs twice' if place in seen else f'is no image of {labelled.source}'
            raise LabelFileError(f'{path}: frame {index} ({name!r}) {why}; give results of them')
        seen.add(place)
        for number, label in enumerate(frame.get('labels') or ()):
            where = f'{path}: frame {index} ({name!r}), label {number}'
            item = {**_scalabel_detection(label, where, ids), 'image_id': place}
            check_detection(item, where, (place,), labelled.categories)
            found.append(item)
    if len(seen) < len(labelled.names):
        absent = next(n for place, n in enumerate(labelled.names) if place not in seen)
        raise LabelFileError(
            f'{path}: {len(labelled.names) - len(seen)} of {len(labelled.names)} labelled images '
            f'have no frame, e.g. {absent!r}; images without detections have an empty one'
        )
    return found


def _scalabel_detection(label: Any, where: str, ids: dict[str, int]) -> dict:
    """A Scalabel label as a COCO detection, still to be checked."""
    if not isinstance(label, dict) or 'score' not in label:
        raise LabelFileError(f'{where}: no "score"; is this ground truth?')
    category = label.get('category')
    category = category if category in ids else NAME_MAPPING.get(category)
    if category not in ids:
        raise LabelFileError(
            f'{where}: category {label.get("category")!r} is none of {list(ids)}; give results '
            'of these classes'
        )
    try:
        x1, y1, x2, y2 = (float(label['box2d'][key]) for key in ('x1', 'y1', 'x2', 'y2'))
    except (KeyError, TypeError, ValueError):
        raise LabelFileError(f'{where}: box2d must have the numbers x1, y1, x2, y2') from None
    return {
        'category_id': ids[category],
        'bbox': [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
        'score': label['score'],
    }
