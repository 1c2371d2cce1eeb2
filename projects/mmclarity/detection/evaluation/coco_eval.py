"""COCO's box evaluation on data in memory, matched once and averaged many times."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.cocoeval import COCOeval

#: Names of the numbers and where they stand: IoU threshold (None: mean over
#: 0.5:0.95) and area range (all; small < 32^2; medium; large > 96^2 pixels).
SUMMARY = {
    'mAP': (None, 'all'),
    'mAP_50': (0.5, 'all'),
    'mAP_75': (0.75, 'all'),
    'mAP_s': (None, 'small'),
    'mAP_m': (None, 'medium'),
    'mAP_l': (None, 'large'),
}


def area_of(item: dict) -> float:
    """Area of an object in pixels, by which it is small, medium or large.

    It may give its own ``area``, as COCO does for what is labelled with a mask.
    """
    given = item.get('area')
    if isinstance(given, int | float) and 0 < given < float('inf'):
        return given
    return _box_area(item)


def _box_area(item: dict) -> float:
    return item['bbox'][2] * item['bbox'][3]


class BoxEval(COCOeval):
    """pycocotools' ``COCOeval`` for boxes, fed with plain dicts.

    Overlaps are computed once. :meth:`match` may then be called with several
    rules of what to ignore, and :meth:`summarize_images` averages its result over
    any of the images: the numbers are those of an evaluation of these images alone.

    Args:
        gts: Ground truth; dicts with ``image_id`` (from 0), ``category_id``,
            ``bbox`` (x, y, width, height in pixels), ``iscrowd``, ``area`` where it is not that of
            the box, and anything else.
        dts: Detections; dicts with ``image_id``, ``category_id``, ``bbox``, ``score``.
        num_images: Number of images.
        category_ids: Categories to evaluate; others are left out.
        max_dets: Detections counted for each image and category (COCO: 100).
        area_scale: Areas count times this when they are told to be small, medium or large; one
            number, or one an image. 4 for frames stored at half of the width and height that the
            sizes are to mean.

    Raises:
        ValueError: If ``area_scale`` is not positive, or there is not one an image.
    """

    def __init__(
        self,
        gts: Sequence[dict],
        dts: Sequence[dict],
        num_images: int,
        category_ids: Sequence[int],
        max_dets: int = 100,
        area_scale: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(iouType='bbox')
        scales = np.asarray(area_scale, dtype=np.float64)
        if scales.shape not in ((), (num_images,)) or not (scales > 0).all():
            raise ValueError(
                f'area_scale must be a positive number, or one for each of the {num_images} '
                f'images, got {area_scale!r}'
            )
        scales = np.broadcast_to(scales, (num_images,)).tolist()
        self.params.imgIds = list(range(num_images))
        self.params.catIds = sorted(category_ids)
        self.params.maxDets = [max_dets]
        # an empty list for every pair that holds nothing
        self._gts: dict[tuple, list[dict]] = defaultdict(list)
        self._dts: dict[tuple, list[dict]] = defaultdict(list)
        wanted = set(category_ids)
        for store, items in ((self._gts, gts), (self._dts, dts)):
            for number, item in enumerate(items, 1):  # 0 means "unmatched" to COCOeval
                if item['category_id'] in wanted:
                    area = area_of(item) if store is self._gts else _box_area(item)
                    area *= scales[item['image_id']]
                    store[item['image_id'], item['category_id']].append(
                        {**item, 'id': number, 'area': area}
                    )
        pairs = set(self._gts) | set(self._dts)
        self.ious = {pair: self.computeIoU(*pair) for pair in pairs}
        self._nearest = self._find_nearest()

    def _find_nearest(self) -> dict[int, tuple[dict, float]]:
        """The ground truth of any category a detection overlaps most, and the IoU, by its id."""
        gts, dts, nearest = defaultdict(list), defaultdict(list), {}
        for store, by_image in ((self._gts, gts), (self._dts, dts)):
            for (image, _), items in store.items():
                by_image[image].extend(items)
        for image in gts.keys() & dts.keys():
            boxes = [[item['bbox'] for item in items[image]] for items in (dts, gts)]
            overlaps = np.asarray(mask_utils.iou(*boxes, [0] * len(boxes[1])))
            for item, row in zip(dts[image], overlaps):
                nearest[item['id']] = gts[image][int(row.argmax())], float(row.max())
        return nearest

    def _forgive(self, result: dict | None) -> dict | None:
        """Ignore unmatched detections that lie on a ground truth asked to be ignored."""
        for column, number in enumerate(result['dtIds'] if result else ()):
            gt, overlap = self._nearest.get(number, (None, 0.0))
            if gt is not None and gt['ignore'] and not gt['iscrowd']:
                unmatched = result['dtMatches'][:, column] == 0
                result['dtIgnore'][unmatched & (overlap >= self.params.iouThrs), column] = True
        return result

    def match(self, ignore: Callable[[dict], bool] | None = None) -> list[dict | None]:
        """Matches detections to ground truth.

        Args:
            ignore: Says of a ground truth whether it is to be neither right nor
                wrong to find it, nor wrong to miss it. Crowds always are. A detection that
                lies on such an object (more than on any other) by the IoU asked for is
                ignored whatever its name: a wrong name there says nothing of the others.

        Returns:
            COCO's per-image results, ordered by category, area range, image.
        """
        for items in self._gts.values():
            for item in items:
                item['ignore'] = bool(item['iscrowd'] or (ignore is not None and ignore(item)))
        params = self.params
        pairs = set(self.ious)  # most pairs of image and category hold nothing
        finish = self._forgive if ignore is not None else lambda result: result
        return [
            finish(self.evaluateImg(image, category, area, params.maxDets[-1]))
            if (image, category) in pairs
            else None
            for category in params.catIds
            for area in params.areaRng
            for image in params.imgIds
        ]

    def summarize_images(
        self, matches: list[dict | None], images: Sequence[int] | None = None
    ) -> 'BoxSummary':
        """Precision over some of the images.

        Args:
            matches: Result of :meth:`match`.
            images: The images; all by default.
        """
        params, total = self.params, len(self.params.imgIds)
        images = range(total) if images is None else images
        blocks = len(params.catIds) * len(params.areaRng)
        part = BoxSummary()
        part.params.catIds, part.params.imgIds = list(params.catIds), list(images)
        part.params.maxDets = list(params.maxDets)
        part.evalImgs = [
            matches[block * total + image] for block in range(blocks) for image in images
        ]
        part.finish()
        return part


class BoxSummary(COCOeval):
    """Averages of matched images; made by :meth:`BoxEval.summarize_images`."""

    def __init__(self) -> None:
        super().__init__(iouType='bbox')

    def finish(self) -> None:
        """Accumulates precision over the images."""
        self._paramsEval = self.params
        if self.evalImgs:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
                self.accumulate()
            self.precision = self.eval['precision'][..., 0]
        else:  # no image or no category
            self.precision = np.full(
                (
                    len(self.params.iouThrs),
                    len(self.params.recThrs),
                    len(self.params.catIds),
                    len(self.params.areaRng),
                ),
                -1.0,
            )

    def average(
        self, iou: float | None = None, area: str = 'all', category_id: int | None = None
    ) -> float:
        """Average precision, in [0, 1].

        Args:
            iou: One IoU threshold, or None for the mean over 0.5:0.05:0.95.
            area: ``'all'``, ``'small'``, ``'medium'`` or ``'large'``.
            category_id: One category, or None for the mean over those with
                ground truth.

        Returns:
            The average; NaN where there is no ground truth to find.
        """
        values = self.precision[..., self.params.areaRngLbl.index(area)]
        if iou is not None:
            values = values[np.isclose(self.params.iouThrs, iou)]
        if category_id is not None:
            values = values[:, :, [self.params.catIds.index(category_id)]]
        values = values[values > -1]
        return float(values.mean()) if values.size else float('nan')

    def numbers(self, category_id: int | None = None) -> dict[str, float]:
        """All numbers of :data:`SUMMARY`, by name."""
        return {name: self.average(iou, area, category_id) for name, (iou, area) in SUMMARY.items()}
