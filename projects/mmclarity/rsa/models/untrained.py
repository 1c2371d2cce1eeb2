"""The untrained network: what the architecture gives without training."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..renamed import warn_renamed
from .script import NORMS, WEIGHTED


def untrained_copy(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network with random weights: what its architecture gives without training.

    Convolutions and linear layers get He initialisation (He et al., ICCV 2015, eq. 10: normal,
    variance 2 / fan-in) and zero biases, so that activity neither dies nor explodes with depth.
    Other modules are reset as PyTorch resets them, running statistics to mean 0 and variance 1.
    Parameters of modules that cannot be reset are shuffled, which keeps their scale.

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
    copied = copy.deepcopy(model)
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        copied.cpu()
        for module in copied.modules():
            _randomise(module)
    return copied.to(device).eval()


def random_twin(model: nn.Module, seed: int = 0) -> nn.Module:
    """Old name of :func:`untrained_copy`."""
    warn_renamed('random_twin', 'untrained_copy')
    return untrained_copy(model, seed)


def _randomise(module: nn.Module) -> None:
    """New values for what the module itself owns."""
    script = getattr(module, 'script_name', '')
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or script in WEIGHTED:
        # Drawn in the order of the indices, whatever the order in memory (channels last).
        weight = torch.empty(module.weight.shape, dtype=module.weight.dtype)
        module.weight.copy_(nn.init.kaiming_normal_(weight, nonlinearity='relu'))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        return
    for name in ('reset_parameters', '_reset_parameters'):
        if callable(getattr(module, name, None)):
            getattr(module, name)()
            return
    buffers = dict(module.named_buffers(recurse=False))
    if {'running_mean', 'running_var'} <= set(buffers):
        # Frozen batch norm keeps all four as buffers.
        for name, value in (('running_mean', 0), ('running_var', 1), ('weight', 1), ('bias', 0)):
            if name in buffers:
                buffers[name].fill_(value)
    if script.startswith(NORMS):
        for name, parameter in module.named_parameters(recurse=False):
            parameter.fill_(float(name == 'weight'))
        return
    for parameter in module.parameters(recurse=False):
        flat = parameter.reshape(-1)
        parameter.copy_(flat[torch.randperm(len(flat))].reshape(parameter.shape))
