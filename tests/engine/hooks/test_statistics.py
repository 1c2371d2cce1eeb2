"""Batch norms of several processes: one set of statistics, in checkpoints and validations alike."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmclarity.engine.hooks import statistics
from mmclarity.engine.hooks.statistics import average_statistics
from tests.engine.toy_parts import write_config
from tests.running import run


@pytest.fixture
def other_process(monkeypatch):
    """One more process, whose statistics are those of this one plus two."""
    sent = []

    def all_reduce(values, op):
        assert op == 'mean'
        sent.append(values.clone())
        values += 1

    monkeypatch.setattr(statistics, 'get_world_size', lambda: 2)
    monkeypatch.setattr(statistics, 'all_reduce', all_reduce)
    return sent


def test_means_over_processes(other_process):
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.BatchNorm1d(2).eval(),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(3),
        nn.BatchNorm1d(2),
    )
    average_statistics(model)
    assert [value.numel() for value in other_process] == [3 + 3 + 2 + 2]  # at once
    assert torch.equal(model[0].running_mean, torch.full((3,), 1.0))
    assert torch.equal(model[0].running_var, torch.full((3,), 2.0))
    assert torch.equal(model[1].running_mean, torch.zeros(2))  # frozen
    assert torch.equal(model[4].running_var, torch.full((2,), 2.0))
    average_statistics(nn.Linear(2, 2))
    assert len(other_process) == 1


class Steps(Hook):
    priority = 'VERY_LOW'

    def __init__(self, sent):
        self.sent, self.found = sent, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if len(self.sent) > len(self.found):
            self.found.append(runner.iter + 1)


@pytest.mark.parametrize(
    ('loop', 'checkpoint', 'expected'),
    [
        (dict(by_epoch=True, max_epochs=2, val_interval=2), dict(interval=9), [3, 6]),
        (
            dict(by_epoch=True, max_epochs=1, val_interval=1),
            dict(interval=2, by_epoch=False),
            [2, 3],
        ),
        (
            dict(type='IterBasedTrainLoop', max_iters=7, val_interval=5),
            dict(interval=3, by_epoch=False),
            [3, 5, 6, 7],
        ),
    ],
)
def test_before_every_checkpoint_and_validation(
    tmp_path, other_process, loop, checkpoint, expected
):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.train_cfg = loop
    cfg.default_hooks = dict(checkpoint=dict(type='CheckpointHook', **checkpoint))
    cfg.custom_hooks = [dict(type='SyncStatisticsHook')]
    cfg.param_scheduler = None
    if 'type' in loop:
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), str(tmp_path).replace('/', '-')
    runner = Runner.from_cfg(cfg)
    steps = Steps(other_process)
    runner.register_hook(steps)
    runner.train()
    assert steps.found == expected


@pytest.mark.slow
def test_a_validation_of_two_processes_is_that_of_the_checkpoint(tmp_path):
    """Each process judged its images by its own statistics; the checkpoint has one set."""
    config = write_config(tmp_path, "log_level = 'INFO'\nmodel = dict(type='ToyModel')\n")
    options = ('--cfg-options', 'train_cfg.max_epochs=2', 'optim_wrapper.optimizer.lr=0.1')
    trained = run(tmp_path, 'dist_train.sh', config, 2, '--work-dir', 'w', *options)
    assert trained.returncode == 0, trained.stderr
    tested = run(tmp_path, 'test.py', config, 'w/epoch_2.pth', '--work-dir', 't')
    assert tested.returncode == 0, tested.stderr
    scores = [
        re.findall(r'toy/mean: (\S+)', process.stdout + process.stderr)[-1]
        for process in (trained, tested)
    ]
    assert scores[0] == scores[1]
