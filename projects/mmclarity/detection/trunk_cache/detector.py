"""A Faster R-CNN whose backbone, neck and RPN stand still, computed anew or read from a cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

Maps = tuple[Tensor, ...]


def join_maps(levels: Sequence[Sequence[Tensor]]) -> Maps:
    """Maps of several images as batches, the smaller ones continued by their last row and column.

    RoIAlign takes the last row for whatever lies half a cell beyond it: continued like this, a
    region is pooled as it is from its image's own maps.

    Args:
        levels: For each level the images' maps (C, H, W), as mmengine's ``pseudo_collate`` makes
            it of the images' lists of levels.

    Returns:
        For each level (N, C, H, W).
    """
    joined = []
    for level in levels:
        height, width = (max(m.shape[i] for m in level) for i in (1, 2))
        joined.append(
            torch.cat(
                [
                    F.pad(
                        m[None], (0, width - m.shape[2], 0, height - m.shape[1]), mode='replicate'
                    )
                    if m.shape[1:] != (height, width)
                    else m[None]
                    for m in level
                ]
            )
        )
    return tuple(joined)


@MODELS.register_module()
class FrozenTrunkPreprocessor(DetDataPreprocessor):
    """``DetDataPreprocessor`` that lets a cache's feature maps pass.

    Args:
        args, kwargs: See mmdet's ``DetDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """See mmdet; inputs that are lists of maps become a tuple of batches."""
        if not isinstance(data['inputs'][0], list | tuple):
            return super().forward(data, training)
        data = self.cast_data(data)
        return dict(data, inputs=join_maps(data['inputs']))


@MODELS.register_module()
class FrozenTrunkRCNN(FasterRCNN):
    """Faster R-CNN of which the RoI head alone is trained.

    The trunk (backbone, neck, RPN) is in evaluation mode, without gradients, and goes through the
    images one by one, so that what it gives for an image depends on that image alone: images with
    their trunk computed now and maps from a cache give the same losses and detections.

    Args:
        args, kwargs: See mmdet's ``FasterRCNN``.
    """

    def train(self, mode: bool = True) -> FrozenTrunkRCNN:
        """Training mode for the RoI head only."""
        super().train(mode)
        for part in ('backbone', 'neck', 'rpn_head'):
            if getattr(self, part, None) is not None:
                getattr(self, part).eval()
        return self

    @torch.no_grad()
    def trunk(
        self, inputs: Tensor, samples: SampleList, training: bool
    ) -> tuple[list[list[Tensor]], list[InstanceData]]:
        """Maps and proposals of each image.

        Args:
            inputs: Images (N, 3, H, W) as the preprocessor gives them.
            samples: Their data samples, with ``img_shape``.
            training: Take as many proposals as in training, or as in testing.

        Returns:
            For each image the levels (C, H, W) that RoIs are pooled from, and proposals with
            ``bboxes`` and ``scores``.
        """
        extractors = self.roi_head.bbox_roi_extractor
        stages = extractors if isinstance(extractors, nn.ModuleList) else [extractors]
        count = max(extractor.num_inputs for extractor in stages)
        config = self.train_cfg.rpn_proposal if training else self.test_cfg.rpn
        divisor = self.data_preprocessor.pad_size_divisor
        maps, proposals = [], []
        for image, sample in zip(inputs.split(1), samples, strict=True):
            height, width = (-(-side // divisor) * divisor for side in sample.img_shape[:2])
            levels = self.extract_feat(image[..., :height, :width])
            scores = self.rpn_head(levels)
            proposals += self.rpn_head.predict_by_feat(
                *scores, batch_img_metas=[sample.metainfo], cfg=config
            )
            maps.append([level[0] for level in levels[:count]])
        return maps, proposals

    def _given(
        self, inputs: Tensor | Maps, samples: SampleList, training: bool
    ) -> tuple[Maps, list[InstanceData]]:
        """Maps and proposals from images, or from what a cache brought."""
        if isinstance(inputs, tuple):
            return inputs, [sample.proposals for sample in samples]
        maps, proposals = self.trunk(inputs, samples, training)
        return join_maps(list(zip(*maps, strict=True))), proposals

    def loss(self, batch_inputs: Tensor | Maps, batch_data_samples: SampleList) -> dict:
        """Losses of the RoI head."""
        maps, proposals = self._given(batch_inputs, batch_data_samples, True)
        return self.roi_head.loss(maps, proposals, batch_data_samples)

    def predict(
        self, batch_inputs: Tensor | Maps, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """See mmdet's ``TwoStageDetector``."""
        maps, proposals = self._given(batch_inputs, batch_data_samples, False)
        results = self.roi_head.predict(maps, proposals, batch_data_samples, rescale=rescale)
        return self.add_pred_to_datasample(batch_data_samples, results)
