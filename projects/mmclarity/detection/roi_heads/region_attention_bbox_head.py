"""A box head in which regions look at each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmclarity.errors import UsageError

from ..attention import BaseRegionAttention
from .bases import shared_layers
from .batches import are_alike, split_instances
from .box_fit import BoxFit
from .explanation import traced_detections, verdict
from .region_context import RegionContext

STAGES = {'fc1': (0,), 'fc2': (1,), 'both': (0, 1), 'last': (-1,)}


def build_attention(cfg: dict, base: type, allowed: str, **defaults) -> nn.Module:
    """Build an attention module, or say which types there are."""
    if not isinstance(cfg, dict) or 'type' not in cfg:
        raise TypeError(f'an attention is given as dict(type=..., ...), got {cfg!r}')
    kind = MODELS.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if kind is None or not (isinstance(kind, type) and issubclass(kind, base)):
        raise UsageError(
            f'unknown attention type {cfg["type"]!r} in the box head; use {allowed}, '
            f'or register a subclass of {base.__name__} in mmdet.registry.MODELS'
        )
    return MODELS.build(defaults | dict(cfg))


@MODELS.register_module()
class RegionAttentionBBoxHead(ConvFCBBoxHead):
    """ConvFCBBoxHead with attention among the regions of an image after its shared layers.

    Parameter names are those of mmdet's ``Shared2FCBBoxHead`` and ``Shared4Conv1FCBBoxHead``, so
    that checkpoints of a plain detector load; the attention, zero-initialised, then changes
    nothing until it is trained. Where the numbers of layers are not given, they are those of the
    mmdet head that the other options belong to: with ``norm_cfg``, ``conv_cfg`` or
    ``conv_out_channels`` four shared convolutions and one fully connected layer, else two fully
    connected layers.

    Args:
        attention: Config of a :class:`BaseRegionAttention`: RegionSelfAttention,
            RegionSourceTargetAttention or RegionLambda. None: a plain head. ``embed_dims``
            defaults to ``fc_out_channels``.
        attention_after: 'fc1', 'fc2', 'both' (two modules of the same config) or 'last': after
            which shared fully connected layer. Defaults to 'last'.
        intra_attention: Config of an IntraRegionAttention that works among the cells of each
            region before the first fully connected layer. ``in_channels`` and ``roi_feat_size``
            default to the head's. Defaults to None.
        consensus: True, or options ``iou`` and ``temperature`` of :func:`agreed_boxes`: in testing
            the proposals on one object agree on its box. Costs no training and little time.
            ``explain`` of the RoI heads shows the boxes before that. Defaults to None: the box of
            the surest one, as in mmdet.
        box_fit: True, or options of :class:`.BoxFit`: the head learns how well its boxes fit, and
            that counts in their scores. Its logits are one more column, the last, of the deltas.
            Of a cascade it is for the last stage. Defaults to None: the name's probability alone.
        args, kwargs: See mmdet's ``ConvFCBBoxHead``.

    Raises:
        UsageError: If the attention type is unknown, or an option belongs to another kind of head.
        ValueError: If ``attention_after`` is unknown or names a layer the head has not.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.roi_heads import RegionAttentionBBoxHead, RegionContext
        >>> head = RegionAttentionBBoxHead(
        ...     dict(type='RegionLambda'), in_channels=8, fc_out_channels=32, num_classes=3
        ... )
        >>> list(head.attention), head.num_sources
        (['fc2'], 0)
        >>> rois = torch.tensor([[0.0, 0, 0, 9, 9], [0, 5, 5, 20, 20]])
        >>> scores, deltas = head(torch.rand(2, 8, 7, 7), RegionContext(rois, num_images=1))
        >>> tuple(scores.shape), tuple(deltas.shape)
        ((2, 4), (2, 12))
    """

    def __init__(
        self,
        attention: dict | None = None,
        attention_after: str = 'last',
        intra_attention: dict | None = None,
        consensus: dict | bool | None = None,
        *args,
        box_fit: dict | bool | None = None,
        **kwargs,
    ) -> None:
        kwargs |= shared_layers(type(self), kwargs)
        super().__init__(*args, **kwargs)
        if attention_after not in STAGES:
            raise ValueError(
                f'attention_after must be one of {", ".join(STAGES)}, got {attention_after!r}'
            )
        stages = STAGES[attention_after] if attention is not None else ()
        if stages and max(stages[-1], 0) >= self.num_shared_fcs:
            raise ValueError(
                f'attention_after={attention_after!r} needs {max(stages[-1], 0) + 1} shared '
                f'fully connected layers, but num_shared_fcs={self.num_shared_fcs}'
            )
        self.attention = nn.ModuleDict()
        for stage in (stage % self.num_shared_fcs for stage in stages):
            self.attention[f'fc{stage + 1}'] = build_attention(
                attention,
                BaseRegionAttention,
                'RegionSelfAttention, RegionSourceTargetAttention or RegionLambda',
                embed_dims=self.fc_out_channels,
            )
        self.intra_attention = None
        if intra_attention is not None:
            channels = self.conv_out_channels if self.num_shared_convs else self.in_channels
            self.intra_attention = build_attention(
                intra_attention,
                nn.Module,
                'IntraRegionAttention',
                in_channels=channels,
                roi_feat_size=self.roi_feat_size[0],
            )
        self.consensus = {} if consensus is True else (consensus or None)
        self.box_fit = None
        if box_fit or isinstance(box_fit, dict):
            self.box_fit = self._build_box_fit({} if box_fit is True else dict(box_fit))

    def _build_box_fit(self, options: dict) -> BoxFit:
        if self.num_reg_convs or self.num_reg_fcs or not self.num_shared_fcs or not self.with_reg:
            raise UsageError(
                'box_fit judges boxes by what the shared layers give: it needs num_shared_fcs of '
                'at least 1, num_reg_convs=0, num_reg_fcs=0 and with_reg=True'
            )
        if self.custom_activation:
            raise UsageError(
                f'box_fit weighs probabilities of a softmax; {type(self.loss_cls).__name__} has '
                'others: use CrossEntropyLoss, or leave box_fit out'
            )
        return BoxFit(self.fc_out_channels, **options)

    @property
    def num_sources(self) -> int:
        """How many source proposals an image should bring; 0 if the attention needs none."""
        return max((m.num_sources for m in self.attention.values() if m.uses_sources), default=0)

    def forward(self, x: Tensor, context: RegionContext | None = None) -> tuple:
        """Classification scores and box deltas of the target regions.

        Args:
            x: Pooled features (M, C, H, W) of all regions of the context: the targets,
                then further sources.
            context: Where the regions lie. Needed with an attention among regions.

        Returns:
            ``cls_score`` (N, num_classes + 1) and ``bbox_pred`` (N, 4 * num_classes or 4, and one
            column more with ``box_fit``) of the N targets.
        """
        x = self._shared(x, context)
        scores, deltas = self._predict(x)
        if self.box_fit is None:
            return scores, deltas
        fit = self.box_fit(x, context.targets.boxes)
        return scores, torch.cat([deltas, fit.to(deltas.dtype)], 1)

    def attention_weights(self, x: Tensor, context: RegionContext) -> dict[str, list[Tensor]]:
        """The attention's weights, by layer ('fc1', 'fc2') and image: (heads, Nq, Nk) each.

        Rows are the image's targets (at 'fc1' with 'both': all its regions), columns its sources.
        For what they do to detections see ``explain`` of the RoI heads.
        """
        weights: dict[str, list[Tensor]] = {}
        self._shared(x, context, weights)
        return weights

    @property
    def can_be_cut(self) -> bool:
        """Whether features are left of a region when the attention is left out."""
        return all(module.residual for module in self.attention.values())

    def _shared(
        self, x: Tensor, context: RegionContext | None, weights: dict | None = None
    ) -> Tensor:
        needed = self.attention or self.box_fit is not None or context is not None
        if needed and not isinstance(context, RegionContext):
            raise UsageError(
                'RegionAttentionBBoxHead needs to know where its regions lie; use it '
                'inside RegionAttentionRoIHead or CascadeRegionAttentionRoIHead'
            )
        for conv in self.shared_convs:
            x = conv(x)
        if self.intra_attention is not None:
            x = self.intra_attention(x)
        if self.with_avg_pool and self.num_shared_fcs:
            x = self.avg_pool(x)
        if self.num_shared_fcs:
            x = x.flatten(1)
        last = list(self.attention)[-1] if self.attention else None
        for i, fc in enumerate(self.shared_fcs, start=1):
            x = self.relu(fc(x))
            name = f'fc{i}'
            if name in self.attention and not context.cut:
                x = self._look_around(name, name == last, x, context, weights)
        return x

    def _look_around(
        self, name: str, is_last: bool, x: Tensor, context: RegionContext, weights: dict | None
    ) -> Tensor:
        """Attention after the layer called ``name``; the features of all regions, or of targets.

        Only the targets go on after the last attention; before it the sources, too, are regions
        like any other.
        """
        targets = context.targets if is_last else context.regions
        source_x, sources = context.sources_of(x)
        args = (x[: targets.boxes.size(0)], targets, source_x, sources)
        if not self.attention[name].uses_sources:
            args = args[:2]
        if weights is not None:
            weights[name] = self.attention[name].explain(*args)
        return self.attention[name](*args)

    def _predict(self, x: Tensor) -> tuple:
        outputs = []
        for convs, fcs in ((self.cls_convs, self.cls_fcs), (self.reg_convs, self.reg_fcs)):
            y = x
            for conv in convs:
                y = conv(y)
            if y.dim() > 2:
                y = (self.avg_pool(y) if self.with_avg_pool else y).flatten(1)
            for fc in fcs:
                y = self.relu(fc(y))
            outputs.append(y)
        cls_score = self.fc_cls(outputs[0]) if self.with_cls else None
        bbox_pred = self.fc_reg(outputs[1]) if self.with_reg else None
        return cls_score, bbox_pred

    def _parts(self, bbox_pred: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Deltas, and logits (N, 1) of how well the boxes fit where the head knows that."""
        if self.box_fit is None or bbox_pred is None:
            return bbox_pred, None
        return bbox_pred[:, :-1].contiguous(), bbox_pred[:, -1:]  # mmdet views them

    def loss_and_target(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: list[SamplingResult],
        *args,
        **kwargs,
    ) -> dict:
        """See mmdet; with ``box_fit``, its loss as ``loss_fit``."""
        deltas, fit = self._parts(bbox_pred)
        result = super().loss_and_target(cls_score, deltas, rois, sampling_results, *args, **kwargs)
        if fit is not None:
            labels = result['bbox_targets'][0]
            boxes = self._own_boxes(rois, deltas.detach(), labels)
            result['loss_bbox']['loss_fit'] = self.box_fit.loss(fit, boxes, sampling_results)
        return result

    def _own_boxes(self, rois: Tensor, deltas: Tensor, labels: Tensor) -> Tensor:
        """Boxes (N, 4) as objects of these classes (the first one of the background)."""
        if not self.reg_class_agnostic:
            places = torch.arange(len(deltas), device=deltas.device)
            label = labels.where(labels < self.num_classes, 0)
            deltas = deltas.unflatten(1, (self.num_classes, -1))[places, label]
        return get_box_tensor(self.bbox_coder.decode(rois[:, 1:], deltas.float()))

    def regress_by_class(
        self, priors: Tensor, label: Tensor, bbox_pred: Tensor, img_meta: dict
    ) -> Tensor:
        """See mmdet."""
        return super().regress_by_class(priors, label, self._parts(bbox_pred)[0], img_meta)

    def predict_by_feat(
        self,
        rois: Sequence[Tensor],
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor | None],
        batch_img_metas: list[dict],
        rcnn_test_cfg: dict | None = None,
        rescale: bool = False,
    ) -> InstanceList:
        """See mmdet; boxes are agreed on if wanted, and a GPU is waited for as seldom as can be.

        Images of one size are decoded as one. Soft suppression is computed on the CPU: there all
        boxes and scores are brought at once, and only what is detected comes back.
        """
        device = where = rois[0].device
        if rcnn_test_cfg is not None and (rcnn_test_cfg['nms'] or {}).get('type') == 'soft_nms':
            where = torch.device('cpu')
        if are_alike(batch_img_metas):
            deltas = None if bbox_preds[0] is None else torch.cat(list(bbox_preds))
            whole = self._predict_by_feat_single(
                torch.cat(list(rois)),
                torch.cat(list(cls_scores)),
                deltas,
                batch_img_metas[0],
                rescale=rescale,
            )
            judged = split_instances(whole.to(where), [len(boxes) for boxes in rois])
        else:
            args = rois, cls_scores, bbox_preds, batch_img_metas
            judged = super().predict_by_feat(*args, rescale=rescale)
            judged = [one.to(where) for one in judged]
        if rcnn_test_cfg is None:
            return judged
        found = []
        for one in judged:
            traced = traced_detections(verdict(one.scores, one), rcnn_test_cfg, self.consensus)
            del traced.proposals
            found.append(traced)
        return split_instances(InstanceData.cat(found).to(device), [len(one) for one in found])

    def _predict_by_feat_single(
        self, roi: Tensor, cls_score: Tensor, bbox_pred: Tensor | None, *args, **kwargs
    ) -> InstanceData:
        """See mmdet; how well boxes fit counts in the scores."""
        deltas, fit = self._parts(bbox_pred)
        if fit is not None and len(roi):
            cls_score = self.box_fit.weighed(cls_score, fit)
        return super()._predict_by_feat_single(roi, cls_score, deltas, *args, **kwargs)
