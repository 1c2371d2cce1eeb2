"""RoI heads that tell their box heads which regions belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from mmclarity.errors import UsageError

from .bases import as_region_heads, check_roi_base
from .batches import are_alike, split_instances
from .explanation import Explanation, layers_of, traced_detections, verdict
from .region_attention_bbox_head import RegionAttentionBBoxHead
from .region_context import ContextFeatures, RegionContext, context_of

Maps = tuple[Tensor, ...]


class RegionContextMixin:
    """Lets mmdet's RoI heads hand their box heads a :class:`RegionContext`.

    It stands before the RoI head among the bases. All that is known beside the boxes travels with
    the feature maps, see :class:`ContextFeatures`.
    """

    # Whether the box head's targets in testing are the RPN's proposals themselves.
    _tests_proposals = True

    def __init__(self, *args, exclude_gt_keys: bool = True, **kwargs) -> None:
        check_roi_base(type(self), kwargs)
        super().__init__(*args, **kwargs)
        self._check_bbox_heads()
        self.exclude_gt_keys = exclude_gt_keys

    def init_bbox_head(self, bbox_roi_extractor: dict, bbox_head: dict | list) -> None:
        """See mmdet; a head with ``attention`` may keep the type of its base."""
        super().init_bbox_head(bbox_roi_extractor, as_region_heads(bbox_head))

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

    def _most_certain(self, rpn_results_list: InstanceList) -> list[Tensor]:
        """Where the proposals of the highest objectness stand, image by image.

        As many as the head that wants most. Proposals without scores (mmdet reads such from files)
        are taken in their order, which is that of falling objectness.
        """
        num_sources = max(head.num_sources for head in self._bbox_heads())
        indices = []
        for results in rpn_results_list:
            count = min(num_sources, len(results))
            if 'scores' in results:
                indices.append(results.scores.topk(count).indices)
            else:
                indices.append(torch.arange(count, device=results.bboxes.device))
        return indices

    def _with_sources(
        self, x: Maps, rpn_results_list: InstanceList, testing: bool
    ) -> ContextFeatures:
        """The feature maps, with the sources on them if the attention wants any."""
        x = ContextFeatures(x)
        if not max(head.num_sources for head in self._bbox_heads()):
            return x
        chosen = self._most_certain(rpn_results_list)
        if testing and self._tests_proposals:
            start, shifted = 0, []
            for index, results in zip(chosen, rpn_results_list):
                shifted.append(index + start)
                start += len(results)
            return x.having(source_index=torch.cat(shifted))
        return x.having(
            source_boxes=[
                results.bboxes[index].detach() for index, results in zip(chosen, rpn_results_list)
            ]
        )

    def _with_key_flags(
        self, x: Maps, sampling_results: Sequence[SamplingResult]
    ) -> ContextFeatures:
        """Ground truth the sampler added stays a target, but is nobody's context."""
        x = ContextFeatures(x)
        if not self.exclude_gt_keys:
            return x
        flags = []
        for res in sampling_results:
            flags += [~res.pos_is_gt.bool(), res.neg_inds.new_ones(len(res.neg_inds)).bool()]
        return x.having(key_valid=torch.cat(flags))

    def _region_context(self, x: Maps, rois: Tensor, head) -> RegionContext:
        given, num_images = context_of(x), x[0].size(0)
        if given.cut:
            return RegionContext(rois, num_images, cut=True)
        # The stages of a cascade may differ: a head without sources must not be given any.
        count, source_rois, source_index = head.num_sources, None, None
        if count:
            source_index = given.source_index
            if given.source_boxes is not None:
                source_rois = bbox2roi([boxes[:count] for boxes in given.source_boxes])
            elif source_index is None:
                raise UsageError(
                    'source-target attention has not been given its sources, as by OHEMSampler, '
                    'which judges one image of the batch at a time: use RandomSampler, '
                    'RegionSelfAttention or RegionLambda'
                )
        return RegionContext(rois, num_images, given.key_valid, source_rois, source_index)

    def _attend(
        self,
        extractor,
        head,
        x: Maps,
        rois: Tensor,
        further: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> dict:
        """Pool targets and sources at once, run the head, return what mmdet expects.

        Args:
            extractor: Pools the features.
            head: The box head.
            x: Feature maps.
            rois: Targets.
            further: What else is done to pooled features, given them and their boxes.
        """
        context = self._region_context(x, rois, head)
        bbox_feats = extractor(x[: extractor.num_inputs], context.all_rois)
        if self.with_shared_head:
            bbox_feats = self.shared_head(bbox_feats)
        if further is not None:
            bbox_feats = further(bbox_feats, context.all_rois)
        trace = context_of(x).trace
        if trace is not None:
            trace.append(head.attention_weights(bbox_feats, context))
        cls_score, bbox_pred = head(bbox_feats, context)
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=bbox_feats[: len(rois)])

    def loss(self, x: Maps, rpn_results_list: InstanceList, batch_data_samples: list) -> dict:
        """See mmdet; the sources are chosen before proposals are sampled."""
        x = self._with_sources(x, rpn_results_list, testing=False)
        return super().loss(x, rpn_results_list, batch_data_samples)

    def forward(
        self,
        x: Maps,
        rpn_results_list: InstanceList,
        batch_data_samples: list | None = None,
    ) -> tuple:
        """See mmdet."""
        x = self._with_sources(x, rpn_results_list, testing=True)
        return super().forward(x, rpn_results_list, batch_data_samples)

    def predict_bbox(
        self,
        x: Maps,
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg,
        rescale: bool = False,
        **kwargs,
    ) -> InstanceList:
        """See mmdet."""
        x = self._with_sources(x, rpn_results_list, testing=True)
        x, rpn_results_list = self._worth_it(x, rpn_results_list)
        return super().predict_bbox(
            x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale, **kwargs
        )

    def _worth_it(
        self, x: ContextFeatures, rpn_results_list: InstanceList
    ) -> tuple[ContextFeatures, InstanceList]:
        """The proposals that are judged to the end, and maps that know what was said of them."""
        return x, rpn_results_list

    def _judge(self, x: Maps, rois: Tensor, metas: list[dict], counts: list[int]) -> tuple:
        """Of each image the boxes judged last, the logits and the deltas of its proposals."""
        raise NotImplementedError

    def _verdicts(self, x: Maps, proposals: list[Tensor], metas: list[dict], rescale: bool) -> list:
        counts = [len(boxes) for boxes in proposals]
        rois = bbox2roi(proposals)
        if len(rois):
            rois, logits, deltas = self._judge(x, rois, metas, counts)
        else:  # mmdet's cascade cannot refine nothing
            rois, deltas = rois.split(counts), [None] * len(counts)
            classes = self._bbox_heads()[-1].num_classes + 1
            logits = [boxes.new_zeros(0, classes) for boxes in proposals]
        results = self._bbox_heads()[-1].predict_by_feat(
            rois, logits, deltas, metas, rescale=rescale
        )
        return [verdict(*pair) for pair in zip(logits, results)]

    @torch.no_grad()
    def explain(
        self,
        x: Maps,
        rpn_results_list: InstanceList,
        batch_img_metas: list[dict],
        rescale: bool = False,
    ) -> list[Explanation]:
        """Trace each image's detections to proposals, to what these looked at, and what it changed.

        In a cascade a stage judges the boxes that the one before it has refined, in the order of
        the proposals; without context, every stage goes without.

        Args:
            x: Feature maps.
            rpn_results_list: Proposals of each image, as from ``rpn_head.predict``.
            batch_img_metas: Of each image, with ``img_shape`` (and ``scale_factor``).
            rescale: Detections and boxes in pixels of the image, not of the network's input.

        Returns:
            One explanation an image, of the proposals that are judged to the end. Where a first
            look has left out others (``look_again``), what it took from those is not shown.
        """
        trace: list[dict[str, list[Tensor]]] = []
        maps = self._with_sources(x, rpn_results_list, testing=True).having(trace=trace)
        maps, rpn_results_list = self._worth_it(maps, rpn_results_list)
        proposals = [res.bboxes for res in rpn_results_list]
        judged = self._verdicts(maps, proposals, batch_img_metas, rescale)
        alone = [None] * len(judged)
        if all(head.can_be_cut for head in self._bbox_heads()):
            maps = maps.having(cut=True, trace=None, first=None)
            alone = self._verdicts(maps, proposals, batch_img_metas, rescale)
        sources = self._most_certain(rpn_results_list)
        return [
            Explanation(
                proposals=boxes,
                stages=tuple(
                    layers_of(image, len(boxes), weights, head, sources[image])
                    for weights, head in zip(trace, self._bbox_heads())
                ),
                with_context=judged[image],
                without_context=alone[image],
                detections=traced_detections(
                    judged[image], self.test_cfg, self._bbox_heads()[-1].consensus
                ),
            )
            for image, boxes in enumerate(proposals)
        ]


