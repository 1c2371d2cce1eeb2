"""Memory for the responses of whole networks: large pages, used again by the next network."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

# From here on a page of its own pays; smaller pieces come from PyTorch.
LARGE = 2 << 20
# How much larger than what is asked for a piece may be that is used again.
WASTE = 2


def available_memory() -> int:
    """Bytes that may be used without swapping: of the machine, or of its control group."""
    found = []
    try:
        for line in Path('/proc/meminfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('MemAvailable:'):
                found.append(int(line.split()[1]) << 10)
    except OSError:
        if hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
            found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2)
    group = Path('/sys/fs/cgroup')
    try:
        limit = (group / 'memory.max').read_text(encoding='utf-8').strip()
        if limit != 'max':
            found.append(int(limit) - int((group / 'memory.current').read_text(encoding='utf-8')))
    except OSError:
        pass
    return max(0, min(found)) if found else 4 << 30


class Slabs:
    """Pieces of float32 memory that are given back and used again, up to a limit.

    The system clears each page of memory when it is first written, which for the responses of a
    network (several GB) takes as long as the network itself. Large pages (Linux) take a quarter of
    that time, and what the next network needs is there already.

    Args:
        limit: Bytes in use at once. Defaults to half of what is available.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = available_memory() // 2 if limit is None else limit
        self.used = 0
        self._free: list[Tensor] = []
        # What a piece in use was cut from, by its address, and the bytes of all of these.
        self._whole: dict[int, Tensor] = {}
        self._held = 0

    def take(self, rows: int, units: int) -> Tensor | None:
        """Uncleared (rows, units), float32; None beyond the limit."""
        count = rows * units
        if self.used + 4 * count > self.limit:
            return None
        self.used += 4 * count
        whole = self._waiting(count)
        if whole is None:
            self._make_room(4 * count)
            whole = _allocated(count)
            self._held += 4 * count
        self._whole[whole.data_ptr()] = whole
        return whole[:count].view(rows, units)

    def give(self, piece: Tensor) -> None:
        """Take back what :meth:`take` gave; its content is overwritten by whoever is next."""
        self.used -= 4 * piece.numel()
        self._free.append(self._whole.pop(piece.data_ptr()))

    def clear(self) -> None:
        """Give what is not in use back to the system."""
        self._held -= sum(4 * piece.numel() for piece in self._free)
        self._free = []

    def _waiting(self, count: int) -> Tensor | None:
        """The smallest free piece that is large enough, and not by far too large."""
        fitting = [i for i, p in enumerate(self._free) if count <= p.numel() <= WASTE * count]
        if not fitting:
            return None
        return self._free.pop(min(fitting, key=lambda i: self._free[i].numel()))

    def _make_room(self, more: int) -> None:
        """Give the largest free pieces back to the system, as far as the limit asks for it."""
        self._free.sort(key=Tensor.numel)
        while self._free and self._held + more > self.limit:
            self._held -= 4 * self._free.pop().numel()


def _allocated(count: int) -> Tensor:
    if 4 * count < LARGE:
        return torch.empty(count)
    pages = mmap.mmap(-1, 4 * count)
    if hasattr(mmap, 'MADV_HUGEPAGE'):
        # A kernel that was built without large pages refuses: small ones do.
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    # The tensor holds the mapping, which ends with it.
    return torch.frombuffer(pages, dtype=torch.float32, count=count)
