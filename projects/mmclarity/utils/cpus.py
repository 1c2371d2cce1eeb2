"""How many processors there are to work with."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

__all__ = ['available_cpus', 'one_blas_thread', 'side_by_side']

T = TypeVar('T')
MOST_AT_ONCE = 8


def available_cpus() -> int:
    """Processors this process may run on; all of the machine where the system cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager:
    """While it lasts numpy's products use one thread each, so that several can run side by side.

    Needs threadpoolctl, which comes with scikit-learn; without it products keep their threads.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    return threadpool_limits(1, user_api='blas')


def side_by_side(work: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Results in the order of the work, some of which is done at once.

    As many at a time as torch may use threads (:func:`torch.get_num_threads`), but no more than
    eight, as each takes its memory; for functions that let go of Python's lock, as those of numpy,
    scipy and scikit-image do.

    Args:
        work: Functions without arguments. The next ones are asked for, in the caller's thread,
            before the results of those before have been taken: one more than there are threads.

    Yields:
        What each returns. What one raises is raised when its turn has come.
    """
    import torch

    threads = min(torch.get_num_threads(), MOST_AT_ONCE)
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[T]] = deque()
        try:
            for function in work:
                begun.append(pool.submit(function))
                if len(begun) > threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
