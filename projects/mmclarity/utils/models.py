"""The model itself, and the data sets themselves, out of whatever is wrapped around them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

# Classes by name: several of them are in packages that need not be installed.
_HOLDERS = (
    'DataParallel',
    'DistributedDataParallel',
    'FullyShardedDataParallel',
    'MMDistributedDataParallel',
    'MMSeparateDistributedDataParallel',
    'MMFullyShardedDataParallel',
    'AveragedGradients',
    'AveragedModel',
    'BaseAveragedModel',
)

__all__ = ['innermost', 'unwrap']


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside the wrappers for several processes, averaging and compilation.

    Known are torch's ``DataParallel`` and ``DistributedDataParallel``, mmengine's wrappers,
    ``AveragedGradients``, averaged models (``AveragedModel``, mmengine's EMA), subclasses of them,
    whatever is registered in mmengine's ``MODEL_WRAPPERS``, and what ``torch.compile`` returns;
    nested in any order. mmengine's
    ``MMSeparateDistributedDataParallel`` gives the model whose networks are still wrapped one by
    one. A model that merely has a part called ``module`` is left as it is.
    """
    seen: set[int] = set()
    while id(model) not in seen:
        seen.add(id(model))
        inner = getattr(model, '_orig_mod', None)
        if not isinstance(inner, nn.Module) and _holds(model):
            inner = getattr(model, 'module', None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
    return model


def innermost(dataset: Any) -> Iterator[Any]:
    """The data sets within ``ConcatDataset``, ``ClassBalancedDataset`` and the like, in order."""
    inner = getattr(dataset, 'datasets', None) or (
        [dataset.dataset] if hasattr(dataset, 'dataset') else []
    )
    if not inner:
        yield dataset
    for part in inner:
        yield from innermost(part)


def _holds(model: nn.Module) -> bool:
    if any(kind.__name__ in _HOLDERS for kind in type(model).__mro__):
        return True
    mmengine = sys.modules.get('mmengine.model')  # nothing can be registered where it is not loaded
    return mmengine is not None and mmengine.is_model_wrapper(model)


def is_heard(module: nn.Module) -> bool:
    """Whether somebody listens to a module: its own call must not be left out then."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
