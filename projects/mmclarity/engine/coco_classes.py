"""Do a COCO file's categories and the classes of its data set agree? Asked before it is built.

mmdet's ``CocoDataset`` numbers the categories in the order of the file, and leaves out those whose
name is not among the classes. So a misspelt class, or classes in another order, go on without a
word, and every object is learnt under the name of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.config import Config

from mmclarity.errors import UsageError
from mmclarity.utils.json_files import LabelFileError, read_json

from .coco_files import check_coco_content
from .config import is_remote, placed_datasets, scope_of
from .names import close_to, registered

_SHOWN = 12


def check_coco_classes(cfg: Config, keys: Sequence[str]) -> None:
    """Compare the classes of every COCO data set with the categories of its file.

    Then look at the file's images and annotations (:mod:`.coco_files`).

    Args:
        cfg: With data roots that are there, see :func:`.config.resolve_data_roots`.
        keys: Names of the loaders that will be used.

    Raises:
        UsageError: Naming the loader, the file, and the classes to write.
        LabelFileError: Naming an image or annotation that mmdet could not use.
    """
    with scope_of(cfg):
        for key in keys:
            for place, dataset in placed_datasets(cfg, key):
                kind = registered(dataset.get('type'), registry.DATASETS)
                if reads_coco(dataset) and not is_remote(dataset):
                    file = Path(dataset.get('data_root') or '') / (dataset.get('ann_file') or '')
                    if file.is_file():
                        content = read_coco(file)
                        _check(f'{place}: {file}', content, dataset.get('metainfo') or {}, kind)
                        folder = _images_of(place, dataset)
                        masks = _masks_of(dataset, content, kind)
                        check_coco_content(f'{place}: {file}', content, folder, masks)


def _images_of(place: str, dataset: dict) -> Path:
    prefix = dataset.get('data_prefix') or {}
    if 'img' not in prefix:
        raise UsageError(
            f"{place}: does not say where its images are: data_prefix=dict(img='FOLDER/'), below "
            "data_root; img='' if they lie there"
        )
    return Path(dataset.get('data_root') or '') / (prefix['img'] or '')


def _masks_of(dataset: dict, content: dict, kind: Any) -> set:
    """Ids of the categories whose masks the pipeline reads; mmdet reads those of crowds, too."""
    steps = [step for step in dataset.get('pipeline') or () if isinstance(step, dict)]
    if not any(step.get('with_mask') for step in steps):
        return set()
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None or isinstance(classes, str):
        classes = kind.METAINFO.get('classes') or ()
    return {item['id'] for item in content['categories'] if item['name'] in classes}


def _check(place: str, content: dict, metainfo: dict, kind: Any) -> None:
    given = metainfo.get('classes')
    if isinstance(given, str):
        if Path(given).is_file():
            return  # of names; mmengine reads it
        raise UsageError(
            f'{place}: metainfo.classes is the text {given!r}, whose letters would be taken for '
            f"classes; one class is written with a comma: classes=('{given}',)"
        )
    names = [category['name'] for category in content['categories']]
    classes = list(kind.METAINFO.get('classes') or () if given is None else given)
    if classes == [name for name in names if name in classes]:
        return
    written = f'metainfo=dict(classes={tuple(names)!r})'
    if len(names) > _SHOWN:
        written = 'metainfo=dict(classes=(...)) with the names of the file, in its order'
    if given is None:
        old = ' (CLASSES is not read: write it small)' if 'CLASSES' in metainfo else ''
        raise UsageError(
            f'{place}: has the categories {_list(names)}, but the data set is told of no '
            f"classes{old} and takes {kind.__name__}'s {len(classes)}: {_list(classes, 3)}. "
            f'Give it {written}'
        )
    lacking = [name for name in classes if name not in names]
    if lacking:
        near = close_to(str(lacking[0]), names)
        raise UsageError(
            f'{place}: has no category {lacking[0]!r}, which metainfo.classes names'
            + (f'; did you mean {near!r}?' if near else f'; it has {_list(names)}')
            + ' (each class must be a category of every file, also of one without such objects)'
        )
    order = tuple(name for name in names if name in classes)
    raise UsageError(
        f'{place}: its categories stand in another order than metainfo.classes, and mmdet numbers '
        f'them as the file does; write classes={order!r}'
    )


def reads_coco(dataset: dict) -> bool:
    """Whether a data set's file is read as ``CocoDataset`` does, not as some of its children.

    Args:
        dataset: Its config, asked in the scope of the whole config.
    """
    kind = registered(dataset.get('type'), registry.DATASETS)
    reads = getattr(getattr(kind, 'load_data_list', None), '__qualname__', '')
    return bool(reads == 'CocoDataset.load_data_list')


def read_coco(file: Path) -> dict:
    """A COCO file, with ``images``, ``annotations``, and ``categories`` of names that differ.

    Raises:
        LabelFileError: If it is none.
    """
    content = read_json(file)
    categories = content.get('categories') if isinstance(content, dict) else None
    if not isinstance(categories, list) or not {'images', 'annotations'} <= set(content):
        raise LabelFileError(
            f'{file}: is no COCO data set: it must be an object with "images", "annotations" and '
            '"categories"'
        )
    for category in categories:
        if not isinstance(category, dict) or not {'id', 'name'} <= set(category):
            raise LabelFileError(f'{file}: a category must have an id and a name, got {category!r}')
    for key in ('id', 'name'):
        values = [str(category[key]) for category in categories]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise LabelFileError(
                f'{file}: two categories have the {key} {twice!r}; make them one, and correct the '
                'category_id of its annotations'
            )
    return content


def _list(names: Sequence[Any], shown: int = _SHOWN) -> str:
    return ', '.join(map(str, names[:shown])) + (', ...' if len(names) > shown else '')
