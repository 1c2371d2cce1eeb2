"""Models in the wrappers of several processes, one of them for networks with an optimiser each."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def wrap_anew(runner: Runner) -> None:
    """Exchange ``DistributedDataParallel`` after parameters were laid out anew or frozen.

    The wrapper notes the strides of the parameters when it is built, and sums gradients in buffers
    of these strides. Where parameters have other ones since (``channels_last``), the elements of
    their gradients come back in the wrong order: in the first step of a run, and with
    ``find_unused_parameters`` in all of them. torch only warns of a loss of speed. What is frozen
    since is waited for (an error without ``find_unused_parameters``), and sent around in vain.

    Args:
        runner: its ``model`` is exchanged; one without such a wrapper is left alone. Of
            ``MMSeparateDistributedDataParallel`` the wrappers of all parts are exchanged.
    """
    if not isinstance(runner.model, DistributedDataParallel):
        return
    model = runner.model.module
    for name, part in model.named_children():
        if isinstance(part, DistributedDataParallel):
            setattr(model, name, part.module)
    runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)


@MODEL_WRAPPERS.register_module()
class AveragedGradients(nn.Module):
    """Data-parallel training in which gradients are averaged over the processes as they come.

    ``DistributedDataParallel`` has to see every forward pass to know which gradients to expect.
    GANs call their networks one by one: mmengine wraps each
    (``MMSeparateDistributedDataParallel``), yet mmagic's translation models (Pix2Pix, CycleGAN)
    call what is inside those wrappers, so that nothing is averaged and the processes drift apart
    without a word; and checkpoints then carry the wrappers in their names. Here a hook on each
    parameter does the work, whoever calls what. It is also right where gradients are accumulated
    over steps: what was there is a mean already. Parameters are averaged one by one, without
    overlap of the transfers, which suits networks of a few million of them.

    Use it by ``model_wrapper_cfg=dict(type='AveragedGradients')``.

    Args:
        module: The model, on its device. The parameters and buffers of the first process are sent
            to the others.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        if get_world_size() == 1:
            return
        for value in [*module.parameters(), *module.buffers()]:
            broadcast(value.data)
        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: all_reduce(p.grad, op='mean'))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Of the model."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """Of the model."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> list:
        """Of the model."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """Of the model."""
        return self.module.test_step(data)
