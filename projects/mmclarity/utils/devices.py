"""Names of devices, checked before anything is built."""

from __future__ import annotations

from mmclarity.errors import UsageError


def check_device(device: str) -> str:
    """Refuse a device that is misspelt, or not there.

    Args:
        device: As torch names it: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ``'mps'``, ...

    Returns:
        The same.

    Raises:
        UsageError: naming the devices of this machine.

    Examples:
        >>> check_device('cpu')
        'cpu'
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        there = ['cpu', *(f'cuda:{number}' for number in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append('mps')
        raise UsageError(
            f'device {device!r} cannot be used; this machine has {", ".join(there)}'
        ) from error
    return device
