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


@compiled
def _overlaps(
    overlaps: np.ndarray,
    best: np.ndarray,
    nearest: np.ndarray,
    objects: np.ndarray,
    sides: np.ndarray,
    least_union: np.float32,
) -> None:
    """IoU of every object and box, the best of each box, and whose it is (from 1; the first wins).

    Args:
        overlaps: (k, n), filled.
        best: (n,), below any IoU at first.
        nearest: (n,) int64, filled.
        objects: (k, 4) as x1, y1, x2, y2.
        sides: (4, n), the boxes' x1, y1, x2 and y2 one after the other.
        least_union: Areas of union are no less.
    """
    x1, y1, x2, y2 = sides[0], sides[1], sides[2], sides[3]
    zero = least_union - least_union
    for i in range(len(objects)):
        left, top, right, bottom = objects[i, 0], objects[i, 1], objects[i, 2], objects[i, 3]
        area, row = (right - left) * (bottom - top), overlaps[i]
        for j in range(len(best)):
            width = max(min(right, x2[j]) - max(left, x1[j]), zero)
            height = max(min(bottom, y2[j]) - max(top, y1[j]), zero)
            common = width * height
            union = area + (x2[j] - x1[j]) * (y2[j] - y1[j]) - common
            row[j] = common / max(union, least_union)
        for j in range(len(best)):
            if row[j] > best[j]:
                best[j], nearest[j] = row[j], i + 1


@compiled
def _match_weak(assigned: np.ndarray, overlaps: np.ndarray, least: float, all_equal: bool) -> None:
    """Give every object its best boxes if those overlap it by ``least`` or more."""
    for i in range(len(overlaps)):
        row = overlaps[i]
        top = row.max()
        if top < least:
            continue
        for j in range(len(row)):
            if row[j] == top:
                assigned[j] = i + 1
                if not all_equal:
                    break


@TASK_UTILS.register_module()
class QuickMaxIoUAssigner(MaxIoUAssigner):
    """mmdet's ``MaxIoUAssigner``, with the same result, about ten times as quick on the CPU.

    57,000 anchors of a pyramid from stride 4 on and 20 objects: 13 ms against 1 to 2. On CUDA, in
    float64 or half precision, with boxes to ignore or another measure of overlap it is mmdet's.

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
            and priors.device.type == 'cpu'
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
        return self._assign(priors.detach(), objects.detach(), gt_instances.labels)

    def _assign(self, priors: Tensor, objects: Tensor, labels: Tensor) -> AssignResult:
        overlaps = np.empty((len(objects), len(priors)), np.float32)
        best = np.full(len(priors), -1, np.float32)
        nearest = np.zeros(len(priors), np.int64)
        sides = priors.t().contiguous().numpy()
        _overlaps(overlaps, best, nearest, objects.contiguous().numpy(), sides, LEAST_UNION)
        assigned = np.where(
            best >= self.pos_iou_thr, nearest, np.where(best < self.neg_iou_thr, 0, -1)
        )
        if self.match_low_quality:
            _match_weak(assigned, overlaps, self.min_pos_iou, self.gt_max_assign_all)
        assigned = torch.from_numpy(assigned)
        found = assigned > 0
        names = torch.full_like(assigned, -1)
        names[found] = labels[assigned[found] - 1].to(names.dtype)
        return AssignResult(len(objects), assigned, torch.from_numpy(best), labels=names)
