"""How much memory there is."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch


@cache
def memory_of_machine(device: str = 'cpu', cgroup: str = '/sys/fs/cgroup') -> int:
    """Bytes of a device; of a processor what the machine has, or its container is allowed.

    Args:
        device: of torch.
        cgroup: where Linux tells the limits of a container.

    Returns:
        4 GiB where the system does not say.
    """
    if device.startswith('cuda'):
        return torch.cuda.get_device_properties(device).total_memory
    memory = 4 << 30
    with suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    for name in ('memory.max', 'memory/memory.limit_in_bytes'):
        with suppress(ValueError, OSError):
            memory = min(memory, int(Path(cgroup, name).read_text(encoding='ascii')))
    return memory
