"""A box head whose regions tell one another what they take themselves for."""

from __future__ import annotations

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from .region_attention_bbox_head import RegionAttentionBBoxHead
from .region_context import RegionContext


@MODELS.register_module()
class BeliefBBoxHead(RegionAttentionBBoxHead):
    """RegionAttentionBBoxHead in two passes: first names, then attention that knows them.

    Every region is classified on its own first, by the head's own classifier. Its posterior over
    the classes and background, embedded, is added to what queries, keys and values of the attention
    are made from, but not to what goes on to the second, final classification except through the
    attention. So a certain neighbour can teach an uncertain one, and background can be looked past,
    without the attention having to learn to classify by itself. No gradient goes back through the
    first pass: it is judged by the final losses alone, which at the start are its own.

    Args:
        belief_scale: Standard deviation that the embeddings of the classes start with; the
            features of a trained box head have one of about five. Defaults to 2.
        args, kwargs: See :class:`RegionAttentionBBoxHead`; an attention is needed, after 'fc2'.

    Raises:
        ValueError: Without an attention, with one elsewhere, or with a loss that is not a
            softmax's.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.roi_heads import BeliefBBoxHead
        >>> from mmclarity.detection.roi_heads import RegionContext
        >>> head = BeliefBBoxHead(
        ...     dict(type='RegionSelfAttention'), in_channels=8, fc_out_channels=32, num_classes=3
        ... )
        >>> rois = torch.tensor([[0.0, 0, 0, 9, 9], [0, 5, 5, 20, 20]])
        >>> scores, deltas = head(torch.rand(2, 8, 7, 7), RegionContext(rois, num_images=1))
        >>> tuple(scores.shape)
        (2, 4)
    """

    def __init__(self, *args, belief_scale: float = 2.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        last = f'fc{self.num_shared_fcs}'
        if list(self.attention) != [last]:
            raise ValueError(
                'BeliefBBoxHead needs one attention, after the last shared layer '
                f'({last}), got {list(self.attention) or "none"}; set '
                "attention=dict(type=...) and attention_after='fc2'"
            )
        if self.num_cls_fcs or self.num_cls_convs:
            raise ValueError(
                'BeliefBBoxHead classifies straight after the shared layers; set '
                'num_cls_fcs=0 and num_cls_convs=0'
            )
        if self.custom_activation:
            raise ValueError(
                'BeliefBBoxHead takes the softmax of its logits for what a region believes; '
                f'{type(self.loss_cls).__name__} has another: set loss_cls=dict('
                "type='CrossEntropyLoss', use_sigmoid=False)"
            )
        self.belief = nn.Linear(self.fc_cls.out_features, self.fc_out_channels, bias=False)
        nn.init.normal_(self.belief.weight, std=belief_scale)

    def _look_around(
        self, name: str, is_last: bool, x: Tensor, context: RegionContext, weights: dict | None
    ) -> Tensor:
        with torch.no_grad():
            posterior = self.fc_cls(x).softmax(-1)
        # In float32: the attention returns its input and what it adds, and the input is to be x.
        told = self.belief(posterior).float()
        seen = super()._look_around(name, is_last, x.float() + told, context, weights)
        return (seen - told[: seen.size(0)]).to(x.dtype)
