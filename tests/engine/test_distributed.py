"""Several processes: what one of them computes, and how it ends."""

import json
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.running import run_workers, session


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


@pytest.mark.slow
def test_two_runs_at_a_time_do_not_meet(tmp_path):
    """Each would wait for the other's processes, or find its port taken."""
    worker = tmp_path / 'worker.py'
    worker.write_text(
        textwrap.dedent("""
        import sys
        import torch
        import torch.distributed as dist

        dist.init_process_group('gloo')
        total = torch.tensor(int(sys.argv[1]))
        dist.all_reduce(total)
        print(f'{total};', end='', flush=True)
        dist.barrier()
        dist.destroy_process_group()
        """)
    )
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda number: run_workers(tmp_path, worker, 2, number), (1, 10)))
    assert [run.stdout for run in runs] == ['2;2;', '20;20;'], [run.stderr for run in runs]


def test_no_thread_of_gloo_lives_on_into_the_exit():
    """The wrapper holds the group, in a circle; a thread that gives back then aborts Python."""
    found = session(
        """
        import os
        import torch
        import torch.distributed as dist
        from mmclarity.engine.distributed import close_cpu_processes

        class Runner:
            pass

        torch.ones(2).sum()
        before = len(os.listdir('/proc/self/task'))
        dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
        runner = Runner()
        runner.model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
        runner.hook = runner
        runner.model(torch.ones(1, 2)).sum().backward()
        during = len(os.listdir('/proc/self/task'))
        del runner
        close_cpu_processes()
        print(during > before, len(os.listdir('/proc/self/task')) - before)
        """
    )
    assert found.stdout.split() == ['True', '0'], found.stderr
