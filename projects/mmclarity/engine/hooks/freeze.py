"""Training a part of a model, the rest as it was loaded."""

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from mmclarity.errors import UsageError
from mmclarity.utils.models import unwrap

from ..model_wrapper import wrap_anew


@HOOKS.register_module()
class TrainOnlyHook(Hook):
    """Freezes everything but the named parts, for instance a head put into a trained detector.

    Frozen parameters get no gradient, and nothing is computed for one: a step takes less time and
    memory, and weight decay leaves them alone. Their batch norms keep their running statistics. In
    several processes they are not sent around.

    Args:
        parts: Names of modules or parameters, as in ``named_parameters``:
            ``['roi_head.bbox_head']``.

    Raises:
        ValueError: If no part is given.
        UsageError: Before training, if the model has no such part, or in several processes with a
            compiled model without ``find_unused_parameters=True``.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        if isinstance(parts, str) or not parts:
            raise ValueError(f'TrainOnlyHook: parts must be a list of names, got {parts!r}')
        self.parts = tuple(parts)
        self._still: list[nn.Module] = []

    def trains(self, name: str) -> bool:
        """Whether a weight of this name belongs to a part that is trained."""
        return any(_holds(part, name) for part in self.parts)

    def before_train(self, runner: Runner) -> None:
        """Freeze, and say how many parameters are trained."""
        model = unwrap(runner.model)
        compiled = runner.cfg.get('compile')  # what is compiled is the step of this very wrapper
        if compiled and not getattr(runner.model, 'find_unused_parameters', True):
            raise UsageError(
                'TrainOnlyHook in several processes with compile: set find_unused_parameters=True, '
                'or they wait for the gradients of what is frozen'
            )
        parameters = dict(model.named_parameters())
        missing = [
            part for part in self.parts if not any(_holds(part, name) for name in parameters)
        ]
        if missing:
            there = ', '.join(name for name, _ in model.named_children())
            raise UsageError(f'TrainOnlyHook: the model has no {missing}; its parts are {there}')
        trained = 0
        for name, parameter in parameters.items():
            if self.trains(name):
                trained += parameter.numel() * parameter.requires_grad
            else:
                parameter.requires_grad_(False)
        self._still = [
            module
            for name, module in model.named_modules()
            if hasattr(module, 'running_mean') and not self.trains(name)
        ]
        if not compiled:
            wrap_anew(runner)
        runner.logger.info(
            f'{trained:,} parameters in {", ".join(self.parts)} are trained; the rest is frozen'
        )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the statistics of frozen batch norms: the loops call ``train()`` where they like."""
        for module in self._still:
            module.eval()


def _holds(part: str, name: str) -> bool:
    return name == part or name.startswith(f'{part}.')
