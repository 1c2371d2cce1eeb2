"""Judgements of one object by many proposals, agreed on."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou


def agreed_boxes(
    kept: Tensor,
    labels: Tensor,
    boxes: Tensor,
    scores: Tensor,
    iou: float = 0.5,
    temperature: float = 0.1,
) -> Tensor:
    r"""Each detection's box as a mean of all proposals' boxes that lie on it.

    Of the proposals on one object non-maximum suppression keeps the one that is surest of the
    name, which need not have the best box. Box voting (Gidaris and Komodakis, ICCV 2015, Sec. 4.2)
    with soft weights (He et al., "Bounding Box Regression with Uncertainty", CVPR 2019, Eq. 9):
    detection i of class c gets :math:`\sum_j w_{ij} b_j / \sum_j w_{ij}` with :math:`w_{ij} =
    s_{jc} \exp(-(1 - \mathrm{IoU}_{ij})^2 / t)` where the overlap is more than ``iou``, else 0.

    Args:
        kept: Boxes of the detections (D, 4).
        labels: Their classes (D,).
        boxes: Boxes that all proposals ask for (N, 4), or (N, 4 C), one a class.
        scores: Of all proposals (N, C) or, with background last, (N, C + 1).
        iou: Least overlap to have a vote, 0 to below 1.
        temperature: t above; larger counts boxes that agree less.

    Returns:
        (D, 4), each within the span of the boxes it was made from.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 12, 10], [50, 50, 60, 60]])
        >>> scores = torch.tensor([[0.5], [0.5], [0.9]])
        >>> agreed_boxes(boxes[:1], torch.tensor([0]), boxes, scores, temperature=1e9)
        tensor([[ 0.,  0., 11., 10.]])
    """
    if not len(kept) or not len(boxes):
        return kept
    if boxes.size(1) > 4:
        per_class = boxes.unflatten(1, (-1, 4)).transpose(0, 1)[labels]  # (D, N, 4)
    else:
        per_class = boxes.expand(len(kept), -1, -1)
    if boxes.size(1) > 4:
        overlap = torch.cat([box_iou(own[None], them) for own, them in zip(kept, per_class)])
    else:
        overlap = box_iou(kept, boxes)
    weight = scores[:, labels].T * torch.exp(-((1 - overlap) ** 2) / temperature)
    weight = weight.where(overlap > iou, 0).to(kept.dtype)
    total = weight.sum(1, keepdim=True)
    # Under autocast the product would be in bfloat16, which knows 300 pixels to a whole one.
    with torch.autocast(kept.device.type, enabled=False):
        mean = torch.einsum('dn,dnk->dk', weight, per_class.to(kept.dtype))
    return (mean / total.clamp(min=1e-12)).where(total > 0, kept)
