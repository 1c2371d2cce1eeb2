"""What lets the images of a batch be dealt with as one: a GPU is waited for once, not once each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData


def are_alike(metas: Sequence[dict]) -> bool:
    """Whether boxes of all images are clipped and rescaled in the same way.

    Args:
        metas: Of each image, with ``img_shape`` and, if boxes are rescaled, ``scale_factor``.

    Examples:
        >>> are_alike([dict(img_shape=(4, 6)), dict(img_shape=(4, 6))])
        True
        >>> are_alike([dict(img_shape=(4, 6)), dict(img_shape=(6, 4))])
        False
    """
    kinds = {
        (tuple(meta['img_shape'][:2]), tuple(np.ravel(meta.get('scale_factor')).tolist()))
        for meta in metas
    }
    return len(kinds) == 1


def split_instances(whole: InstanceData, counts: Sequence[int]) -> InstanceList:
    """Views of the rows of each image.

    Args:
        whole: Of all images, one after the other.
        counts: Rows of each.

    Examples:
        >>> import torch
        >>> from mmengine.structures import InstanceData
        >>> parts = split_instances(InstanceData(scores=torch.tensor([0.5, 0.25, 1])), [2, 0, 1])
        >>> [part.scores.tolist() for part in parts]
        [[0.5, 0.25], [], [1.0]]
    """
    parts, start = [], 0
    for count in counts:
        parts.append(whole[start : start + count])
        start += count
    return parts
