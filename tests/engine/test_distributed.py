import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one_detector_with_the_doubled_batch(tmp_path):
    env = dict(os.environ, PYTHONPATH=f'{REPO / "projects"}{os.pathsep}{REPO}',
               OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    port = 29000 + os.getpid() % 500
    process = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', f'--master_port={port}',
         '--nproc_per_node=2', str(Path(__file__).with_name('gradients_worker.py')),
         str(tmp_path / 'out.json')],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    results = json.loads((tmp_path / 'out.json').read_text())
    assert len(results) == 4
    for name, result in results.items():
        # Computed in float64; only mmdet's box targets and weights are float32.
        assert result['worst'] < 1e-5, (name, result)
        assert (result['attention'] > 0) == (name != 'frcnn_murky.py')
