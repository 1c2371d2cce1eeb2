"""What the benchmarks share: rounds of contenders in turn, peak memory, and tables."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mmclarity.utils.tables import markdown_table


class PeakMemory:
    """Highest memory use since :meth:`start`, in MB, or None where it cannot be read."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @staticmethod
    def _status(field: str) -> float:
        for line in Path('/proc/self/status').read_text(encoding='utf-8').splitlines():
            if line.startswith(field + ':'):
                return int(line.split()[1]) / 1024
        raise OSError(f'no {field} in /proc/self/status')

    def start(self) -> None:
        gc.collect()
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device) / 2**20
            return
        try:
            # Freed memory that the C library keeps would hide what the run takes.
            ctypes.CDLL(None).malloc_trim(0)
            Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
            self.before = self._status('VmRSS')
        except (OSError, AttributeError):
            self.before = None

    def stop(self) -> float | None:
        if self.before is None:
            return None
        if self.device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self.device) / 2**20 - self.before
        return self._status('VmHWM') - self.before


def measure(
    contenders: dict[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    rotated: bool = False,
) -> dict[str, dict]:
    """Seconds of each round and peak memory of every contender, run in turn.

    ``rotated``: each round begins with another one, so that none always follows the same one.
    """
    results, memory = {name: dict(seconds=[]) for name in contenders}, PeakMemory(device)
    for name, run in contenders.items():  # also the warm-up
        run()
        memory.start()
        run()
        results[name]['peak_mb'] = memory.stop()
    names = list(contenders)
    for number in range(repeats):
        first = number % len(names) if rotated else 0
        for name in names[first:] + names[:first]:
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            contenders[name]()
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
            results[name]['seconds'].append(time.perf_counter() - start)
    return results


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method='inclusive')
    return low, statistics.median(values), high


def milliseconds(seconds: list[float]) -> str:
    """Median and quartiles."""
    low, median, high = (1000 * q for q in quartiles(seconds))
    digits = 0 if median >= 100 else 1 if median >= 1 else 3
    return f'{median:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})'


def megabytes(value: float | None) -> str:
    """Of :class:`PeakMemory`."""
    return 'n/a' if value is None else f'{value:,.0f}'


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown; the first column left, the others right."""
    return markdown_table(header, [[str(cell) for cell in row] for row in rows])


def machine_line(device: torch.device) -> str:
    """The processor and the threads in use."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{platform.machine()} CPU, {torch.get_num_threads()} thread(s) of {os.cpu_count()}'
