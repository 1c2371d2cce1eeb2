"""RoI heads that tell their box heads which regions belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from torch import Tensor

from mmclarity.errors import UsageError

from .region_attention_bbox_head import RegionAttentionBBoxHead
from .region_context import RegionContext


class _RegionContextMixin:
    """Keeps what mmdet does not hand down to ``_bbox_forward``, for the length of one call."""

    _source_boxes: list[Tensor] | None = None
    _source_index: Tensor | None = None
    _key_valid: Tensor | None = None
    # Where the attention weights of each pass of a box head are put, if somebody asks for them.
    _explained: list | None = None
    # Whether the box head's targets in testing are the RPN's proposals themselves.
    _tests_proposals = True

    @contextmanager
    def _during(self, **state) -> Iterator[None]:
        before = {name: getattr(self, name) for name in state}
        vars(self).update(state)
        try:
            yield
        finally:
            vars(self).update(before)

    def _most_certain(self, rpn_results_list: InstanceList, num_sources: int) -> list[Tensor]:
        """Where the (<= num_sources) proposals of the highest objectness stand, image by image.

        Proposals without scores (mmdet reads such from files) are taken in their order, which is
        that of falling objectness.
        """
        indices = []
        for results in rpn_results_list:
            count = min(num_sources, len(results))
            if 'scores' in results:
                indices.append(results.scores.topk(count).indices)
            else:
                indices.append(torch.arange(count, device=results.bboxes.device))
        return indices

    def _proposal_scope(self, rpn_results_list: InstanceList, testing: bool):
        """Choose the sources, if the attention wants any, for the length of one call."""
        num_sources = max(head.num_sources for head in self._bbox_heads())
        if not num_sources:
            return self._during(_source_boxes=None, _source_index=None)
        chosen = self._most_certain(rpn_results_list, num_sources)
        if testing and self._tests_proposals:
            start, shifted = 0, []
            for index, results in zip(chosen, rpn_results_list):
                shifted.append(index + start)
                start += len(results)
            return self._during(_source_index=torch.cat(shifted))
        return self._during(
            _source_boxes=[
                results.bboxes[index].detach() for index, results in zip(chosen, rpn_results_list)
            ]
        )

    def _bbox_heads(self) -> Sequence:
        heads = self.bbox_head
        return heads if isinstance(heads, torch.nn.ModuleList) else [heads]

    def _check_bbox_heads(self) -> None:
        for head in self._bbox_heads() if self.with_bbox else ():
            if not isinstance(head, RegionAttentionBBoxHead):
                raise TypeError(
                    f'{type(self).__name__} works with a RegionAttentionBBoxHead, got '
                    f'{type(head).__name__}; set bbox_head=dict(type='
                    "'RegionAttentionBBoxHead', ...), with or without attention"
                )

    def _sampling_scope(self, sampling_results: Sequence[SamplingResult]):
        """Ground truth the sampler added stays a target, but is nobody's context."""
        if not self.exclude_gt_keys:
            return self._during(_key_valid=None)
        flags = []
        for res in sampling_results:
            flags += [~res.pos_is_gt.bool(), res.neg_inds.new_ones(len(res.neg_inds)).bool()]
        return self._during(_key_valid=torch.cat(flags))

    def _region_context(self, rois: Tensor, num_images: int, head) -> RegionContext:
        # The stages of a cascade may differ: a head without sources must not be given any.
        source_rois, count = None, head.num_sources
        if count and self._source_boxes is not None:
            if len(self._source_boxes) != num_images:
                raise UsageError(
                    f'source-target attention has the proposals of {len(self._source_boxes)} '
                    f'images, but {num_images} is to be judged, as by OHEMSampler, which gives '
                    'one image at a time: use RandomSampler, RegionSelfAttention or RegionLambda'
                )
            source_rois = bbox2roi([boxes[:count] for boxes in self._source_boxes])
        return RegionContext(rois, num_images, self._key_valid, source_rois, self._source_index)

    def _attend(self, extractor, head, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        """Pool targets and sources at once, run the head, return what mmdet expects."""
        context = self._region_context(rois, x[0].size(0), head)
        bbox_feats = extractor(x[: extractor.num_inputs], context.all_rois)
        if self.with_shared_head:
            bbox_feats = self.shared_head(bbox_feats)
        if self._explained is not None:
            self._explained.append(head.explain(bbox_feats, context))
        cls_score, bbox_pred = head(bbox_feats, context)
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=bbox_feats[: len(rois)])

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: list
    ) -> dict:
        """See mmdet; the sources are chosen before proposals are sampled."""
        with self._proposal_scope(rpn_results_list, testing=False):
            return super().loss(x, rpn_results_list, batch_data_samples)

    def forward(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: InstanceList,
        batch_data_samples: list | None = None,
    ) -> tuple:
        """See mmdet."""
        with self._proposal_scope(rpn_results_list, testing=True):
            return super().forward(x, rpn_results_list, batch_data_samples)

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg,
        rescale: bool = False,
    ) -> InstanceList:
        """See mmdet."""
        with self._proposal_scope(rpn_results_list, testing=True):
            return super().predict_bbox(
                x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale
            )


