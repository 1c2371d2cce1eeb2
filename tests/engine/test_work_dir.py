"""One training a folder, and a killed one is no obstacle."""

import errno
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmclarity.engine import work_dir
from mmclarity.engine.work_dir import LOCK, WorkDirLock
from mmclarity.errors import UsageError
from mmclarity.utils.files import host

REPO = Path(__file__).resolve().parents[2]
HOLDER = """
import os, sys, time
from mmclarity.engine.work_dir import WorkDirLock
lock = WorkDirLock(sys.argv[1])
if len(sys.argv) > 2 and os.fork():  # a loader's worker outlives its parent, and says that it runs
    time.sleep(60)
print('held', flush=True)
time.sleep(60)
"""


def start(folder, *args):
    process = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(folder), *args],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(REPO / 'projects')),
    )
    assert process.stdout.readline() == 'held\n'
    return process


def end(process, how=signal.SIGKILL):
    process.send_signal(how)
    process.wait()


def test_a_second_process_is_told_who_has_it(tmp_path):
    folder = tmp_path / 'new' / 'work'
    process = start(folder)
    try:
        with pytest.raises(UsageError) as caught:
            WorkDirLock(folder)
        text = str(caught.value)
        assert re.search(rf'process {process.pid} on {host()} since 20\d\d-\d\d-\d\d ', text)
        assert str(folder) in text and '--work-dir' in text
        WorkDirLock(tmp_path / 'other').release()
    finally:
        end(process)
    with WorkDirLock(folder):
        assert json.loads((folder / LOCK).read_text())['pid'] == os.getpid()
    assert (folder / LOCK).read_text() == ''


def test_a_killed_training_with_a_living_worker_lets_go(tmp_path):
    process = start(tmp_path, 'with a worker')
    end(process)
    WorkDirLock(tmp_path).release()


def test_one_process_one_after_the_other(tmp_path):
    first = WorkDirLock(tmp_path)
    with pytest.raises(UsageError, match=f'process {os.getpid()}'):
        WorkDirLock(tmp_path)
    first.release()
    first.release()
    WorkDirLock(tmp_path).release()


def _try(folder, answers, over):
    try:
        WorkDirLock(folder)
        answers.put('got')
        over.wait(600)  # held until the last one has tried, however late that is
    except UsageError:
        answers.put('refused')


def test_of_many_at_once_one_gets_it(tmp_path):
    context = multiprocessing.get_context('fork')
    answers, over = context.Queue(), context.Event()
    racers = [context.Process(target=_try, args=(tmp_path, answers, over)) for _ in range(8)]
    for racer in racers:
        racer.start()
    try:
        found = sorted(answers.get(timeout=300) for _ in racers)
    finally:
        over.set()
    for racer in racers:
        racer.join()
    assert found == ['got'] + ['refused'] * 7


@pytest.fixture
def without_locks(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(work_dir.fcntl, 'flock', refuse)


@pytest.mark.parametrize(
    ('holder', 'refused'),
    [
        (dict(host=host(), pid=1, since='then'), True),  # lives
        (dict(host=host(), pid=2**22 + 5, since='then'), False),  # no such process
        (dict(host='elsewhere', pid=3, since='then'), True),
        ({}, False),
    ],
)
def test_file_systems_without_locks(tmp_path, without_locks, holder, refused):
    (tmp_path / LOCK).write_text(json.dumps(holder))
    if refused:
        with pytest.raises(UsageError, match=f'process {holder["pid"]} on {holder["host"]}'):
            WorkDirLock(tmp_path)
    else:
        WorkDirLock(tmp_path).release()


@pytest.mark.parametrize('content', ['', 'nonsense', '[1]', '\0' * 100])
def test_a_damaged_note_is_no_obstacle(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    WorkDirLock(tmp_path).release()


class WindowsLocks:
    """``msvcrt.locking`` as Windows has it: by file and byte, until the descriptor is closed."""

    LK_NBLCK = 2

    def __init__(self):
        self.held = {}

    def locking(self, file, mode, count):
        assert (mode, count) == (self.LK_NBLCK, 1)
        # Whoever reads or writes a locked byte is refused: the note must stay readable.
        assert os.lseek(file, 0, os.SEEK_CUR) > 4096
        status = os.fstat(file)
        holder = self.held.get(status.st_ino)
        if holder is not None and holder != file:
            raise PermissionError(errno.EACCES, 'Permission denied')
        self.held[status.st_ino] = file


def test_windows_has_a_lock_of_its_own(tmp_path, monkeypatch):
    for name in ('pread', 'pwrite', 'O_CLOEXEC', 'register_at_fork'):
        monkeypatch.delattr(os, name)
    locks = WindowsLocks()
    monkeypatch.setattr(work_dir, 'fcntl', None)
    monkeypatch.setattr(work_dir, 'msvcrt', locks)
    # A killed training's number may be another program's by now: the lock decides, not the note.
    (tmp_path / LOCK).write_text(json.dumps(dict(host=host(), pid=1, since='then')))
    first = WorkDirLock(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    with pytest.raises(UsageError, match=f'process {os.getpid()} on'):
        WorkDirLock(tmp_path)
    first.release()
    locks.held.clear()
    WorkDirLock(tmp_path).release()


def test_without_any_locks_the_note_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(work_dir, 'fcntl', None)
    monkeypatch.setattr(work_dir, 'msvcrt', None)
    (tmp_path / LOCK).write_text(json.dumps(dict(host=host(), pid=1, since='then')))
    with pytest.raises(UsageError, match='process 1 on'):
        WorkDirLock(tmp_path)
