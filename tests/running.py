"""Programs and lines of Python started in processes of their own, as users start them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
OURS = f'{REPO / "projects"}{os.pathsep}{REPO}'


def start(folder, command, timeout=900, **environment):
    """Run a command in ``folder``, on the CPU with one thread; returns the finished process."""
    env = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', **environment)
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def script(folder, path, *args, **environment):
    """Start a script of this repository from ``folder``, with the mmclarity beside it."""
    program = 'bash' if path.endswith('.sh') else sys.executable
    command = [program, REPO / path, *args]
    return start(folder, command, PYTHONPATH=OURS, PYTHON=sys.executable, **environment)


def run(folder, tool, *args, **environment):
    """Start a tool from ``folder``; see :func:`script`."""
    return script(folder, f'tools/{tool}', *args, **environment)


def session(code, *options, folder='/', **environment):
    """Run lines of Python in a fresh process with the mmclarity of this repository."""
    lines = textwrap.dedent(code)
    return start(folder, [sys.executable, *options, '-c', lines], PYTHONPATH=OURS, **environment)


def run_workers(folder, worker, processes, *args):
    """Start a test's own worker in several processes that find each other, by torchrun.

    It listens at a port that the system gives it: another run of the tests has another one.
    """
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--local-addr=127.0.0.1']
    command = [sys.executable, *torchrun, f'--nproc_per_node={processes}', worker, *args]
    return start(folder, command, PYTHONPATH=OURS)
