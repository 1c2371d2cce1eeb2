"""Augmentations that road frames ask for."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import RandomFlip
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SidedRandomFlip(RandomFlip):
    """mmdet's ``RandomFlip`` for boxes that were drawn a little to one side.

    Where annotators' boxes stand ``offset`` to the right of what they hold, those of a mirrored
    image stand to the left of it. A detector that learns from both puts its boxes in the middle:
    to the left of all boxes it is then measured by. Here the boxes of a mirrored image are moved by
    twice the offset, and stand to the right again.

    How to find the offset: the median difference in x between the labels and the detections of a
    detector that was trained with plain flips; on mirrored images it has the other sign.

    Args:
        offset: As a fraction of the whole frame's width; negative for boxes to the left.
        args, kwargs: See mmdet's ``RandomFlip``.

    Raises:
        ValueError: If the offset is no small fraction.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> from mmdet.structures.bbox import HorizontalBoxes
        >>> from mmclarity.detection.datasets import SidedRandomFlip
        >>> frame = dict(
        ...     img=np.zeros((50, 100, 3), np.uint8),
        ...     ori_shape=(50, 100),
        ...     gt_bboxes=HorizontalBoxes(torch.tensor([[11.0, 0, 21, 9]])),  # 1 to the right
        ... )
        >>> SidedRandomFlip(prob=1.0, offset=0.01)(frame)['gt_bboxes'].tensor.tolist()
        [[81.0, 0.0, 91.0, 9.0]]
    """

    def __init__(self, *args, offset: float, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not abs(offset) < 0.1:
            raise ValueError(f"offset is a fraction of the frame's width, got {offset}")
        self.offset = offset

    def transform(self, results: dict) -> dict:
        """Flip or do not, see mmdet; moved boxes stay within the image."""
        results = super().transform(results)
        direction = results.get('flip_direction')
        if direction in ('horizontal', 'diagonal') and 'gt_bboxes' in results:
            scale = results.get('scale_factor', (1.0, 1.0))[0]
            width = results.get('ori_shape', results['img'].shape)[1] * scale
            results['gt_bboxes'].translate_((2 * self.offset * width, 0.0))
            results['gt_bboxes'].clip_(results['img'].shape[:2])
        return results


@TRANSFORMS.register_module()
class RandomBlankFrame(BaseTransform):
    """Now and then a frame on which there is nothing to be seen.

    A detector that has only been shown streets sees cars in a covered lens or a wall of fog. Of
    the frame is left what a picture of one to four pixels keeps of it: one grey or a soft shading,
    brighter or darker, with some noise, and no objects.

    Args:
        prob: Of a frame to be blanked, 0 to 1.
        noise: Largest standard deviation of the noise, in grey levels.

    Raises:
        ValueError: If the probability is none.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.datasets import RandomBlankFrame
        >>> frame = dict(img=np.random.randint(0, 255, (90, 160, 3), np.uint8))
        >>> blank = RandomBlankFrame(prob=1.0, noise=0.0)(frame)['img']
        >>> blank.shape, int(np.abs(np.diff(blank.astype(int), axis=1)).max()) < 30
        ((90, 160, 3), True)
    """

    def __init__(self, prob: float = 0.02, noise: float = 6.0) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be between 0 and 1, got {prob}')
        self.prob, self.noise = prob, noise

    def transform(self, results: dict) -> dict:
        """Blank the image and drop its objects, or return them as they are."""
        if np.random.rand() >= self.prob:
            return results
        image = results['img']
        height, width = image.shape[:2]
        side = np.random.randint(1, 5)
        tiny = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        shaded = cv2.resize(tiny, (width, height), interpolation=cv2.INTER_LINEAR)
        shaded = shaded.reshape(image.shape) + np.random.uniform(-128, 128)
        noise = np.random.standard_normal(image.shape) * np.random.uniform(0, self.noise)
        results['img'] = (shaded + noise).round().clip(0, 255).astype(image.dtype)
        for name in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
            if name in results:
                results[name] = results[name][:0]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, noise={self.noise})'
