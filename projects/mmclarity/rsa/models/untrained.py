"""The untrained network: what the architecture gives without training."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from mmclarity.errors import LayerError

from ..renamed import warn_renamed
from .recorder import tensors_of
from .script import NORMS, WEIGHTED

# Steps in which spectral norm finds the norm of new weights; in evaluation it looks no more.
POWER_STEPS = 50


def untrained_copy(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network with random weights: what its architecture gives without training.

    Convolutions and linear layers get He initialisation (He et al., ICCV 2015, eq. 10: normal,
    variance 2 / fan-in) and zero biases, so that activity neither dies nor explodes with depth.
    Other modules are reset as PyTorch resets them, running statistics to mean 0 and variance 1.
    Parameters that nothing resets are shuffled, which keeps their scale. Weights that are made of
    others at each pass (weight norm, spectral norm, pruning) are drawn as well. Other buffers stay:
    nobody can tell a learned code book from a fixed filter.

    Args:
        model: Is not changed, nor is the random state.
        seed: The same seed gives the same copy on every device. Defaults to 0.

    Returns:
        In evaluation mode, on the device of ``model``.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmclarity.rsa import untrained_copy
        >>> net = nn.Linear(3, 2)
        >>> untrained = untrained_copy(net, seed=0)
        >>> again = untrained_copy(net, seed=0)
        >>> torch.equal(untrained.weight, net.weight), torch.equal(untrained.weight, again.weight)
        (False, True)
    """
    return randomise(_copy(model), seed)


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """:func:`untrained_copy` in place."""
    lazy = next((name for name, p in model.named_parameters() if is_lazy(p)), None)
    if lazy is not None:
        raise LayerError(
            f'{lazy} has no shape before the first picture (a lazy module), so it cannot be given '
            'random weights: run the network once, model(torch.zeros(1, 3, 224, 224)), where it '
            'is made'
        )
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        model.cpu()
        for module in model.modules():
            _randomise(module)
    return model.to(device).eval()


def random_twin(model: nn.Module, seed: int = 0) -> nn.Module:
    """Old name of :func:`untrained_copy`."""
    warn_renamed('random_twin', 'untrained_copy')
    return untrained_copy(model, seed)


def _copy(model: nn.Module) -> nn.Module:
    """A deep copy; of what modules keep from their last pass without the graph."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for name, value in vars(module).items():
            kept = [] if name == '_modules' else tensors_of(value)
            memo.update((id(t), t.detach().clone()) for t in kept if not t.is_leaf)
    return copy.deepcopy(model, memo)


def _randomise(module: nn.Module) -> None:
    """New values for what the module itself owns."""
    if isinstance(module, parametrize.ParametrizationList):
        return  # Its owner has seen to it.
    own = dict(module.named_parameters(recurse=False))
    before = {name: parameter.clone() for name, parameter in own.items()}
    reset = _reset(module)
    for name, parameter in own.items():
        if torch.equal(parameter, before[name]) and not (reset and _uniform(parameter)):
            _shuffle(parameter)
    _follow(module)


def _reset(module: nn.Module) -> bool:
    """Values as at the start of a training; whether there is a way to have them."""
    script = getattr(module, 'script_name', '')
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or script in WEIGHTED:
        # Drawn in the order of the indices, whatever the order in memory (channels last).
        weight = torch.empty(module.weight.shape, dtype=module.weight.dtype)
        _put(module, 'weight', nn.init.kaiming_normal_(weight, nonlinearity='relu'))
        if module.bias is not None:
            _put(module, 'bias', torch.zeros_like(module.bias))
        return True
    _shuffle_originals(module)
    for name in ('reset_parameters', '_reset_parameters'):
        method = getattr(module, name, None)
        if callable(method) and _takes_nothing(method):
            method()
            return True
    buffers = dict(module.named_buffers(recurse=False))
    if {'running_mean', 'running_var'} <= set(buffers):
        # Frozen batch norm keeps all four as buffers.
        for name, value in (('running_mean', 0), ('running_var', 1), ('weight', 1), ('bias', 0)):
            if name in buffers:
                buffers[name].fill_(value)
    if script.startswith(NORMS):
        for name, parameter in module.named_parameters(recurse=False):
            parameter.fill_(float(name == 'weight'))
        return True
    return False


def _takes_nothing(method: Any) -> bool:
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):  # arguments are needed; a signature cannot be had
        return False
    return True


def _uniform(values: Tensor) -> bool:
    """All of one value, such as weights of a norm that was reset before."""
    return values.numel() < 2 or bool((values == values.flatten()[0]).all())


def _shuffle(parameter: Tensor) -> None:
    flat = parameter.reshape(-1)
    parameter.copy_(flat[torch.randperm(len(flat))].reshape(parameter.shape))


def _shuffle_originals(module: nn.Module, *names: str) -> None:
    """Shuffle what parametrised tensors are made of; of all of them, if none is named."""
    if parametrize.is_parametrized(module):
        for name in names or module.parametrizations:
            for original in module.parametrizations[name].parameters(recurse=False):
                _shuffle(original)


def _put(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a weight new values: its own, or those it is made of at each pass."""
    own = module._parameters
    if name in own:
        own[name].copy_(values)
    elif parametrize.is_parametrized(module, name):
        try:
            setattr(module, name, values)
        except (NotImplementedError, RuntimeError, ValueError, TypeError):  # has no inverse
            _shuffle_originals(module, name)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            own[f'{name}_v'].copy_(values)
            own[f'{name}_g'].copy_(torch.norm_except_dim(values, 2, hook.dim))
        elif _original(hook) == name:
            own[f'{name}_orig'].copy_(values)


def _original(hook: Any) -> str | None:
    """Which tensor a hook makes of the one that is called so and ``_orig``."""
    if isinstance(hook, BasePruningMethod):
        return hook._tensor_name
    return hook.name if isinstance(hook, SpectralNorm) else None


def _follow(module: nn.Module) -> None:
    """Bring what was computed from earlier weights to the new ones."""
    if parametrize.is_parametrized(module):
        for name, parts in module.parametrizations.items():
            for part in parts:
                if isinstance(part, parametrizations._SpectralNorm) and hasattr(part, '_u'):
                    part._u.copy_(_direction(part._u))
                    part._v.copy_(_direction(part._v))
                    part.train()
                    for _ in range(POWER_STEPS):
                        getattr(module, name)
                    part.eval()
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm):
            for side in ('u', 'v'):
                vector = getattr(module, f'{hook.name}_{side}')
                vector.copy_(_direction(vector))
            module.train()
            for _ in range(POWER_STEPS):
                hook(module, ())
            module.eval()
        if isinstance(hook, WeightNorm | BasePruningMethod):
            hook(module, ())


def _direction(vector: Tensor) -> Tensor:
    return nn.functional.normalize(torch.randn_like(vector), dim=0)
