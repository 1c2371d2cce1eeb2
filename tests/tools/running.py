"""Tools started in processes of their own, as users start them."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def run(folder, script, *args, **environment):
    """Start a tool from ``folder`` with no installed mmclarity in sight; returns the process."""
    env = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='',
               PYTHON=sys.executable, **environment)
    start = ['bash'] if script.endswith('.sh') else [sys.executable]
    return subprocess.run([*start, str(REPO / 'tools' / script), *map(str, args)], cwd=folder,
                          env=env, capture_output=True, text=True, timeout=300)
