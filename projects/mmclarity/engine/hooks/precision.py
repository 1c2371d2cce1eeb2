"""Mixed precision on the CPU: where it pays, and what it needs in the model."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner, TestLoop, ValLoop
from torch import Tensor, nn

from mmclarity.utils.models import unwrap

from ..model_wrapper import wrap_anew

# The layers whose outputs are logits and box offsets in mmdet's RPN and RoI heads, and the one that
# gives boxes the type of the features: in bfloat16 an edge at 600 pixels moves by up to two.
OUTPUT_LAYERS = ('rpn_cls', 'rpn_reg', 'fc_cls', 'fc_reg', 'fc_fit', 'bbox_roi_extractor')

# Processors' names of their bfloat16 instructions: Intel and AMD, Intel's matrix unit, ARM.
BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}


@cache
def has_bfloat16_units(cpuinfo: str = '/proc/cpuinfo') -> bool:
    """Whether this processor computes in bfloat16 itself.

    One that does not emulates it: a training step of a small U-net then takes ten times as long as
    in float32 (AMD Zen 3), where one that does takes a fifth of the time (Intel with AMX).

    Args:
        cpuinfo: Linux's list of what the processor can do.

    Returns:
        False also where the list cannot be read.
    """
    try:
        lines = Path(cpuinfo).read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return False
    flags = (line.partition(':') for line in lines)
    return any(
        BFLOAT16_FLAGS & set(value.split())
        for name, _, value in flags
        if name.strip().lower() in ('flags', 'features')
    )


def fastest_dtype(device: str) -> torch.dtype:
    """The type that a device computes training in fastest, of those that need no scaler.

    Args:
        device: of torch: 'cpu', 'cuda', 'cuda:1', ...

    Returns:
        bfloat16, or float32 where the device would have to emulate it.

    Examples:
        >>> fastest_dtype('cpu') == (torch.bfloat16 if has_bfloat16_units() else torch.float32)
        True
    """
    if torch.device(device).type == 'cuda':
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        native = has_bfloat16_units()
    return torch.bfloat16 if native else torch.float32


def autocast_fastest(device: str | torch.device) -> torch.autocast:
    """Autocast to :func:`fastest_dtype`; it does nothing where that is float32.

    Args:
        device: of torch.
    """
    dtype = fastest_dtype(str(device))
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)


class _Float32Mixin:
    """Put before a module's class: its forward pass leaves autocast, inputs become float32."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(_to_float32(arg) for arg in args)
        kwargs = {key: _to_float32(value) for key, value in kwargs.items()}
        flat = [t for arg in args for t in (arg if isinstance(arg, tuple | list) else [arg])]
        devices = {t.device.type for t in flat if isinstance(t, Tensor)}
        device = devices.pop() if devices else 'cpu'
        with torch.autocast(device_type=device, enabled=False):
            return super().forward(*args, **kwargs)  # type: ignore[misc]  # a mixin of modules

    def __reduce__(self) -> tuple:
        """The class is made while running: a pickle (for a spawned process) tells its base."""
        return _empty_float32, (type(self).__mro__[2],), self.__dict__


def _float32_class(cls: type[nn.Module]) -> type[nn.Module]:
    return type(f'Float32{cls.__name__}', (_Float32Mixin, cls), {})


def _empty_float32(cls: type[nn.Module]) -> nn.Module:
    return nn.Module.__new__(_float32_class(cls))


def _to_float32(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    if isinstance(value, tuple | list):
        return type(value)(_to_float32(item) for item in value)
    return value


def keeps_float32(module: nn.Module) -> bool:
    """Whether the layer computes in float32 under autocast (:func:`keep_float32`)."""
    return isinstance(module, _Float32Mixin) or getattr(module, 'computes_in_float32', False)


def keep_float32(model: nn.Module, names: Sequence[str] = OUTPUT_LAYERS) -> list[str]:
    """Make the layers called ``names`` compute in float32 under autocast.

    A bfloat16 logit has 8 significant bits: scores near 1 then differ by steps of 1/256, equal
    scores abound, and the ranking that non-maximum suppression and average precision live on is
    lost. The layers' class is replaced by a subclass, not ``forward`` on the instance, so that
    copies of the model (``EMAHook``) run on their own weights.

    Args:
        model: changed in place.
        names: last parts of the modules' names.

    Returns:
        Full names of the layers that are now kept in float32.
    """
    changed = []
    for name, module in model.named_modules():
        # The stages of a cascade stand in a list: bbox_roi_extractor.0.
        named = re.sub(r'(\.\d+)+$', '', name).rsplit('.', 1)[-1]
        if named not in names or isinstance(module, nn.ModuleList):
            continue
        if not keeps_float32(module):
            module.__class__ = _float32_class(type(module))
        changed.append(name)
    return changed


@HOOKS.register_module()
class MixedPrecisionHook(Hook):
    """Prepares model and loops for bfloat16 autocast, before training, validation and testing.

    Where the processor would have to emulate bfloat16, everything is left in float32.

    Args:
        channels_last: lay 4-d weights out as (N, H, W, C). Convolutions then work in that layout
            whatever the layout of their input; on CPUs with bfloat16 units it is what makes
            autocast pay.
        float32: last parts of the names of layers that stay in float32 (logits, box offsets).
        evaluation: validate and test in mixed precision too, in mmengine's ``ValLoop`` and
            ``TestLoop`` (bfloat16 on the CPU, float16 on CUDA).
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        channels_last: bool = True,
        float32: Sequence[str] = OUTPUT_LAYERS,
        evaluation: bool = False,
    ) -> None:
        self.channels_last, self.evaluation = channels_last, evaluation
        self.float32 = tuple(float32)

    def before_run(self, runner: Runner) -> None:
        """Change the runner's model in place, and say in which type its loops evaluate."""
        model = unwrap(runner.model)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
            if isinstance(runner._train_loop, BaseLoop):
                wrap_anew(runner)
        keep_float32(model, self.float32)
        emulated = get_device() == 'cpu' and not has_bfloat16_units()
        if emulated:
            MMLogger.get_current_instance().info(
                'This processor has no bfloat16 units: what is automatic stays in float32'
            )
        if self.evaluation:
            # Loops that this run does not need are configs still, or not there.
            for loop in (runner._val_loop, runner._test_loop):
                if isinstance(loop, ValLoop | TestLoop):
                    loop.fp16 = not emulated
