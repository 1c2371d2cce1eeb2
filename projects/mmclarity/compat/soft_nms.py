"""Soft non-maximum suppression without a compiled mmcv."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

_HARD, _LINEAR, _GAUSSIAN = range(3)  # mmcv passes the method as an integer


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017), as mmcv's ``softnms`` operator.

    Box after box is taken, the surest one first, and lowers the scores of those left by their
    overlap with it. Not done one by one here: scores only fall, so a box that is surer than all
    boxes left that overlap it is taken before any of them, with the score that it has. All such
    boxes are taken at once, round by round; the numbers are the same.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2 in pixels.
        scores: (N,).
        dets: (N, 5), of which the first K rows become the boxes that stay and their scores.
        iou_threshold: least overlap that counts (not for the Gaussian).
        sigma: of the Gaussian: a score is multiplied by exp(-overlap^2 / sigma).
        min_score: boxes whose score falls below go.
        method: 0 takes the score away, 1 multiplies it by 1 - overlap, 2 is the Gaussian.
        offset: 0 or 1; the width of a box is ``x2 - x1 + offset``.

    Returns:
        (K,) int64 indices of the boxes that stay, best score first.

    Raises:
        ValueError: if ``offset`` or ``method`` is unknown.
    """
    if offset not in (0, 1) or method not in (_HARD, _LINEAR, _GAUSSIAN):
        raise ValueError(f'softnms: offset={offset!r} and method={method!r}: 0 or 1, and 0 to 2')
    if not len(boxes):
        return torch.empty(0, dtype=torch.long)
    own = scores.detach().float()
    overlap = box_iou(*[boxes.detach().float() + boxes.new_tensor([0.0, 0, offset, offset])] * 2)
    overlap.fill_diagonal_(0)
    counts = overlap > 0 if method == _GAUSSIAN else overlap >= max(iou_threshold, 1e-9)
    whose, by = counts.nonzero(as_tuple=True)
    value = overlap[whose, by]
    factor = {
        _HARD: lambda: torch.zeros_like(value),
        _LINEAR: lambda: 1 - value,
        _GAUSSIAN: lambda: torch.exp(-(value**2) / sigma),
    }[method]()
    now, left = own, torch.ones_like(own, dtype=torch.bool)
    while left.any():
        ahead = (now[by] > now[whose]) | ((now[by] == now[whose]) & (by < whose))
        waits = torch.zeros_like(left).index_put((whose[ahead & left[by]],), left.new_ones(()))
        taken = left & ~waits
        left = left & waits
        now = now.scatter_reduce(0, whose, factor.where(taken[by] & left[whose], 1), 'prod')
    now, order = now.sort(descending=True, stable=True)
    count = int((now >= min_score).sum())
    dets[:count, :4], dets[:count, 4] = boxes[order[:count]], now[:count]
    return order[:count]
