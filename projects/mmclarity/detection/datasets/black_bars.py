"""Black bars around a frame, as of a film or another aspect ratio."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from .augmentation import keep_objects, valid_probability
from .weather import uniform


@TRANSFORMS.register_module()
class RandomBlackBars(BaseTransform):
    """Now and then black bars above and below, or left and right.

    Pictures from a film or of another aspect ratio come with them, and a detector that has never
    seen any takes their edge for one of the scene. In half of the cases they stand beside the
    picture, which grows; in the other half they cover its borders: boxes are clipped to what is
    left, and those that are mostly covered dropped. ``ori_shape`` stays.

    Args:
        prob: Of a frame to get bars, 0 to 1.
        largest: Of one bar, as a share of the picture's height or width; below a half.
        least_visible: Share of a box that must be left for it to be kept.

    Raises:
        ValueError: If a share or the probability is none.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.datasets import RandomBlackBars
        >>> frame = dict(img=np.full((90, 160, 3), 99, np.uint8))
        >>> int(RandomBlackBars(prob=1.0)(frame)['img'].min()) < 20
        True
    """

    def __init__(
        self, prob: float = 0.08, largest: float = 0.4, least_visible: float = 0.2
    ) -> None:
        if not 0 < largest < 0.5 or not 0 <= least_visible <= 1:
            raise ValueError(
                f'largest must lie between 0 and 0.5 and least_visible between 0 and 1, got '
                f'{largest} and {least_visible}'
            )
        self.prob = valid_probability(prob)
        self.largest, self.least_visible = largest, least_visible

    def transform(self, results: dict) -> dict:
        """Add bars or none.

        Raises:
            ValueError: If there are masks, which would stay where they are.
        """
        if 'gt_masks' in results:
            raise ValueError('RandomBlackBars moves boxes only: load annotations without masks')
        if np.random.rand() >= self.prob:
            return results
        beside, upright = np.random.rand(2) < 0.5  # upright bars stand left and right
        # What covers a picture takes from it: less than what stands beside one.
        shares = np.full(2, uniform(0.02, self.largest if beside else 0.6 * self.largest))
        if np.random.rand() < 0.3:  # the picture is not in the middle
            shares *= np.random.rand(2)
        side = results['img'].shape[1 if upright else 0]
        first, last = (int(share * side) for share in shares)
        level = np.random.randint(0, 18) if np.random.rand() < 0.4 else 0
        (self._beside if beside else self._over)(results, first, last, bool(upright), int(level))
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _beside(self, results: dict, first: int, last: int, upright: bool, level: int) -> None:
        edges = (0, 0, first, last) if upright else (first, last, 0, 0)
        results['img'] = cv2.copyMakeBorder(
            results['img'], *edges, cv2.BORDER_CONSTANT, value=(level,) * 3
        )
        if 'gt_bboxes' in results:
            results['gt_bboxes'].translate_((first, 0) if upright else (0, first))

    def _over(self, results: dict, first: int, last: int, upright: bool, level: int) -> None:
        image = results['img'].copy()
        along = image.swapaxes(0, 1) if upright else image
        end = len(along) - last
        along[:first], along[end:] = level, level
        results['img'] = image
        if 'gt_bboxes' not in results:
            return
        boxes = results['gt_bboxes']
        whole = boxes.areas
        low, high = (0, 2) if upright else (1, 3)
        boxes.tensor[:, [low, high]] = boxes.tensor[:, [low, high]].clamp(first, end)
        kept = (boxes.areas > 0) & (boxes.areas >= self.least_visible * whole)
        keep_objects(results, kept.numpy())

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, largest={self.largest}, '
            f'least_visible={self.least_visible})'
        )
