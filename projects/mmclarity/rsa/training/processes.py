"""A hook that works in one process, beside others that wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from mmclarity.utils.models import unwrap


def refuse_sharded(model: Any) -> None:
    """Raise a ValueError for a model that one process alone cannot run.

    It would wait for the others for ever.
    """
    inner = unwrap(model)
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if isinstance(inner, nn.Module):
        kinds |= {kind.__name__ for m in inner.modules() for kind in type(m).__mro__}
        kinds |= {type(p).__name__ for p in inner.parameters()}
        # DeepSpeed's third stage leaves parameters without entries.
        spread = any(hasattr(p, 'ds_id') and p.numel() == 0 for p in inner.parameters())
    else:
        spread = True
    found = kinds & {'FullyShardedDataParallel', 'FSDPModule', 'DTensor'}
    if spread or found:
        raise ValueError(
            f'RSAHook: the parameters of {type(inner).__name__} are spread over processes '
            f'({", ".join(sorted(found)) or type(model).__name__}), and the hook runs the network '
            'in one. Train with DistributedDataParallel, or analyse checkpoints afterwards '
            '(mmclarity-rsa --checkpoint)'
        )


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Networks that are wrapped one by one do not ask other processes for their buffers."""
    wrapped = [m for m in model.modules() if isinstance(m, nn.parallel.DistributedDataParallel)]
    asked = [m.require_forward_param_sync for m in wrapped]
    for module in wrapped:
        module.require_forward_param_sync = False
    try:
        yield
    finally:
        for module, before in zip(wrapped, asked):
            module.require_forward_param_sync = before
