"""How many processors there are to work with."""

import os


def available_cpus() -> int:
    """Processors this process may run on; all of the machine where the system cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
