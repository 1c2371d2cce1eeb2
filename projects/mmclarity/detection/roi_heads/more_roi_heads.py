"""The attention on RoI heads with a schedule or a branch of their own."""

from __future__ import annotations

from mmdet.models.layers import adaptive_avg_pool2d
from mmdet.models.roi_heads import DynamicRoIHead, HybridTaskCascadeRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from torch import Tensor

from .region_attention_roi_head import Maps, RegionAttentionRoIHead, RegionContextMixin


@MODELS.register_module()
class DynamicRegionAttentionRoIHead(RegionAttentionRoIHead, DynamicRoIHead):
    """DynamicRoIHead, its schedule of thresholds included, with attention among regions.

    Dynamic R-CNN (Zhang et al., ECCV 2020) raises the assigner's IoU threshold and sharpens the
    box loss while it trains.

    Args:
        kwargs: See :class:`RegionAttentionRoIHead` and mmdet's ``DynamicRoIHead``.
    """


@MODELS.register_module()
class HybridTaskCascadeRegionAttentionRoIHead(RegionContextMixin, HybridTaskCascadeRoIHead):
    """HybridTaskCascadeRoIHead with attention among regions at every stage.

    Hybrid Task Cascade (Chen et al., CVPR 2019); the semantic branch, if there is one, is added to
    the features of targets and sources alike.

    Args:
        exclude_gt_keys: See :class:`RegionAttentionRoIHead`. Defaults to True.
        args, kwargs: See mmdet's ``HybridTaskCascadeRoIHead``.
    """

    _tests_proposals = False

    def _bbox_forward(
        self, stage: int, x: Maps, rois: Tensor, semantic_feat: Tensor | None = None
    ) -> dict:
        def add_semantics(feats: Tensor, all_rois: Tensor) -> Tensor:
            pooled = self.semantic_roi_extractor([semantic_feat], all_rois)
            if pooled.shape[-2:] != feats.shape[-2:]:
                pooled = adaptive_avg_pool2d(pooled, feats.shape[-2:])
            return feats + pooled

        fused = self.with_semantic and 'bbox' in self.semantic_fusion
        return self._attend(
            self.bbox_roi_extractor[stage],
            self.bbox_head[stage],
            x,
            rois,
            add_semantics if fused else None,
        )

    def bbox_loss(
        self,
        stage: int,
        x: Maps,
        sampling_results: list[SamplingResult],
        semantic_feat: Tensor | None = None,
    ) -> dict:
        """See mmdet."""
        x = self._with_key_flags(x, sampling_results)
        return super().bbox_loss(stage, x, sampling_results, semantic_feat)

    def _judge(self, x: Maps, rois: Tensor, metas: list[dict], counts: list[int]) -> tuple:
        semantic_feat = self.semantic_head(x)[1] if self.with_semantic else None
        return self._refine_roi(x, rois, metas, counts, semantic_feat=semantic_feat)
