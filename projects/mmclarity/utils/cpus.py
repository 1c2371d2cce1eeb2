"""How many processors there are to work with."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext


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
