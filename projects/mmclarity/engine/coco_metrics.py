"""Do COCO's metrics read the labels of the images that are judged? Asked before anything is built.

mmdet's ``CocoMetric`` reads a file of its own, ``ann_file``. One that is not that of the data set
gives an AP of nothing in silence, or an error that names neither, after the first epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.config import Config

from mmclarity.errors import UsageError
from mmclarity.utils import places

from .coco_classes import read_coco, reads_coco
from .config import is_remote, placed_datasets, scope_of
from .names import items, registered

_SHOWN = 3


def check_coco_metrics(cfg: Config, keys: Sequence[str]) -> None:
    """Compare the file of every COCO metric with those of the data sets that it judges.

    Args:
        cfg: With data roots that are there, see :func:`.config.resolve_data_roots`. An ``ann_file``
            that is found at home or in the repository, as data roots are, is made absolute.
        keys: Names of the loaders that will be used.

    Raises:
        UsageError: Naming the metric, its file, and the remedy.
        LabelFileError: If that file is no COCO data set.
    """
    with scope_of(cfg):
        for key in keys:
            evaluator = key.replace('dataloader', 'evaluator')
            sets = list(placed_datasets(cfg, key))
            for place, metric in items(evaluator, cfg.get(evaluator)):
                kind = registered(metric.get('type'), registry.METRICS)
                computes = getattr(getattr(kind, 'compute_metrics', None), '__qualname__', '')
                if computes == 'CocoMetric.compute_metrics' and evaluator != key:
                    _check(place, metric, sets)


def _check(place: str, metric: dict, sets: Sequence[tuple[str, dict]]) -> None:
    files = [
        Path(one.get('data_root') or '') / one['ann_file']
        for _, one in sets
        if reads_coco(one) and one.get('ann_file') and not is_remote(one)
    ]
    if metric.get('ann_file') is None:
        _check_passed_on(place, sets, files)
        return
    if is_remote(metric) or '://' in str(metric['ann_file']) or not sets:
        return
    file = _found(place, metric, files)
    if len(files) != len(sets) or not all(one.is_file() for one in files):
        return  # other kinds of data sets
    if len(files) > 1 or not file.samefile(files[0]):
        _check_other(place, file, files, [one for _, one in sets])


def _check_passed_on(place: str, sets: Sequence[tuple[str, dict]], files: Sequence[Path]) -> None:
    """Without a file, labels come through the pipeline, if it passes them on."""
    for where, one in sets:
        steps = [step for _, step in items('', one.get('pipeline'))]
        if steps and 'instances' not in steps[-1].get('meta_keys', ()):
            remedy = f'give {place}.ann_file={files[0]}' if len(files) == 1 else 'give its ann_file'
            raise UsageError(
                f'{place}: has no ann_file, and the last step of {where}.pipeline does not pass '
                f"'instances' on in its meta_keys: there are no labels to judge by; {remedy}"
            )


def _found(place: str, metric: dict, files: Sequence[Path]) -> Path:
    """The metric's file, looked for where data roots are."""
    given = Path(metric['ann_file'])
    for file in (given.expanduser(), places.REPO / given):
        if file.is_file():
            if file != given:
                metric['ann_file'] = str(file)
            return file
    judged = f'; the data set that it judges has {files[0]}' if len(files) == 1 else ''
    raise UsageError(
        f'{place}: ann_file not found: {given} (absolute: {given.absolute()}){judged}. Set '
        f'{place}.ann_file, as --cfg-options take it: {_dotted(place)}.ann_file=FILE'
    )


def _dotted(place: str) -> str:
    return place.replace('[', '.').replace(']', '')


def _names(content: Mapping[str, Any]) -> dict[Any, str]:
    return {one.get('id'): Path(str(one.get('file_name'))).name for one in content['images']}


def _check_other(
    place: str, file: Path, files: Sequence[Path], sets: Sequence[Mapping[str, Any]]
) -> None:
    """A file beside those of the data sets must be of the same images and classes."""
    content = read_coco(file)
    there, judged = _names(content), {}
    categories = [category['name'] for category in content['categories']]
    for one, own in zip(files, sets):
        read = read_coco(one)
        names = [category['name'] for category in read['categories']]
        given = (own.get('metainfo') or {}).get('classes')
        classes = names if not given or isinstance(given, str) else list(given)  # str: a file
        if [name for name in categories if name in classes] != classes:
            raise UsageError(
                f'{place}: ann_file {file} has the categories {_few(categories)}, not the classes '
                f'{_few(classes)} of the data set that it judges, in their order; its file is {one}'
            )
        for number, name in _names(read).items():
            if there.get(number) != name:
                whose = f'is {there[number]} there' if number in there else 'is not there'
                raise UsageError(
                    f'{place}: ann_file {file} is of other images than the data set that it '
                    f'judges: image {number}, {name} of {one}, {whose}. Give it {_remedy(files)}'
                )
            if number in judged:
                raise UsageError(
                    f'{place}: image {number}, {name}, is in two of the data sets that it judges, '
                    'and its detections would count twice. Join the files, or number their images '
                    'and those of ann_file anew'
                )
            judged[number] = name
    _check_missed(place, file, content, judged)


def _check_missed(
    place: str, file: Path, content: Mapping[str, Any], judged: Mapping[Any, str]
) -> None:
    missed = {one.get('image_id') for one in content['annotations']} - set(judged)
    if missed:
        raise UsageError(
            f'{place}: ann_file {file} has {len(missed)} images with objects that the data set '
            'has not, and all of them would count as missed. Give the data set the same file, or '
            'the metric a file of the same images'
        )


def _remedy(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return f'the same file: {files[0]}'
    return 'one file of the images of all data sets, each with an id of its own'


def _few(names: Sequence[Any]) -> str:
    return ', '.join(map(str, names[:_SHOWN])) + (', ...' if len(names) > _SHOWN else '')
