"""mmdet's random choice of boxes for a loss, without waiting for the card."""

from __future__ import annotations

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import RandomSampler, SamplingResult
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class QuickRandomSampler(RandomSampler):
    """mmdet's ``RandomSampler``, with the same choice from the same seed.

    On CUDA it fetches once which box is whose, and chooses on the CPU; mmdet's waits for the card
    four times an image. On the CPU it is mmdet's.

    Args:
        args, kwargs: See mmdet's ``RandomSampler``.

    Examples:
        >>> from mmclarity.detection.task_modules import QuickRandomSampler
        >>> QuickRandomSampler(num=64, pos_fraction=0.25).num
        64
    """

    def sample(
        self,
        assign_result: AssignResult,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        **kwargs,
    ) -> SamplingResult:
        """See mmdet's ``BaseSampler``."""
        priors, objects = pred_instances.priors, gt_instances.bboxes
        if not isinstance(priors, Tensor) or priors.device.type == 'cpu':
            return super().sample(assign_result, pred_instances, gt_instances, **kwargs)
        return self._sample(assign_result, priors, objects, gt_instances.labels)

    def _sample(
        self, assign_result: AssignResult, priors: Tensor, objects: Tensor, labels: Tensor
    ) -> SamplingResult:
        flags = priors.new_zeros(len(priors), dtype=torch.uint8)
        if self.add_gt_as_proposals and len(objects):
            priors = torch.cat([objects, priors])
            assign_result.add_gt_(labels)
            flags = torch.cat([flags.new_ones(len(objects)), flags])
        whose = assign_result.gt_inds.cpu()
        here = AssignResult(assign_result.num_gts, whose, max_overlaps=None, labels=None)
        chosen = self.pos_sampler._sample_pos(here, int(self.num * self.pos_fraction)).unique()
        wanted = self.num - len(chosen)
        if self.neg_pos_ub >= 0:
            wanted = min(wanted, int(self.neg_pos_ub * max(1, len(chosen))))
        others = self.neg_sampler._sample_neg(here, wanted).unique()
        return SamplingResult(
            chosen.to(priors.device, non_blocking=True),
            others.to(priors.device, non_blocking=True),
            priors,
            objects,
            assign_result,
            flags,
        )
