"""The samples of a cache, as a data set of mmengine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

from .files import TrunkCache


@DATASETS.register_module()
class TrunkCacheDataset(Dataset):
    """What ``tools/cache_trunk.py`` wrote: feature maps, proposals, objects.

    Items are those of a pipeline that ends with ``PackDetInputs``, but ``inputs`` is the list of
    the image's maps, and the data sample has ``proposals``.

    Args:
        cache: The folder, absolute or below ``data_root``.
        data_root: Where caches lie.

    Attributes:
        manifest: What made the cache, see :class:`TrunkCacheHook`.

    Raises:
        UsageError: If the folder is no whole cache.
    """

    def __init__(self, cache: str, data_root: str = '') -> None:
        self.cache = TrunkCache(Path(data_root) / cache)
        self.manifest = self.cache.manifest
        self._metainfo = dict(self.manifest['metainfo'])
        self._metainfo['classes'] = tuple(self._metainfo['classes'])

    @property
    def metainfo(self) -> dict:
        """Classes and whatever else the images' data set said."""
        return dict(self._metainfo)

    def full_init(self) -> None:
        """Nothing is left to do; mmengine's wrappers ask for it."""

    def __len__(self) -> int:
        return len(self.cache)

    def get_cat_ids(self, index: int) -> list[int]:
        """Classes of the image's objects, as ``ClassBalancedDataset`` wants them."""
        return self.cache.entries[index]['sample']['gt']['labels']

    def get_data_info(self, index: int) -> dict:
        """Meta information of one sample; ``AspectRatioBatchSampler`` wants width and height."""
        meta = self.cache.entries[index]['sample']['meta']
        height, width = meta['img_shape'][:2]
        return dict(meta, sample_idx=index, height=height, width=width)

    def __getitem__(self, index: int) -> dict:
        maps, boxes, scores, stored = self.cache.read(index)
        sample = DetDataSample(metainfo=_tuples(stored['meta']))
        sample.gt_instances = _instances(stored['gt'])
        sample.ignored_instances = _instances(stored['ignored'])
        sample.proposals = InstanceData(
            bboxes=boxes, scores=scores, labels=torch.zeros(len(boxes), dtype=torch.long)
        )
        return dict(inputs=maps, data_samples=sample)


def packed(sample: DetDataSample) -> dict[str, Any]:
    """What of a data sample goes into the cache; the reverse of ``TrunkCacheDataset[i]``."""

    def rows(instances: InstanceData) -> dict:
        boxes = instances.bboxes
        boxes = boxes.tensor if isinstance(boxes, HorizontalBoxes) else boxes
        return dict(bboxes=boxes.tolist(), labels=instances.labels.tolist())

    meta = {
        key: value
        for key, value in sample.metainfo.items()
        if key not in ('pad_shape', 'batch_input_shape')
    }
    return dict(meta=meta, gt=rows(sample.gt_instances), ignored=rows(sample.ignored_instances))


def _instances(stored: Mapping) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(stored['bboxes'], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(stored['labels'], dtype=torch.long),
    )


def _tuples(meta: Mapping) -> dict:
    """Sizes are tuples again, as mmdet's pipelines give them."""
    return {
        key: tuple(value)
        if isinstance(value, list) and key.endswith(('_shape', '_factor'))
        else value
        for key, value in meta.items()
    }
