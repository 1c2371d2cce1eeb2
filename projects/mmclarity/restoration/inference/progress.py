"""What is told of work that is going on: parts done, and parts in all."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]


def part_of(progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress of one of ``count`` equal runs as progress of all."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(index * total + done, count * total)
