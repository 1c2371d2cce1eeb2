import json
from pathlib import Path

import pytest

from tests.running import run_workers


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one_detector_with_the_doubled_batch(tmp_path):
    process = run_workers(
        tmp_path, Path(__file__).with_name('gradients_worker.py'), 2, tmp_path / 'out.json'
    )
    assert process.returncode == 0, process.stderr[-3000:]
    results = json.loads((tmp_path / 'out.json').read_text())
    assert len(results) == 4
    for name, result in results.items():
        # Computed in float64; only mmdet's box targets and weights are float32.
        assert result['worst'] < 1e-5, (name, result)
        assert (result['attention'] > 0) == (name != 'frcnn_murky.py')
