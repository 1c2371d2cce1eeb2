"""What only the built evaluation can tell, asked before the first epoch and not after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.errors import DataError, UsageError
from mmclarity.utils.models import innermost


@HOOKS.register_module()
class EvaluationCheckHook(Hook):
    """Refuses, before training, what the evaluation could not give or would count wrongly.

    A ``save_best`` that is not measured; groups without data; sets of images and objects (all of
    mmdet's, by their ``instances``) without a single object, from which nothing is learnt and whose
    AP is not a number; and an image that a validation or test would count twice.

    A metric that writes COCO files is told the category ids of the data (``category_ids``), and
    mmdet's for COCO which images of its file are judged, where a data set's ``indices`` leave some
    out: their objects would count as missed.

    A metric that knows its numbers beforehand says so by a method ``metric_names()``, without the
    prefix; of others only the prefix is compared. What a metric has in its attribute ``by`` must
    be known of the data set's images.

    Args:
        allow_no_objects: Take sets without an object.
    """

    priority = 'VERY_HIGH'

    def __init__(self, allow_no_objects: bool = False) -> None:
        self.allow_no_objects = allow_no_objects

    def before_train(self, runner: Runner) -> None:
        """Compare.

        Raises:
            UsageError: naming what there is to choose from.
        """
        if not self.allow_no_objects:
            _check_objects('train_dataloader', runner.train_dataloader)
        if runner.val_loop is None:
            return
        if not self.allow_no_objects:
            _check_objects('val_dataloader', runner.val_dataloader)
        _check_images('val_dataloader', runner.val_dataloader)
        metrics = runner.val_evaluator.metrics
        _tell_category_ids(metrics, runner.val_dataloader)
        _tell_images(metrics, runner.val_dataloader)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best:
                for key in hook.key_indicators:
                    if key != 'auto':
                        _check_key(key, metrics)
        _check_groups('val', metrics, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Refuse an image that would count twice, and groups that no image belongs to."""
        _check_images('test_dataloader', runner.test_dataloader)
        _tell_category_ids(runner.test_evaluator.metrics, runner.test_dataloader)
        _tell_images(runner.test_evaluator.metrics, runner.test_dataloader)
        _check_groups('test', runner.test_evaluator.metrics, runner.test_dataloader.dataset)


def _infos(loader: Any) -> Iterator[tuple[Any, Iterator[dict]]]:
    """The innermost data sets that list images and objects, with what they know of each image."""
    for part in innermost(getattr(loader, 'dataset', None)):
        info = getattr(part, 'get_data_info', None)
        if info is None or not hasattr(part, '__len__') or not len(part):
            continue
        first = info(0)
        if isinstance(first, dict) and isinstance(first.get('instances'), list):
            yield part, (info(index) for index in range(len(part)))


def _tell_category_ids(metrics: list[Any], loader: Any) -> None:
    """Metrics that write COCO files learn the category ids of the data set's own one.

    It is left at the metric's numbers where there is none, or several that disagree.
    """
    parts = innermost(getattr(loader, 'dataset', None))
    found = {tuple(getattr(part, 'cat_ids', None) or ()) for part in parts}
    if len(found) == 1 and (ids := found.pop()):
        for metric in metrics:
            if getattr(metric, 'category_ids', ids) is None:
                metric.category_ids = ids


def _tell_images(metrics: list[Any], loader: Any) -> None:
    """COCO's metrics judge what ``indices`` of the data set leave, not all images of their file."""
    found = list(_infos(loader))
    if all(getattr(part, '_indices', None) is None for part, _ in found):
        return
    judged = sorted(info['img_id'] for _, infos in found for info in infos)
    for metric in metrics:
        if getattr(metric, '_coco_api', None) is not None and metric.img_ids is None:
            metric.img_ids = judged


def _named(part: Any) -> str:
    return f'{type(part).__name__} {getattr(part, "ann_file", "") or ""}'.strip()


def _check_objects(place: str, loader: Any) -> None:
    names: list[str] = []
    for part, infos in _infos(loader):
        if getattr(part, 'allow_no_objects', False):
            return
        names.append(_named(part))
        for info in infos:
            if any(not item.get('ignore_flag') for item in info['instances']):
                return
    if names:
        raise DataError(
            f'{place}: no image of {", ".join(names)} has an object that is not ignored: nothing '
            'can be learnt from it, and AP would not be a number. Choose other labels or classes '
            "(metainfo), or say custom_hooks=[dict(type='EvaluationCheckHook', "
            'allow_no_objects=True)]'
        )


def _check_images(place: str, loader: Any) -> None:
    for part, infos in _infos(loader):
        seen: dict[str, Any] = {}
        for info in infos:
            if 'img_path' not in info:
                break
            path, number = os.path.normpath(info['img_path']), info.get('img_id')
            if path in seen:
                raise DataError(
                    f'{place}: {_named(part)} lists {path} twice (img_id {seen[path]!r} and '
                    f'{number!r}), so that it would count twice; delete one of the two'
                )
            seen[path] = number


def _names(metric: Any) -> list[str] | None:
    """The numbers of a metric that says them, or of mmdet's for COCO; None of others."""
    if callable(getattr(metric, 'metric_names', None)):
        return metric.metric_names()
    if type(metric).__name__ != 'CocoMetric' or metric.classwise or metric.format_only:
        return None
    names: list[str] = []
    for kind in metric.metrics:
        if kind == 'proposal_fast':
            return None
        items = metric.metric_items or (
            ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
            if kind == 'proposal'
            else ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
        )
        names += items if kind == 'proposal' else [f'{kind}_{item}' for item in items]
    return names


def _check_key(key: str, metrics: list[Any]) -> None:
    known: list[str] = []
    open_ended = False
    for metric in metrics:
        prefix = f'{metric.prefix}/' if getattr(metric, 'prefix', None) else ''
        names = _names(metric)
        if names is not None:
            known += [f'{prefix}{name}' for name in names]
            groups = [*(getattr(metric, 'by', None) or ()), 'class']
            open_ended |= any(key.startswith(f'{prefix}{group}/') for group in groups)
        else:
            open_ended |= key.startswith(prefix)
            known.append(f'{prefix}...')
    if key not in known and not open_ended:
        raise UsageError(
            f'default_hooks.checkpoint.save_best={key!r}: the evaluation gives no such number, '
            f'but {", ".join(known)}'
        )


def _check_groups(which: str, metrics: list[Any], dataset: Any) -> None:
    for metric in metrics:
        if getattr(metric, 'format_only', False):
            continue
        for name in getattr(metric, 'by', None) or ():
            _check_group(which, name, metric, dataset)


def _check_group(which: str, name: str, metric: Any, dataset: Any) -> None:
    for part in innermost(dataset):
        info = getattr(part, 'get_data_info', None)
        if info is None or not len(part):
            continue
        known = info(0)
        if name not in known:
            texts = sorted(key for key, value in known.items() if isinstance(value, str))
            raise UsageError(
                f'{type(metric).__name__}: by={list(metric.by)}: the images of '
                f'{type(part).__name__} have no {name!r}; they have {", ".join(texts)}. Without '
                f'groups: {which}_evaluator=dict(by=())'
            )