@MODELS.register_module()
class RegionAttentionRoIHead(RegionContextMixin, StandardRoIHead):
    """StandardRoIHead whose box head is a :class:`RegionAttentionBBoxHead`.

    Faster R-CNN and Mask R-CNN configs of mmdet take it by overriding a few lines (the box head's
    layers stay those of the base)::

        model = dict(roi_head=dict(
            type='RegionAttentionRoIHead',
            bbox_head=dict(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))))

    Args:
        exclude_gt_keys: In training, ground-truth boxes that the sampler adds to the proposals do
            not serve as context for others, as there are none in testing. Defaults to True.
        args, kwargs: See mmdet's ``StandardRoIHead``.

    Examples:
        >>> from mmdet.registry import MODELS
        >>> from mmclarity.detection.roi_heads import RegionAttentionRoIHead
        >>> from mmclarity.engine.config import load_config
        >>> model = load_config('lambda_frcnn_murky.py').model
        >>> options = dict(train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn)
        >>> head = MODELS.build(dict(model.roi_head, **options))
        >>> isinstance(head, RegionAttentionRoIHead), list(head.bbox_head.attention)
        (True, ['fc2'])
    """

    def _bbox_forward(self, x: Maps, rois: Tensor) -> dict:
        return self._attend(self.bbox_roi_extractor, self.bbox_head, x, rois)

    def bbox_loss(self, x: Maps, sampling_results: list[SamplingResult]) -> dict:
        """See mmdet."""
        return super().bbox_loss(self._with_key_flags(x, sampling_results), sampling_results)

    def _judge(self, x: Maps, rois: Tensor, metas: list[dict], counts: list[int]) -> tuple:
        results = self._bbox_forward(x, rois)
        deltas = results['bbox_pred']
        deltas = [None] * len(counts) if deltas is None else deltas.split(counts)
        return rois.split(counts), results['cls_score'].split(counts), deltas


