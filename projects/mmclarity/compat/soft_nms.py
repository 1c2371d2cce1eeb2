"""Soft non-maximum suppression without a compiled mmcv."""

import math

import numpy as np
import torch
from torch import Tensor

from mmclarity.utils.jit import compiled

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
    overlap with it.

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
    values = np.nan_to_num(scores.detach().cpu().double().numpy(), nan=-np.inf)  # a copy
    corners = boxes.detach().cpu().double().numpy()
    places = np.arange(len(values))
    count = _soften(
        corners,
        values,
        places,
        float(iou_threshold),
        float(sigma),
        float(min_score),
        method,
        offset,
    )
    chosen = torch.from_numpy(places[:count]).to(boxes.device)
    dets[:count, :4] = boxes[chosen]
    dets[:count, 4] = torch.from_numpy(values[:count]).to(dets)
    return chosen


@compiled
def _soften(
    boxes: np.ndarray,
    scores: np.ndarray,
    places: np.ndarray,
    threshold: float,
    sigma: float,
    least: float,
    method: int,
    offset: int,
) -> int:
    """Brings the boxes taken, in their order, to the front of ``scores`` and ``places``.

    Args:
        boxes: (N, 4), left as they are.
        scores: (N,), lowered and moved.
        places: (N,), where in ``boxes`` each score's box stands.
        threshold: Least overlap that counts (not for the Gaussian).
        sigma: Of the Gaussian.
        least: Scores below it go.
        method: As in ``softnms``.
        offset: As in ``softnms``.

    Returns:
        How many were taken.
    """
    count = len(scores)
    for taken in range(count):
        best = taken
        for i in range(taken + 1, count):
            first = scores[i] == scores[best] and places[i] < places[best]
            if scores[i] > scores[best] or first:
                best = i
        if not scores[best] >= least:
            return taken
        scores[taken], scores[best] = scores[best], scores[taken]
        places[taken], places[best] = places[best], places[taken]
        x1, y1, x2, y2 = boxes[places[taken]]
        area = (x2 - x1 + offset) * (y2 - y1 + offset)
        for i in range(taken + 1, count):
            left, low, right, high = boxes[places[i]]
            width = min(x2, right) - max(x1, left) + offset
            height = min(y2, high) - max(y1, low) + offset
            if width <= 0 or height <= 0:
                continue
            own = (right - left + offset) * (high - low + offset)
            shared = width * height / (area + own - width * height)
            if method == _GAUSSIAN:
                scores[i] *= math.exp(-(shared**2) / sigma)
            elif shared >= threshold:
                scores[i] *= 0.0 if method == _HARD else 1 - shared
    return count
