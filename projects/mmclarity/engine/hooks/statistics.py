"""Running statistics of batch norms that several processes share."""

from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmclarity.utils.models import unwrap

from .random_state import is_due


@HOOKS.register_module()
class SyncStatisticsHook(Hook):
    """In several processes, has batch norms continue from the mean of their running statistics.

    Each process updates its own from its own images. A checkpoint has those of the first, and in a
    validation each process would judge its images by its own: the numbers would be those of no
    model that exists. The mean over processes takes their place before a checkpoint is written or
    a validation begins. Batch norms that are not trained (in evaluation mode) are left as they are.

    mmengine's ``SyncBuffersHook`` averages all buffers, at the ends of epochs only.
    """

    priority = 'ABOVE_NORMAL'  # EMAHook takes over what is there

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Average, if a checkpoint or a validation may follow."""
        if get_world_size() > 1 and self._may_follow(runner, batch_idx):
            average_statistics(unwrap(runner.model))

    def _may_follow(self, runner: Runner, batch_idx: int) -> bool:
        if any(is_due(hook, runner) for hook in runner.hooks):
            return True
        loop, done = runner.train_loop, runner.iter + 1
        if isinstance(loop, IterBasedTrainLoop):
            return done % loop.val_interval == 0 or done == loop.max_iters
        return self.end_of_epoch(loop.dataloader, batch_idx)


def average_statistics(model: nn.Module) -> None:
    """Replace running means and variances of batch norms by their means over processes.

    Args:
        model: changed in place; what is in evaluation mode is passed over. All processes must have
            the same.
    """
    values: list[Tensor] = [
        value
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training
        for value in (module.running_mean, module.running_var)
        if value is not None
    ]
    if not values:
        return
    together = torch.cat([value.flatten().float() for value in values])
    all_reduce(together, op='mean')
    for value, mean in zip(values, together.split([value.numel() for value in values])):
        value.copy_(mean.view_as(value))