@MODELS.register_module()
class CascadeRegionAttentionRoIHead(RegionContextMixin, CascadeRoIHead):
    """CascadeRoIHead with a :class:`RegionAttentionBBoxHead` at every stage.

    The heads of a cascade are a list, one a stage, which a config changes in a loop::

        stages = _base_.model.roi_head.bbox_head
        for stage in stages:
            stage.update(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))
        model = dict(roi_head=dict(type='CascadeRegionAttentionRoIHead', bbox_head=stages))

    Source-target attention keeps the RPN's most certain boxes as sources at all stages.

    Args:
        look_again: In testing, proposals for which the first stage gives no class this probability
            are left at that: they are neither judged again nor detected, nor looked at by others.
            Of each image the best one goes on. Most proposals are on background, so a small number
            saves most of what the later stages cost. Defaults to 0: all are judged by all stages.
        exclude_gt_keys: See :class:`RegionAttentionRoIHead`. Defaults to True.
        args, kwargs: See mmdet's ``CascadeRoIHead``.

    Raises:
        UsageError: If ``look_again`` is no probability, or a stage has source-target attention,
            whose sources are not chosen so.
    """

    # Later stages judge refined boxes, so the sources are pooled on their own.
    _tests_proposals = False

    def __init__(self, *args, look_again: float = 0.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.look_again = float(look_again)
        if not 0 <= self.look_again < 1:
            raise UsageError(f'look_again must be a probability below 1, got {look_again}')
        if self.look_again and max(head.num_sources for head in self._bbox_heads()):
            raise UsageError(
                'look_again=0 with source-target attention: its sources are the most certain '
                'proposals of the RPN, whatever the first stage says of them'
            )

    def _worth_it(
        self, x: ContextFeatures, rpn_results_list: InstanceList
    ) -> tuple[ContextFeatures, InstanceList]:
        counts = [len(results) for results in rpn_results_list]
        if not self.look_again or not sum(counts):
            return x, rpn_results_list
        rois = bbox2roi([results.bboxes for results in rpn_results_list])
        said = self._bbox_forward(0, x, rois)
        head, logits = self.bbox_head[0], said['cls_score'].float()
        if head.custom_activation:
            scores = head.loss_cls.get_activation(logits)
        else:
            scores = logits.softmax(-1)
        best, image = scores[:, :-1].amax(1), rois[:, 0].long()
        most = best.new_zeros(len(counts)).scatter_reduce(0, image, best, 'amax')
        # All that has to be known here of what a GPU has computed: it is waited for once.
        worth = ((best >= self.look_again) | (best >= most[image])).cpu()
        kept, of_images = worth.nonzero()[:, 0].to(rois.device), worth.split(counts)
        first = {key: said[key][kept] for key in ('cls_score', 'bbox_pred')}
        for weights in (context_of(x).trace or [{}])[0].values():
            weights[:] = [part[:, some][:, :, some] for part, some in zip(weights, of_images)]
        chosen = InstanceData.cat(list(rpn_results_list))[kept]
        chosen = split_instances(chosen, [int(some.sum()) for some in of_images])
        return x.having(first=first), chosen

    def _bbox_forward(self, stage: int, x: Maps, rois: Tensor) -> dict:
        first = context_of(x).first
        if first is not None and stage == 0:
            return first
        return self._attend(self.bbox_roi_extractor[stage], self.bbox_head[stage], x, rois)

    def bbox_loss(self, stage: int, x: Maps, sampling_results: list[SamplingResult]) -> dict:
        """See mmdet."""
        x = self._with_key_flags(x, sampling_results)
        return super().bbox_loss(stage, x, sampling_results)

    def _refine_roi(
        self,
        x: Maps,
        rois: Tensor,
        batch_img_metas: list[dict],
        num_proposals_per_img: Sequence[int],
        **kwargs,
    ) -> tuple:
        """See mmdet; boxes of images of one size are moved as if they were of one image."""
        if not are_alike(batch_img_metas):
            return super()._refine_roi(x, rois, batch_img_metas, num_proposals_per_img, **kwargs)
        whole = super()._refine_roi(x, rois, batch_img_metas[:1], (len(rois),), **kwargs)
        counts = list(num_proposals_per_img)
        rois, scores, deltas = (of_all[0] for of_all in whole)
        deltas = [None] * len(counts) if deltas is None else deltas.split(counts)
        return rois.split(counts), scores.split(counts), deltas

    def _judge(self, x: Maps, rois: Tensor, metas: list[dict], counts: list[int]) -> tuple:
        return self._refine_roi(x, rois, metas, counts)