@MODELS.register_module()
class RegionAttentionRoIHead(_RegionContextMixin, StandardRoIHead):
    """StandardRoIHead whose box head is a :class:`RegionAttentionBBoxHead`.

    Faster R-CNN and Mask R-CNN configs of mmdet take it by overriding a few lines::

        model = dict(roi_head=dict(
            type='RegionAttentionRoIHead',
            bbox_head=dict(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))))

    Args:
        exclude_gt_keys (bool): In training, ground-truth boxes that the sampler adds to the
            proposals do not serve as context for others, as there are none in testing.
            Defaults to True.
        args, kwargs: See mmdet's ``StandardRoIHead``.
    """

    def __init__(self, *args, exclude_gt_keys: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._check_bbox_heads()
        self.exclude_gt_keys = exclude_gt_keys

    def _bbox_forward(self, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        return self._attend(self.bbox_roi_extractor, self.bbox_head, x, rois)

    def bbox_loss(self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """See mmdet."""
        with self._sampling_scope(sampling_results):
            return super().bbox_loss(x, sampling_results)

    @torch.no_grad()
    def explain(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList
    ) -> dict[str, list[Tensor]]:
        """Attention weights among the proposals: see :meth:`RegionAttentionBBoxHead.explain`.

        Args:
            x (tuple[Tensor]): Feature maps.
            rpn_results_list (list[InstanceData]): Proposals of each image.
        """
        with self._proposal_scope(rpn_results_list, testing=True), self._during(_explained=[]):
            self._bbox_forward(x, bbox2roi([res.bboxes for res in rpn_results_list]))
            return self._explained[0]


@MODELS.register_module()
class CascadeRegionAttentionRoIHead(_RegionContextMixin, CascadeRoIHead):
    """CascadeRoIHead with a :class:`RegionAttentionBBoxHead` at every stage.

    Source-target attention keeps the RPN's most certain boxes as sources at all stages.

    Args:
        exclude_gt_keys (bool): See :class:`RegionAttentionRoIHead`. Defaults to True.
        args, kwargs: See mmdet's ``CascadeRoIHead``.
    """

    # Later stages judge refined boxes, so the sources are pooled on their own.
    _tests_proposals = False

    def __init__(self, *args, exclude_gt_keys: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._check_bbox_heads()
        self.exclude_gt_keys = exclude_gt_keys

    def _bbox_forward(self, stage: int, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        return self._attend(self.bbox_roi_extractor[stage], self.bbox_head[stage], x, rois)

    def bbox_loss(
        self, stage: int, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]
    ) -> dict:
        """See mmdet."""
        with self._sampling_scope(sampling_results):
            return super().bbox_loss(stage, x, sampling_results)

    @torch.no_grad()
    def explain(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_img_metas: list[dict]
    ) -> list[dict[str, list[Tensor]]]:
        """Attention weights of every stage: see :meth:`RegionAttentionBBoxHead.explain`.

        A stage judges the boxes that the one before it has refined, in the order of the proposals.

        Args:
            x (tuple[Tensor]): Feature maps.
            rpn_results_list (list[InstanceData]): Proposals of each image.
            batch_img_metas (list[dict]): Of each image, with ``img_shape``.
        """
        proposals = [res.bboxes for res in rpn_results_list]
        with self._proposal_scope(rpn_results_list, testing=True), self._during(_explained=[]):
            self._refine_roi(x, bbox2roi(proposals), batch_img_metas, list(map(len, proposals)))
            return self._explained
