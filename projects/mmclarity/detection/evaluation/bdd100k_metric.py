"""COCO-style AP on BDD100K, by size, weather, time of day, scene and instance attribute."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from mmclarity.errors import MissingKeyError, UsageError

from ..datasets.scalabel import CLASSES, FRAME_ATTRIBUTES
from .coco_eval import SUMMARY, BoxEval, BoxSummary
from .coco_output import write_coco
from .labelled import attribute_value, reference_scale


@METRICS.register_module()
class BDD100KMetric(BaseMetric):
    """Average precision of boxes straight from the data set's ``instances``.

    The numbers are those of COCO (and of the official BDD100K evaluation): mean
    over IoU 0.5:0.05:0.95 and over the classes that have ground truth. Ground
    truth with ``ignore_flag`` counts as a COCO crowd. All numbers lie in [0, 1];
    they are 0 where nothing was found and NaN where there is nothing to find.

    Keys, each after the prefix ``bdd/``: ``mAP``, ``mAP_50``, ``mAP_75``,
    ``mAP_s``, ``mAP_m``, ``mAP_l``; with ``instance_attribute='degraded'`` also
    ``mAP_degraded`` and ``mAP_clear``; for each value of an attribute in ``by``
    the same below e.g. ``weather/foggy/`` (a slash or blank within a value is
    written ``-`` or ``_``); with ``classwise`` the same below e.g. ``class/car/``.

    AP by an instance attribute ignores the other instances: a detection that
    lies on one of them (overlaps it more than any other, by the IoU asked for)
    is neither right nor wrong, whatever class it names. A wrong name thus counts
    against the part whose instance it lies on; a detection that lies on nothing
    cannot be ascribed to either part and counts against both.

    Args:
        eval_classes: Evaluate these classes only, e.g. those that are labelled;
            all by default. They must be classes of the data set.
        by: Attributes of the image whose values are evaluated separately.
        instance_attribute: Attribute of the label, taken as true or false
            (false where a label lacks it), by which to split the instances.
        classwise: Report every class as well.
        max_dets: Detections counted for each image and class.
        area_scale: What areas are multiplied by before they are small (below 32^2), medium or
            large (above 96^2 pixels): a number, or the ``(width, height)`` of the frames that the
            sizes are to mean, from which each frame's own size tells the factor. With
            ``(1280, 720)`` the columns of frames stored at 640x360 mean what the published ones
            mean (areas count four times), and those of full-size frames stay as they are. The
            printed table says which.
        outfile_prefix: Also write ``{prefix}.bbox.json`` (COCO detections) and
            ``{prefix}.gt.json`` (COCO images, categories and ground truth), the
            input of ``tools/dataset_converters/coco_to_scalabel.py``.
            Categories have the ids of the data set's own COCO file where ``category_ids`` is set,
            else BDD100K's numbers for its classes, else the places of the classes from 1.
        format_only: Write these files and evaluate nothing.
        collect_device: Of mmengine's ``BaseMetric``.
        prefix: Replaces the prefix ``bdd``.

    Attributes:
        category_ids: Of the classes, in their order, in the files that are written; set by
            ``EvaluationCheckHook`` from the data set, so that they are those of its COCO file.

    Raises:
        ValueError: If ``format_only`` has no ``outfile_prefix``, ``area_scale`` is not
            positive, a class is unknown, or a model predicts classes that the data set
            does not have.
        KeyError: If the test pipeline did not pass on what is needed.

    Examples:
        >>> from mmclarity.detection.evaluation import BDD100KMetric
        >>> metric = BDD100KMetric(by=['timeofday'])
        >>> metric.dataset_meta = dict(classes=('car', 'bus'))
        >>> metric.metric_names()[:3]
        ['mAP', 'mAP_50', 'mAP_75']
    """

    default_prefix: str | None = 'bdd'

    def __init__(
        self,
        eval_classes: Sequence[str] | None = None,
        by: Sequence[str] = FRAME_ATTRIBUTES,
        instance_attribute: str | None = None,
        classwise: bool = False,
        max_dets: int = 100,
        area_scale: float | Sequence[int] = 1.0,
        outfile_prefix: str | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if format_only and outfile_prefix is None:
            raise ValueError('format_only=True writes files: give outfile_prefix')
        if isinstance(eval_classes, str) or isinstance(by, str):
            raise ValueError('eval_classes and by must be lists of names, not a string')
        numbers = area_scale if isinstance(area_scale, Sequence) else [area_scale]
        if (
            isinstance(area_scale, str)
            or len(numbers) != (2 if isinstance(area_scale, Sequence) else 1)
            or not all(0 < number < float('inf') for number in numbers)
        ):
            raise ValueError(
                f'area_scale must be a positive number or (width, height), got {area_scale!r}'
            )
        self.area_scale = area_scale
        self.eval_classes = None if eval_classes is None else tuple(eval_classes)
        self.by = tuple(by or ())
        self.instance_attribute = instance_attribute
        self.classwise = classwise
        self.max_dets = max_dets
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.category_ids: tuple[int, ...] | None = None

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the data set."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self._classes()  # a Runner sets this before the training: tell about mistakes now

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps detections and ground truth of a batch.

        Args:
            data_batch: Not used.
            data_samples: Dicts with ``pred_instances`` (``bboxes`` (n, 4) as
                x1, y1, x2, y2 in pixels of the original image, ``scores`` (n, ),
                ``labels`` (n, )), ``img_id``, ``img_path``, ``ori_shape``,
                ``instances`` and the attributes named in ``by``.
        """
        num_classes = len(self._classes())
        for sample in data_samples:
            needed = () if self.format_only else ('instances', *self.by)
            lacking = [key for key in needed if key not in sample]
            if lacking:
                raise MissingKeyError(
                    f'BDD100KMetric: the data samples lack {lacking}; add them to meta_keys of '
                    "PackDetInputs in the test pipeline, or leave them out of the metric's by "
                    '(a data set without weather, timeofday and scene: by=())'
                )
            pred = sample['pred_instances']
            highest = int(pred['labels'].max()) if len(pred['labels']) else 0
            if highest >= num_classes:
                raise ValueError(
                    f'image {sample.get("img_path", "")!r}: the model predicts class number '
                    f'{highest}, but the data set has {num_classes} classes; set '
                    f'num_classes={num_classes} in the model, or test on the classes it was '
                    'trained on'
                )
            height, width = sample['ori_shape'][:2]
            self.results.append(
                {
                    'img_id': sample['img_id'],
                    'img_path': sample.get('img_path', ''),
                    'width': int(width),
                    'height': int(height),
                    'bboxes': pred['bboxes'].cpu().double().numpy().reshape(-1, 4),
                    'scores': pred['scores'].cpu().double().numpy(),
                    'labels': pred['labels'].cpu().long().numpy(),
                    'instances': sample.get('instances', []),
                    'groups': {key: attribute_value(sample, key) for key in self.by},
                }
            )

    def metric_names(self) -> list[str]:
        """The numbers of every evaluation, without prefix; groups and classes come on top.

        ``save_best`` is compared with them before training.
        """
        return [*SUMMARY, *(f'mAP_{name}' for name in self._halves())]

    def _halves(self) -> tuple[str, ...]:
        """What objects with and without the attribute are called; empty without one."""
        attribute = self.instance_attribute
        if attribute is None:
            return ()
        return attribute, 'clear' if attribute == 'degraded' else f'not_{attribute}'

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Evaluates all images.

        Args:
            results: What :meth:`process` kept, from all processes.

        Returns:
            The numbers by key, without prefix; empty with ``format_only``.
        """
        classes = self._classes()
        dts, broken = self._detections(results)
        if broken:
            print_log(
                f'BDD100KMetric: {broken} detections with NaN or infinite box or score left '
                'out: the training diverged; lower the learning rate or clip gradients',
                logger='current',
                level=logging.WARNING,
            )
        gts = self._ground_truth(results)
        if self.outfile_prefix is not None:
            write_coco(self.outfile_prefix, results, dts, gts, self._ids(classes), classes)
        if self.format_only:
            return {}
        wanted = [classes.index(name) for name in self.eval_classes or classes]
        scale, sentence = self._area_scale(results)
        evaluation = BoxEval(gts, dts, len(results), wanted, self.max_dets, scale)
        return self._report(evaluation, results, gts, classes, sentence)

    def _area_scale(self, results: list[dict]) -> tuple[float | np.ndarray, str]:
        """What areas are multiplied by, and the sentence that says so below the table."""
        if isinstance(self.area_scale, Sequence):
            sizes = [(result['width'], result['height']) for result in results]
            return reference_scale(sizes, tuple(self.area_scale))
        factor = float(self.area_scale)
        return factor, '' if factor == 1 else f'S/M/L: areas count times {factor:g}'

    def _classes(self) -> tuple[str, ...]:
        """Classes of the data set, after a check of ``eval_classes`` against them."""
        classes = tuple((self.dataset_meta or {}).get('classes', ()))
        if not classes:
            raise ValueError(
                'BDD100KMetric: dataset_meta has no classes; set '
                'metric.dataset_meta = dataset.metainfo when used outside a Runner'
            )
        unknown = [name for name in self.eval_classes or () if name not in classes]
        if unknown:
            raise UsageError(
                f'eval_classes {unknown} are no classes of the data set, which has {list(classes)}'
            )
        return classes

    @staticmethod
    def _detections(results: list[dict]) -> tuple[list[dict], int]:
        """Detections as COCO dicts (image_id: place in ``results``); how many are not finite."""
        dts, broken = [], 0
        for index, result in enumerate(results):
            finite = np.isfinite(result['bboxes']).all(axis=1) & np.isfinite(result['scores'])
            broken += int((~finite).sum())
            boxes = result['bboxes'][finite]
            boxes[:, 2:] -= boxes[:, :2]
            for box, score, label in zip(
                boxes.tolist(),
                result['scores'][finite].tolist(),
                result['labels'][finite].tolist(),
                strict=True,
            ):
                dts.append({'image_id': index, 'category_id': label, 'bbox': box, 'score': score})
        return dts, broken

    @staticmethod
    def _ground_truth(results: list[dict]) -> list[dict]:
        """Instances as COCO dicts (image_id: place in ``results``)."""
        gts = []
        for index, result in enumerate(results):
            for item in result['instances']:
                x1, y1, x2, y2 = (float(value) for value in item['bbox'])
                gts.append(
                    {
                        'image_id': index,
                        'category_id': int(item['bbox_label']),
                        'bbox': [x1, y1, x2 - x1, y2 - y1],
                        'iscrowd': int(item.get('ignore_flag', 0)),
                        'attributes': item.get('attributes') or {},
                    }
                )
        return gts

    def _report(
        self,
        evaluation: BoxEval,
        results: list[dict],
        gts: list[dict],
        classes: Sequence[str],
        sentence: str,
    ) -> dict[str, float]:
        """Numbers of all images and of every group, also printed as one table."""
        matches = self._matches(evaluation)
        numbers: dict[str, float] = {}
        rows = [['images of', 'images', 'boxes', *SUMMARY, *list(matches)[1:]]]
        valid = [
            gt for gt in gts if not gt['iscrowd'] and gt['category_id'] in evaluation.params.catIds
        ]

        def add(
            name: str,
            images: Sequence[int],
            parts: dict[str, BoxSummary],
            category: int | None = None,
        ) -> None:
            found = parts[''].numbers(category)
            found.update(
                {key: part.average(category_id=category) for key, part in parts.items() if key}
            )
            numbers.update({f'{name}{key}': value for key, value in found.items()})
            chosen = set(images)
            count = sum(
                gt['image_id'] in chosen and category in (None, gt['category_id']) for gt in valid
            )
            rows.append(
                [
                    name.rstrip('/') or 'all',
                    len(chosen),
                    count,
                    *(f'{value:.3f}' for value in found.values()),
                ]
            )

        everything = list(range(len(results)))
        overall: dict[str, BoxSummary] = {}
        for name, images in {'': everything, **self._groups(results)}.items():
            parts = {
                key: evaluation.summarize_images(match, images) for key, match in matches.items()
            }
            overall = overall or parts
            add(name, images, parts)
        for category in evaluation.params.catIds if self.classwise else ():
            add(f'class/{_key(classes[category])}/', everything, overall, category)
        table = AsciiTable(rows).table
        print_log(f'\n{table}\n{sentence}'.rstrip(), logger='current')
        return numbers

    def _matches(self, evaluation: BoxEval) -> dict[str, list[dict | None]]:
        """Matches of all instances (key ``''``) and of those with and without the attribute."""
        matches = {'': evaluation.match()}
        attribute = self.instance_attribute
        if attribute is not None:
            _, without = self._halves()
            matches[f'mAP_{attribute}'] = evaluation.match(
                lambda gt: not gt['attributes'].get(attribute)
            )
            matches[f'mAP_{without}'] = evaluation.match(
                lambda gt: bool(gt['attributes'].get(attribute))
            )
        return matches

    def _groups(self, results: list[dict]) -> dict[str, list[int]]:
        """Images by key such as ``weather/foggy/``, for each attribute in ``by``."""
        groups: dict[str, list[int]] = {}
        for key in self.by:
            values = [result['groups'][key] for result in results]
            for value in sorted(set(values)):
                groups.setdefault(f'{key}/{_key(value)}/', []).extend(
                    index for index, other in enumerate(values) if other == value
                )
        return groups

    def _ids(self, classes: Sequence[str]) -> list[int]:
        """Category ids for the files."""
        if self.category_ids is not None and len(self.category_ids) == len(classes):
            return list(self.category_ids)
        if set(classes) <= set(CLASSES):
            return [CLASSES.index(name) + 1 for name in classes]
        return list(range(1, len(classes) + 1))


def _key(value: str) -> str:
    """A value as part of a key: neither slash nor blank."""
    return value.replace('/', '-').replace(' ', '_')
