"""mmdet's RPN with a quicker choice of proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import nms
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmclarity.engine.hooks.precision import keeps_float32
from mmclarity.utils import onednn
from mmclarity.utils.models import is_heard


@MODELS.register_module()
class QuickRPNHead(RPNHead):
    """mmdet's ``RPNHead``, which suppresses level by level and sorts no more than it keeps.

    mmdet sorts all scores of a level and suppresses boxes of all levels in one go, shifted so that
    levels do not meet; on the CPU that takes time with the square of all boxes. The proposals
    are the same, but for boxes whose IoU is the threshold up to rounding, and for the order of
    equal scores.
    Nothing but plain suppression (``nms=dict(type='nms', ...)``) is known here; else it is mmdet's.

    On CUDA the processor must not wait for the card at every object and every level: there all
    images and levels are suppressed in one go, and the targets of the losses are found on the CPU.

    Args:
        args, kwargs: See mmdet's ``RPNHead``.

    Examples:
        >>> from mmdet.registry import MODELS
        >>> from mmclarity.detection.dense_heads import QuickRPNHead
        >>> from mmclarity.engine.config import load_config
        >>> model = load_config('frcnn_bdd100k_fine.py').model
        >>> head = MODELS.build(dict(model.rpn_head, train_cfg=None, test_cfg=model.test_cfg.rpn))
        >>> type(head).__name__
        'QuickRPNHead'
    """

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See mmdet; on the CPU, in inference, both outputs are one convolution."""
        outputs = self.rpn_cls, self.rpn_reg
        if not (onednn.knows(x) and _are_alike(outputs)):
            return super().forward_single(x)
        x = F.relu(self.rpn_conv(x))
        weight = torch.cat([layer.weight for layer in outputs])
        bias = torch.cat([layer.bias for layer in outputs])
        dtype = weight.dtype if keeps_float32(outputs[0]) else None
        both = onednn.convolution(x, weight, bias, dtype=dtype)
        return both.split([layer.out_channels for layer in outputs], 1)

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: dict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """See mmdet; maps (N, A, H, W) and (N, 4 A, H, W) of levels to each image's proposals."""
        settings = self.test_cfg if cfg is None else cfg
        if not cls_scores[0].is_cuda or not self._knows(settings, rescale, with_nms):
            return super().predict_by_feat(
                cls_scores, bbox_preds, score_factors, batch_img_metas, cfg, rescale, with_nms
            )
        shapes = [meta['img_shape'] for meta in batch_img_metas or ()]
        return self._predict_batch(cls_scores, bbox_preds, shapes, settings)

    def _knows(self, cfg: dict, rescale: bool, with_nms: bool) -> bool:
        return (
            cfg.nms.get('type', 'nms') == 'nms'
            and not cfg.nms.get('class_agnostic', False)
            and set(cfg.nms) <= {'type', 'iou_threshold', 'class_agnostic'}
            and not rescale
            and with_nms
            and self.use_sigmoid_cls
        )

    @torch.no_grad()
    def _predict_batch(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        shapes: Sequence[tuple[int, int]],
        cfg: dict,
    ) -> InstanceList:
        """Proposals of all images, suppressed in one go: each image's level stands for itself.

        Args:
            cls_scores: Maps (N, A, H, W) of the levels.
            bbox_preds: Maps (N, 4 A, H, W).
            shapes: Height and width of each of the N images, in pixels.
            cfg: As mmdet's ``test_cfg.rpn``.
        """
        sizes = [level.shape[-2:] for level in cls_scores]
        device, number = cls_scores[0].device, len(shapes)
        priors = self.prior_generator.grid_priors(sizes, dtype=torch.float32, device=device)
        levels = [
            self._level_of_batch(*maps, cfg)
            for maps in zip(cls_scores, bbox_preds, priors, strict=True)
        ]
        level = torch.cat(
            [torch.full(part[0].shape[1:], i, device=device) for i, part in enumerate(levels)]
        )
        logits, deltas, priors = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        scores = logits.sigmoid()
        boxes = self.bbox_coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
        boxes = boxes.view_as(deltas)
        limits = torch.tensor([(w, h, w, h) for h, w in shapes], dtype=boxes.dtype)
        boxes = boxes.clamp(min=0).minimum(limits.to(device)[:, None])
        image = torch.arange(number, device=device)[:, None].expand(scores.shape)
        group = (image * len(levels) + level).flatten()
        # Far enough from one another that boxes of two groups do not meet.
        shift = group * (limits.max() + 1).to(device)
        boxes, scores, image = boxes.flatten(0, 1), scores.flatten(), image.flatten()
        if cfg.get('min_bbox_size', -1) >= 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) > cfg.min_bbox_size).all(1)
            scores = scores.where(large, scores.new_tensor(-1.0))
        kept = nms(boxes + shift[:, None], scores, cfg.nms['iou_threshold'])[1]
        kept = kept[scores[kept] >= 0]
        kept = kept[image[kept].argsort(stable=True)]
        counts = image[kept].bincount(minlength=number).tolist()
        chosen = [part[: cfg.max_per_img] for part in kept.split(counts)]
        return [
            InstanceData(bboxes=boxes[one], scores=scores[one], labels=torch.zeros_like(one))
            for one in chosen
        ]

    def _level_of_batch(
        self, cls_score: Tensor, bbox_pred: Tensor, priors: Tensor, cfg: dict
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, n), deltas (N, n, 4) and anchors (N, n, 4) of one level, the surest."""
        number = len(cls_score)
        logits = cls_score.permute(0, 2, 3, 1).flatten(1).float()
        deltas = bbox_pred.permute(0, 2, 3, 1).reshape(number, -1, 4).float()
        priors = priors.expand(number, -1, -1)
        if 0 < cfg.get('nms_pre', -1) < logits.shape[1]:
            logits, chosen = logits.topk(cfg.nms_pre)
            corners = chosen[..., None].expand(-1, -1, 4)
            deltas, priors = deltas.gather(1, corners), priors.gather(1, corners)
        return logits, deltas, priors

    def get_anchors(
        self, featmap_sizes: list[tuple], batch_img_metas: list[dict], device: torch.device
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """See mmdet; on the CPU, where the targets are found."""
        device = torch.device(device)
        if device.type == 'cuda' and not self.reg_decoded_bbox:
            device = torch.device('cpu')
        return super().get_anchors(featmap_sizes, batch_img_metas, device)

    def get_targets(
        self,
        anchor_list: list[list[Tensor]],
        valid_flag_list: list[list[Tensor]],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: InstanceList | None = None,
        **kwargs,
    ) -> tuple:
        """See mmdet; found on the device of the anchors, given on that of the objects."""
        device = batch_gt_instances[0].bboxes.device
        if anchor_list[0][0].device == device:
            return super().get_targets(
                anchor_list,
                valid_flag_list,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore,
                **kwargs,
            )
        ignored = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
        anchors = torch.cat(anchor_list[0])  # get_anchors gives all images of a batch the same
        chosen = [
            self._choose(
                anchors, torch.cat(flags), meta['img_shape'], objects.cpu(), ignore and ignore.cpu()
            )
            for flags, meta, objects, ignore in zip(
                valid_flag_list, batch_img_metas, batch_gt_instances, ignored, strict=True
            )
        ]
        self._raw_positive_infos.update(sampling_results=chosen)
        sizes = [len(level) for level in anchor_list[0]]
        return *self._dense_targets(chosen, sizes, device), sum(one.avg_factor for one in chosen)

    def _choose(
        self,
        anchors: Tensor,
        valid: Tensor,
        shape: tuple[int, int],
        objects: InstanceData,
        ignored: InstanceData | None,
    ) -> SamplingResult:
        """The anchors of one image that count in the losses; numbers among all of its anchors.

        Raises:
            ValueError: As mmdet's, if the image (height, width) holds none of them.
        """
        border = self.train_cfg['allowed_border']
        valid = anchor_inside_flags(anchors, valid, shape, border)
        if not valid.any():
            raise ValueError(
                f'no anchor lies inside an image of {shape[1]}x{shape[0]} pixels: '
                f'give smaller anchors, or set train_cfg.rpn.allowed_border=-1 (is {border})'
            )
        everything = bool(valid.all())
        priors = InstanceData(priors=anchors if everything else anchors[valid])
        whose = self.assigner.assign(priors, objects, ignored)
        chosen = self.sampler.sample(whose, priors, objects)
        if not everything:
            inside = valid.nonzero()[:, 0]
            chosen.pos_inds, chosen.neg_inds = inside[chosen.pos_inds], inside[chosen.neg_inds]
        return chosen

    def _dense_targets(
        self, chosen: Sequence[SamplingResult], sizes: Sequence[int], device: torch.device
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Labels, their weights, box offsets and their weights by level, for mmdet's losses.

        Only what was chosen is sent to the card, where the rest is zero.

        Args:
            chosen: Of each of the N images.
            sizes: Number of anchors of each level, n.
            device: Of the result.

        Returns:
            Lists over the levels: (N, n) int64, (N, n), (N, n, 4) and (N, n, 4).
        """
        total, number = sum(sizes), len(chosen)
        positive = torch.cat([one.pos_inds + i * total for i, one in enumerate(chosen)])
        negative = torch.cat([one.neg_inds + i * total for i, one in enumerate(chosen)])
        offsets = torch.cat(
            [
                self.bbox_coder.encode(one.pos_priors, one.pos_gt_bboxes)
                if len(one.pos_inds)
                else one.pos_priors.new_zeros(0, 4)
                for one in chosen
            ]
        )
        names = torch.cat([one.pos_gt_labels for one in chosen])
        positive, negative, offsets, names = (
            part.to(device, non_blocking=True) for part in (positive, negative, offsets, names)
        )
        labels = torch.full((number * total,), self.num_classes, device=device)
        label_weights = torch.zeros(number * total, device=device)
        targets, weights = torch.zeros(2, number * total, 4, device=device)
        weight = self.train_cfg['pos_weight']
        labels[positive] = names.to(labels.dtype)
        label_weights[positive] = weight if weight > 0 else 1.0
        label_weights[negative] = 1.0
        targets[positive], weights[positive] = offsets.to(targets.dtype), 1.0
        return tuple(
            list(part.view(number, total, *part.shape[1:]).split(list(sizes), 1))
            for part in (labels, label_weights, targets, weights)
        )

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: dict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        """See mmdet; maps (A, H, W) and (4 A, H, W) of an image's levels to its proposals."""
        cfg = self.test_cfg if cfg is None else cfg
        if not self._knows(cfg, rescale, with_nms):
            return super()._predict_by_feat_single(
                cls_score_list,
                bbox_pred_list,
                score_factor_list,
                mlvl_priors,
                img_meta,
                cfg,
                rescale,
                with_nms,
            )
        levels = [
            self._level(*maps, img_meta['img_shape'], cfg)
            for maps in zip(cls_score_list, bbox_pred_list, mlvl_priors, strict=True)
        ]
        boxes, scores = (torch.cat(parts) for parts in zip(*levels, strict=True))
        scores, order = scores.topk(min(cfg.max_per_img, len(scores)))
        return InstanceData(bboxes=boxes[order], scores=scores, labels=torch.zeros_like(order))

    def _level(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        priors: Tensor,
        img_shape: tuple[int, int],
        cfg: dict,
    ) -> tuple[Tensor, Tensor]:
        """Boxes (n, 4) and scores (n,) of one level, by falling score, suppressed."""
        logits = cls_score.permute(1, 2, 0).flatten()
        deltas = bbox_pred.permute(1, 2, 0).reshape(-1, self.bbox_coder.encode_size)
        if 0 < cfg.get('nms_pre', -1) < len(logits):
            logits, chosen = logits.topk(cfg.nms_pre)
            deltas, priors = deltas[chosen], priors[chosen]
        boxes = self.bbox_coder.decode(priors, deltas, max_shape=img_shape)
        scores = logits.sigmoid()
        if cfg.get('min_bbox_size', -1) >= 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) > cfg.min_bbox_size).all(1)
            boxes, scores = boxes[large], scores[large]
        if len(boxes):
            kept = nms(boxes, scores, cfg.nms['iou_threshold'])[1]
            boxes, scores = boxes[kept], scores[kept]
        return boxes, scores


def _are_alike(layers: Sequence[nn.Module]) -> bool:
    """Whether each is a convolution of one cell, of one type, to whose outputs nobody listens."""
    return len({(keeps_float32(layer), layer.weight.dtype) for layer in layers}) == 1 and all(
        isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0))
        and layer.groups == 1
        and layer.bias is not None
        and not is_heard(layer)
        for layer in layers
    )
