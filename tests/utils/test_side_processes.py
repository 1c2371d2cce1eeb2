"""Work shared with other processes: in order, and none is forked beside threads."""

import contextlib
import os
import signal
import time
import warnings

import numpy as np
import pytest

from mmclarity.utils import side_processes
from mmclarity.utils.side_processes import map_beside
from tests.running import session

HERE = 'tests.utils.test_side_processes'


def wait_for(folder, count):
    end = time.monotonic() + 120  # a busy machine takes its time to start a process
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def meet(item):
    """Each process leaves its number, and goes on when another one has."""
    number, folder = item
    (folder / str(os.getpid())).touch()
    wait_for(folder, 2)
    return number


def double(item):
    return item * 2


def fail(item):
    if item == 3:
        raise KeyError('three')
    return item


class OddError(Exception):
    """Cannot be sent: it wants two words, and keeps one."""

    def __init__(self, one, two):
        super().__init__(one)


def die_beside(item):
    """As where memory is short: the process is killed, not the caller."""
    number, folder, caller = item
    if os.getpid() == caller:
        wait_for(folder, 1)
        return number
    (folder / str(os.getpid())).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def speak(item):
    print('spoken')
    warnings.warn(f'of {item}', UserWarning, stacklevel=1)
    return item


def test_results_are_in_order_and_of_several_processes(tmp_path):
    items = [(number, tmp_path) for number in range(12)]
    assert map_beside(f'{HERE}:meet', items, 3) == list(range(12))
    workers = {int(path.name) for path in tmp_path.iterdir()}
    assert os.getpid() in workers and 2 <= len(workers) <= 3


def test_arrays_go_and_come_as_they_are():
    items = [np.arange(100_000.0) + i for i in range(3)]
    for item, found in zip(items, map_beside(f'{HERE}:double', items, 2)):
        np.testing.assert_array_equal(found, 2 * item)


@pytest.mark.parametrize(('items', 'workers'), [([], 4), ([1], 4), ([1, 2, 3], 1)])
def test_few_items_and_one_worker_start_no_process(items, workers, monkeypatch):
    monkeypatch.setattr(side_processes, '_Side', None)
    assert map_beside(f'{HERE}:double', items, workers) == [2 * item for item in items]


def test_errors_come_as_they_are():
    with pytest.raises(KeyError, match='three'):
        map_beside(f'{HERE}:fail', range(4), 2)
    assert repr(side_processes._portable(KeyError('a'))) == "KeyError('a')"
    other = side_processes._portable(OddError('one', 'two'))
    assert repr(other) == "RuntimeError('OddError: one')"


def test_what_a_process_that_was_killed_had_is_done_here(tmp_path):
    items = [(number, tmp_path, os.getpid()) for number in range(4)]
    assert map_beside(f'{HERE}:die_beside', items, 3) == list(range(4))
    assert list(tmp_path.iterdir())  # one was killed indeed


def test_no_process_to_be_had(monkeypatch):
    def refused(*args, **kwargs):
        raise BlockingIOError('Resource temporarily unavailable')

    monkeypatch.setattr(side_processes.subprocess, 'Popen', refused)
    assert map_beside(f'{HERE}:double', [1, 2, 3], 3) == [2, 4, 6]


def test_words_and_warnings_are_no_answers(capfd):
    with pytest.warns(UserWarning) as told:
        assert map_beside(f'{HERE}:speak', [1, 2], 2) == [1, 2]
    assert sorted(str(one.message) for one in told) == ['of 1', 'of 2']


@pytest.mark.parametrize('function', ['double', 'fail'])
def test_nothing_is_forked_and_no_process_stays(function, monkeypatch):
    """Beside threads a fork may wait for ever for what they hold."""
    forked, started = [], []
    monkeypatch.setattr(os, 'fork', lambda: forked.append(1))
    usual = side_processes._Side

    class Side(usual):
        def __init__(self, name):
            super().__init__(name)
            started.append(self.process)

    monkeypatch.setattr(side_processes, '_Side', Side)
    with contextlib.suppress(KeyError):
        map_beside(f'{HERE}:{function}', [1, 2, 3], 3)
    assert not forked and len(started) == 2
    assert all(process.returncode is not None for process in started)


def test_a_script_without_a_guard():
    """``multiprocessing`` would start it again and again."""
    found = session(
        """
        from mmclarity.utils.side_processes import map_beside
        print(map_beside('math:sqrt', [1, 4, 9, 16], 3))
        """
    )
    assert found.stdout.split('\n')[0] == '[1.0, 2.0, 3.0, 4.0]', found.stderr
