"""One convention for all tools: exit statuses and messages."""

import argparse
import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from mmclarity.cli.main import check_folder, mistakes, run
from mmclarity.errors import DataError, LayerError, OutputError, UsageError

REPO = Path(__file__).resolve().parents[2]


def end(error, argv=()):
    def command(args):
        if error is not None:
            raise error

    return run(command, argparse.ArgumentParser(prog='tool'), argv)


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (UsageError('a: b'), 'a: b'),
        (DataError('x.json: bad'), 'x.json: bad'),
        (LayerError('no layer'), 'no layer'),
        (OutputError('y: full'), 'y: full'),
        (FileNotFoundError(errno.ENOENT, 'No such file', 'z.txt'), 'z.txt: No such file'),
        (FileNotFoundError('z.txt: no such file'), 'z.txt: no such file'),
        (ModuleNotFoundError('install it with `pip install x`'), 'install it with `pip install x`'),
        (MemoryError(), 'not enough memory'),
        (
            ModuleNotFoundError("No module named 'mmdet.apis'", name='mmdet.apis'),
            'mmdet is not installed: pip install "mmclarity[detection]"',
        ),
    ],
)
def test_mistakes_are_one_line_and_2(capsys, error, text):
    assert end(error) == 2
    assert capsys.readouterr().err == f'tool: error: {text}\n'


@pytest.mark.parametrize(
    'error', [ValueError('x'), RuntimeError('x'), ModuleNotFoundError("No module named 'x'")]
)
def test_faults_keep_their_traceback(error):
    with pytest.raises(type(error)):
        end(error)


def test_success_and_interruption(capsys):
    assert end(None) == 0
    assert end(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == '\ntool: interrupted\n'


def test_a_wrong_command_line_is_2():
    with pytest.raises(SystemExit) as caught:
        end(None, ['--nonsense'])
    assert caught.value.code == 2


def test_a_status_of_the_command_is_kept():
    assert run(lambda args: 2, argparse.ArgumentParser(), []) == 2


def test_the_traceback_can_be_asked_for(monkeypatch, capsys):
    monkeypatch.setenv('MMCLARITY_TRACEBACK', '1')
    assert end(UsageError('a')) == 2
    assert 'Traceback' in capsys.readouterr().err


def test_errors_of_checks_become_mistakes():
    with (
        pytest.raises(UsageError, match=r'^--level: no layer x$'),
        mistakes(KeyError, of='--level'),
    ):
        raise KeyError('no layer x')
    with pytest.raises(TypeError), mistakes(KeyError, ValueError):
        raise TypeError


def test_errors_of_the_system_are_told_without_their_number():
    """It was '[Errno 30] Read-only file system: 'out''."""
    with pytest.raises(UsageError, match='^out: Read-only file system$'), mistakes(OSError):
        raise OSError(errno.EROFS, 'Read-only file system', 'out')


SPEAKS = (
    'import argparse, os, sys; from mmclarity.cli.main import run\n'
    'def speak(args):\n'
    '    print("a"); print("b", file=sys.stderr); sys.stderr.flush(); sys.stdin.read()\n'
    '    with open(os.environ["OUT"], "w") as file: file.write("done")\n'
    'sys.exit(run(speak, argparse.ArgumentParser(), []))'
)


@pytest.mark.skipif(os.name != 'posix', reason='a shell that closes streams')
@pytest.mark.parametrize('closed', ['<&-', '>&-', '2>&-', '<&- >&- 2>&-'])
def test_streams_that_are_closed_end_no_work(tmp_path, closed):
    """As a daemon has them: with the standard error stream closed, nothing was written."""
    out = tmp_path / 'out.txt'
    done = subprocess.run(
        f'{sys.executable} -c "$CODE" {closed}',
        shell=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=dict(os.environ, CODE=SPEAKS, OUT=str(out), PYTHONPATH=str(REPO / 'projects')),
    )
    assert done.returncode == 0 and out.read_text() == 'done'


@pytest.mark.skipif(os.name != 'posix', reason='elsewhere the folder one is in cannot be deleted')
@pytest.mark.parametrize('tool', ['adapt', 'check', 'detect', 'restore', 'rsa'])
def test_a_folder_that_is_gone_is_told(tmp_path, tool):
    """It was 'Intel oneMKL FATAL ERROR: Cannot load libtorch_cpu.so'."""
    (tmp_path / 'gone').mkdir()
    code = f'import os; os.rmdir(os.getcwd()); from mmclarity.cli.{tool} import main; main()'
    done = subprocess.run(
        [sys.executable, '-c', code, '--help'],
        cwd=tmp_path / 'gone',
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(REPO / 'projects')),
    )
    assert done.returncode == 2
    assert done.stderr == 'mmclarity: error: the folder that you are in is gone; choose another\n'


def test_a_closed_pipe_is_no_error():
    code = (
        'import argparse, sys; from mmclarity.cli.main import run\n'
        'def many(args):\n    for i in range(100000): print(i)\n'
        'sys.exit(run(many, argparse.ArgumentParser(), []))'
    )
    done = subprocess.run(
        f'{sys.executable} -c "$CODE" | head -1',
        shell=True,
        capture_output=True,
        text=True,
        env=dict(os.environ, CODE=code, PYTHONPATH=str(REPO / 'projects')),
    )
    assert done.stdout == '0\n' and done.stderr == ''


def test_a_folder_that_cannot_take_results_is_told_before_the_work(tmp_path, monkeypatch):
    check_folder(tmp_path / 'new' / 'below')
    assert not list(tmp_path.iterdir())  # looked at, not made
    (tmp_path / 'file').write_text('x')
    with pytest.raises(OutputError, match='below: .*file is a file'):
        check_folder(tmp_path / 'file' / 'below')
    with pytest.raises(OutputError, match=r'file: is a file; give a folder$'):
        check_folder(tmp_path / 'file')
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(OutputError, match=f'new: {tmp_path} may not be written to'):
        check_folder(tmp_path / 'new')
    with pytest.raises(OutputError, match=f'^{tmp_path}: may not be written to'):
        check_folder(tmp_path)


def test_warnings_are_one_plain_line(capsys):
    """Those of mmclarity; others, and warnings afterwards, as Python has them."""
    from mmclarity.rsa import load_neural

    def command(args):
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            warnings.showwarning = _show
            load_neural('IT', np.ones((4, 4)) * 0.5 + np.eye(4) * 0.5)  # similarities
            warnings.warn('of another', stacklevel=1)

    def _show(message, category, filename, lineno, file=None, line=None):
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr)

    usual = warnings.formatwarning
    assert run(command, argparse.ArgumentParser(prog='mmclarity-x'), []) == 0
    said = capsys.readouterr().err
    assert said.startswith('mmclarity-x: warning: the array has ones on its diagonal')
    assert 'UserWarning: of another' in said and said.count('UserWarning') == 1
    assert warnings.formatwarning is usual
