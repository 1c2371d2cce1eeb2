"""Files that crash or hold their reader do so in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import warnings

import numpy as np
import pytest

from mmclarity.errors import DataError
from mmclarity.utils import child
from mmclarity.utils.child import read_in_child

posix = pytest.mark.skipif(os.name != 'posix', reason='signals of POSIX')


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'a file.bin'
    path.write_bytes(b'x')
    return path


def read(name, file):
    return read_in_child(f'tests.utils.child_readers:{name}', file)


def test_everything_arrives_as_it_was(file):
    from tests.utils.child_readers import plain

    found, expected = read('plain', file), plain(file)
    assert list(found) == list(expected)
    for key in ('path', 'is_path', 'nothing', 'numbers'):
        assert found[key] == expected[key]
        assert type(found[key]) is type(expected[key])
    for key in ('texts', 'fixed', 'columns'):
        np.testing.assert_array_equal(found[key], expected[key])
        assert found[key].dtype == expected[key].dtype
    for one, other in zip(found['nested'], expected['nested']):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert found['objects'].shape == (2,)  # and nothing was unpickled
    assert found['objects'].dtype.kind == 'V'


def test_one_process_reads_file_after_file(file):
    pids = {read('plain', file)['pid'] for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


@posix
def test_a_crash_is_an_error_and_the_next_file_is_read(file):
    with pytest.raises(ValueError, match=r'crashes its reader \(SIGSEGV\)'):
        read('crash', file)
    assert read('plain', file)['path'] == str(file)


@posix
def test_a_circle_is_left(file, monkeypatch):
    monkeypatch.setattr(child, 'SECONDS', 0.3)
    with pytest.raises(ValueError, match='ended after 0.3 s of processor time'):
        read('circle', file)
    assert read('plain', file)['path'] == str(file)


@posix
def test_the_limit_counts_for_each_file_anew(file, monkeypatch):
    monkeypatch.setattr(child, 'SECONDS', 0.4)
    for _ in range(200):
        read('plain', file)


def test_errors_keep_kind_and_text(file):
    with pytest.raises(DataError, match='line 3 is odd'):
        read('refuse', file)
    with pytest.raises(ModuleNotFoundError, match='install it'):
        read('lacking', file)
    with pytest.raises(ValueError, match=r"'what\\nelse'"):
        read('fail', file)


@posix
def test_an_absurd_size_is_an_error(file):
    with pytest.raises(ValueError, match='Unable to allocate'):
        read('greedy', file)


def test_prints_do_not_mix_with_the_answer_and_warnings_arrive(file, capfd):
    with pytest.warns(UserWarning, match='odd, but read') as caught:
        assert read('chatter', file) == 'read'
    assert len(caught) == 1
    assert capfd.readouterr() == ('', '')


def test_a_child_that_ended_for_idleness_is_started_anew(file):
    first = read('plain', file)['pid']
    assert child._child.end() == 0
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read('plain', file)['pid'] != first


@posix
def test_after_an_interruption_no_old_answer_is_taken_for_a_new_one(file):
    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            read('circle', file)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert read('plain', file)['path'] == str(file)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks are of POSIX')
def test_a_forked_process_has_a_child_of_its_own(file):
    mine = read('plain', file)['pid']
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(sink, str(read('plain', file)['pid']).encode())
        finally:
            child._end()
            os._exit(0)
    os.close(sink)
    os.waitpid(pid, 0)
    theirs = int(os.read(source, 100))
    os.close(source)
    assert theirs not in (mine, os.getpid())
    assert read('plain', file)['pid'] == mine


def test_without_a_python_to_start_it_reads_here(file, monkeypatch):
    monkeypatch.setattr(sys, 'executable', '')
    assert read('plain', file)['pid'] == os.getpid()
