"""mmdet's assignment of boxes to objects by IoU, in compiled loops on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmclarity.utils.jit import compiled

# bbox_overlaps of mmdet divides by no less.
LEAST_UNION = np.float32(1e-6)
# So many boxes at a time lie in the processor's nearest cache.
BLOCK = 2048


@compiled
def _overlaps(row: np.ndarray, one: np.ndarray, sides: np.ndarray, least: np.float32) -> None:
    """IoU of one object and boxes.

    Args:
        row: (n,), filled.
        one: The object's x1, y1, x2 and y2.
        sides: (4, n), the boxes' x1, y1, x2 and y2 one after the other.
        least: Areas of union are no less.
    """
    x1, y1, x2, y2 = sides[0], sides[1], sides[2], sides[3]
    zero = least - least
    left, top, right, bottom = one[0], one[1], one[2], one[3]
    area = (right - left) * (bottom - top)
    for j in range(len(row)):
        width = max(min(right, x2[j]) - max(left, x1[j]), zero)
        height = max(min(bottom, y2[j]) - max(top, y1[j]), zero)
        common = width * height
        union = area + (x2[j] - x1[j]) * (y2[j] - y1[j]) - common
        row[j] = common / max(union, least)


@compiled
def _assign(
    assigned: np.ndarray,
    best: np.ndarray,
    objects: np.ndarray,
    sides: np.ndarray,
    positive: float,
    negative: float,
    least_union: np.float32,
) -> np.ndarray:
    """Whose each box is by its best overlap (from 1; the first wins), 0 for none, -1 between.

    Args:
        assigned: (n,) int64, filled.
        best: (n,), filled with the best IoU of each box.
        objects: (k, 4) as x1, y1, x2, y2.
        sides: (4, n), see :func:`_overlaps`.
        positive: The least IoU of a box that is somebody's.
        negative: Below this IoU it is nobody's.
        least_union: Areas of union are no less.

    Returns:
        (k,) the best IoU of each object.
    """
    tops = np.full(len(objects), -1, np.float32)
    row = np.empty(BLOCK, np.float32)
    for start in range(0, len(best), BLOCK):
        stop = min(start + BLOCK, len(best))
        part, mine, whose = row[: stop - start], best[start:stop], assigned[start:stop]
        mine[:], whose[:] = -1, 0
        for i in range(len(objects)):
            _overlaps(part, objects[i], sides[:, start:stop], least_union)
            top = tops[i]
            for j in range(len(part)):
                top = max(top, part[j])
            tops[i] = top
            for j in range(len(part)):
                if part[j] > mine[j]:
                    mine[j], whose[j] = part[j], i + 1
        for j in range(len(part)):
            if not mine[j] >= positive:
                whose[j] = 0 if mine[j] < negative else -1
    return tops


@compiled
def _match_weak(
    assigned: np.ndarray,
    objects: np.ndarray,
    sides: np.ndarray,
    tops: np.ndarray,
    likely: np.ndarray,
    least: float,
    all_equal: bool,
    least_union: np.float32,
) -> None:
    """Give every object its best boxes if those overlap it by ``least`` or more.

    Args:
        assigned: (n,), changed.
        objects: (k, 4).
        sides: (4, n).
        tops: (k,) the best IoU of each object.
        likely: Which boxes overlap any object by the least of ``tops`` that counts.
        least: See above.
        all_equal: All boxes with the best IoU; else the first.
        least_union: Areas of union are no less.
    """
    chosen = np.empty((4, len(likely)), sides.dtype)
    for j in range(len(likely)):
        for side in range(4):
            chosen[side, j] = sides[side, likely[j]]
    row = np.empty(len(likely), np.float32)
    for i in range(len(objects)):
        if tops[i] < least:
            continue
        _overlaps(row, objects[i], chosen, least_union)
        for j in range(len(row)):
            if row[j] == tops[i]:
                assigned[likely[j]] = i + 1
                if not all_equal:
                    break


@TASK_UTILS.register_module()
class QuickMaxIoUAssigner(MaxIoUAssigner):
    """mmdet's ``MaxIoUAssigner``, with the same result, about ten times as quick on the CPU.

    57,000 anchors of a pyramid from stride 4 on and 20 objects: 13 ms against 1 to 2. Boxes on CUDA
    are fetched, and the result is put back there: mmdet's would wait for the card at every object.
    In float64 or half precision, with boxes to ignore or another measure of overlap it is mmdet's.

    Args:
        args, kwargs: See mmdet's ``MaxIoUAssigner``.

    Examples:
        >>> import torch
        >>> from mmengine.structures import InstanceData
        >>> from mmclarity.detection.task_modules import QuickMaxIoUAssigner
        >>> assigner = QuickMaxIoUAssigner(pos_iou_thr=0.5, neg_iou_thr=0.5)
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
        >>> objects = InstanceData(bboxes=boxes[:1], labels=torch.tensor([2]))
        >>> assigner.assign(InstanceData(priors=boxes), objects).gt_inds
        tensor([1, 0])
    """

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs,
    ) -> AssignResult:
        """See mmdet's ``MaxIoUAssigner``."""
        priors, objects = pred_instances.priors, gt_instances.bboxes
        ignoring = (
            self.ignore_iof_thr > 0
            and gt_instances_ignore is not None
            and len(gt_instances_ignore) > 0
        )
        quick = (
            isinstance(priors, Tensor)
            and isinstance(objects, Tensor)
            and priors.device.type in ('cpu', 'cuda')
            and len(priors)
            and len(objects)
            and priors.dtype == objects.dtype == torch.float32
            and not ignoring
            and type(self.iou_calculator).__name__ == 'BboxOverlaps2D'
            and isinstance(self.neg_iou_thr, float)
            and self.perm_repeat_gt_cfg is None
        )
        if not quick:
            return super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        labels = gt_instances.labels
        found = self._assign(priors.detach().cpu(), objects.detach().cpu(), labels.cpu())
        if priors.device.type != 'cpu':
            found.gt_inds = found.gt_inds.to(priors.device, non_blocking=True)
            found.max_overlaps = found.max_overlaps.to(priors.device, non_blocking=True)
            found.labels = found.labels.to(priors.device, non_blocking=True)
        return found

    def _assign(self, priors: Tensor, objects: Tensor, labels: Tensor) -> AssignResult:
        assigned, best = np.empty(len(priors), np.int64), np.empty(len(priors), np.float32)
        sides, objects = priors.t().contiguous().numpy(), objects.contiguous().numpy()
        limits = float(self.pos_iou_thr), float(self.neg_iou_thr)
        tops = _assign(assigned, best, objects, sides, *limits, LEAST_UNION)
        counting = tops[tops >= self.min_pos_iou] if self.match_low_quality else tops[:0]
        if len(counting):
            likely = np.flatnonzero(best >= counting.min())
            how = self.min_pos_iou, self.gt_max_assign_all, LEAST_UNION
            _match_weak(assigned, objects, sides, tops, likely, *how)
        assigned = torch.from_numpy(assigned)
        found = assigned > 0
        names = torch.full_like(assigned, -1)
        names[found] = labels[assigned[found] - 1].to(names.dtype)
        return AssignResult(len(objects), assigned, torch.from_numpy(best), labels=names)
