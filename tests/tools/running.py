"""Tools started in processes of their own, as users start them."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def start(folder, command, **environment):
    """Run a command in ``folder``, on the CPU with one thread; returns the finished process."""
    env = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', **environment)
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def run(folder, script, *args, **environment):
    """Start a tool from ``folder``, with the mmclarity of this repository."""
    program = 'bash' if script.endswith('.sh') else sys.executable
    return start(
        folder,
        [program, REPO / 'tools' / script, *args],
        PYTHONPATH=f'{REPO / "projects"}{os.pathsep}{REPO}',
        PYTHON=sys.executable,
        **environment,
    )


def run_workers(folder, worker, processes, *args):
    """Start a test's own worker in several processes that find each other, by torchrun."""
    port = 29000 + (os.getpid() + processes) % 500
    return start(
        folder,
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            f'--master_port={port}',
            f'--nproc_per_node={processes}',
            worker,
            *args,
        ],
        PYTHONPATH=f'{REPO / "projects"}{os.pathsep}{REPO}',
    )
