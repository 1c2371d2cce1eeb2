import resource
import sys

import pytest

from mmclarity.engine.allocator import keep_freed_memory
from tests.running import OURS, start

FAULTS = """
import resource, sys
sys.path.insert(0, 'projects')
import numpy as np
from mmclarity.engine.allocator import keep_freed_memory
assert sys.argv[1] == 'default' or keep_freed_memory()
for i in range(20):
    np.ones(1 << 24, np.uint8)
    if i == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = start('/', [sys.executable, '-c', FAULTS, mode], PYTHONPATH=OURS)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason='the C library is not glibc')
def test_large_blocks_are_not_cleared_by_the_system_again_and_again():
    pages = (1 << 24) // resource.getpagesize()
    assert faults('kept') < pages / 10


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr('platform.libc_ver', lambda: ('', ''))
    assert keep_freed_memory() is False
