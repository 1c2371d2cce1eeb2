"""Augmentations that road frames ask for."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import RandomFlip
from mmdet.registry import TRANSFORMS


def valid_probability(prob: float) -> float:
    """The same number, if it is between 0 and 1; else ``ValueError``."""
    if not 0 <= prob <= 1:
        raise ValueError(f'prob must be between 0 and 1, got {prob}')
    return prob


def keep_objects(results: dict, kept: np.ndarray) -> None:
    """Drops the other objects of a frame.

    Args:
        results: Of a pipeline; written into.
        kept: (N,) bool, for the N objects of the frame.
    """
    for name in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_masks'):
        if name in results:
            flags = torch.from_numpy(kept) if name == 'gt_bboxes' else kept
            results[name] = results[name][flags]


class RandomChange(BaseTransform):
    """Now and then one of several changes of the image; its boxes are left as they are.

    Args:
        prob: Of a frame to be changed, 0 to 1.

    Raises:
        ValueError: If the probability is none.
    """

    #: The changes, functions of an image, and how often each is taken, relatively.
    changes: tuple[tuple[Callable[[np.ndarray], np.ndarray], float], ...] = ()

    def __init__(self, prob: float = 0.15) -> None:
        self.prob = valid_probability(prob)

    def transform(self, results: dict) -> dict:
        """Change the image or leave it.

        Raises:
            ValueError: If it is not (H, W, 3) of uint8.
        """
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'{type(self).__name__} changes images of (H, W, 3) uint8, not {image.shape} '
                f'{image.dtype}: put it before the transforms that make others of them'
            )
        if np.random.rand() < self.prob:
            functions, weights = zip(*self.changes)
            place = np.random.choice(len(weights), p=np.array(weights) / sum(weights))
            results['img'] = functions[place](np.ascontiguousarray(image))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


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
        self.prob, self.noise = valid_probability(prob), noise

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
        keep_objects(results, np.zeros(len(results.get('gt_bboxes', ())), bool))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, noise={self.noise})'
