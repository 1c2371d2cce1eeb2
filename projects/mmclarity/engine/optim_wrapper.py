"""Mixed-precision training on the CPU too."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from .hooks.precision import has_bfloat16_units

_DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Optimiser wrapper that runs the forward pass under ``torch.autocast``, on CPU and CUDA.

    mmengine's ``AmpOptimWrapper`` refuses the CPU. Here bfloat16 is the type there, without a
    gradient scaler: it has the exponent range of float32, so gradients do not underflow. float16
    (CUDA only) uses a scaler, as ``AmpOptimWrapper`` does. Parameters, gradients and the
    optimiser's state stay float32. See also :class:`mmclarity.engine.MixedPrecisionHook`.

    Args:
        dtype: ``'bfloat16'``, ``'float16'``, or ``'auto'`` for the fastest that the device itself
            computes in: bfloat16, on an older GPU float16, and on a CPU that would have to emulate
            bfloat16 (:func:`mmclarity.engine.has_bfloat16_units`) float32.
        loss_scale: ``'dynamic'``, a fixed scale, or the arguments of ``GradScaler``; it has an
            effect for float16 only.
        device_type: ``'cpu'`` or ``'cuda'``; ``None`` takes the device mmengine trains on.
        **kwargs: arguments of ``OptimWrapper`` (``optimizer``, ``clip_grad``, ...).

    Raises:
        ValueError: for another type, or float16 on the CPU.
        TypeError: for a ``loss_scale`` that is none of the above.
    """

    def __init__(
        self,
        dtype: str = 'auto',
        loss_scale: str | float | dict = 'dynamic',
        device_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.device_type = device_type or get_device().split(':')[0]
        if dtype != 'auto' and dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {sorted(_DTYPES)} or 'auto', got {dtype!r}")
        self.cast_dtype = self._fastest() if dtype == 'auto' else _DTYPES[dtype]
        if self.device_type == 'cpu' and self.cast_dtype is torch.float16:
            raise ValueError("float16 needs CUDA; on the CPU use dtype='bfloat16' or 'auto'")
        self.loss_scaler = self._build_scaler(loss_scale)
        # A fixed scale is set again after each step; None lets the scaler adapt it.
        self._fixed_scale = float(loss_scale) if isinstance(loss_scale, int | float) else None

    def _fastest(self) -> torch.dtype:
        if self.device_type == 'cpu':
            return torch.bfloat16 if has_bfloat16_units() else torch.float32
        native = self.device_type != 'cuda' or torch.cuda.get_device_capability()[0] >= 8
        return torch.bfloat16 if native else torch.float16

    def _build_scaler(self, loss_scale: str | float | dict) -> Any:
        if loss_scale == 'dynamic':
            options = {}
        elif isinstance(loss_scale, int | float):
            options = dict(init_scale=float(loss_scale))
        elif isinstance(loss_scale, dict):
            options = dict(loss_scale)
        else:
            raise TypeError(f"loss_scale must be 'dynamic', a number or a dict, got {loss_scale!r}")
        if self.cast_dtype is not torch.float16:
            return None
        if hasattr(torch.amp, 'GradScaler'):
            return torch.amp.GradScaler(self.device_type, **options)
        return torch.cuda.amp.GradScaler(**options)  # torch < 2.3

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backpropagate the scalar ``loss``, scaled if the type needs it."""
        if self.loss_scaler is not None:
            loss = self.loss_scaler.scale(loss)
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update the parameters; with a scaler, steps with infinite gradients are skipped."""
        if self.loss_scaler is None:
            super().step(**kwargs)
            return
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._fixed_scale)

    def state_dict(self) -> dict:
        """State of the optimiser and, with a scaler, ``'loss_scaler'``."""
        state = super().state_dict()
        if self.loss_scaler is not None:
            state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what :meth:`state_dict` (or another wrapper's) returned; the scaler is optional."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler and self.loss_scaler is not None:
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, inside mmengine's gradient-accumulation context."""
        with (
            super().optim_context(model),
            torch.autocast(
                device_type=self.device_type,
                dtype=self.cast_dtype,
                enabled=self.cast_dtype is not torch.float32,
            ),
        ):
            yield
