import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.engine.hooks.random_state import get_random_state, set_random_state
from tests.engine.toy_parts import write_config

ITER_BASED = """
train_cfg = dict(by_epoch=False, max_iters=11, val_interval=4)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=11, by_epoch=False)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='{sampler}', shuffle=True),
    dataset=dict(type='ToyImages', data_root=data_root))
"""


class Broken(Exception):
    """Stands for the moment a training is interrupted."""


def draw():
    # An odd number of normal draws leaves a cached value in python's and numpy's generators.
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        torch.rand(2).tolist(),
    ]


def test_state_travels_through_a_safe_checkpoint(tmp_path):
    draw()
    torch.save(get_random_state(), tmp_path / 'state.pth')
    expected = [draw() for _ in range(3)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    set_random_state(torch.load(tmp_path / 'state.pth', weights_only=True))
    assert [draw() for _ in range(3)] == expected


def run(config, work_dir, resume=False, break_at=None, hook=True, **options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    cfg.work_dir, cfg.resume = str(work_dir), resume
    cfg.experiment_name = f'{work_dir}-{resume}-{break_at}'.replace('/', '-')
    cfg.custom_hooks = [dict(type='RandomStateHook')] if hook else []
    runner = Runner.from_cfg(cfg)
    if break_at is not None:
        step = runner.model.train_step

        def train_step(*args, **kwargs):
            if runner.iter == break_at:
                raise Broken
            return step(*args, **kwargs)

        runner.model.train_step = train_step
        with pytest.raises(Broken):
            runner.train()
    else:
        runner.train()
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(autouse=True)
def keep_generators():
    state = get_random_state()
    yield
    set_random_state(state)


@pytest.mark.parametrize('kind', ['epochs', 'InfiniteSampler', 'DefaultSampler'])
def test_resumed_run_ends_with_the_same_weights(tmp_path, kind):
    extra = '' if kind == 'epochs' else ITER_BASED.format(sampler=kind)
    config = write_config(tmp_path, extra)
    whole = run(config, tmp_path / 'whole')
    assert not same(whole, run(config, tmp_path / 'broken', break_at=7))
    assert same(whole, run(config, tmp_path / 'broken', resume=True))


def test_without_the_hook_the_resumed_run_differs(tmp_path):
    # Guards the test above: if the toy drew no random numbers, it would prove nothing.
    config = write_config(tmp_path)
    whole = run(config, tmp_path / 'whole', hook=False)
    run(config, tmp_path / 'broken', break_at=7, hook=False)
    assert not same(whole, run(config, tmp_path / 'broken', resume=True, hook=False))


def test_saving_the_best_epoch_keeps_resume_exact(tmp_path):
    # The best checkpoint makes mmengine write the epoch's checkpoint again, after validation.
    config = write_config(tmp_path)
    best = {
        'default_hooks.checkpoint.save_best': 'toy/mean',
        'default_hooks.checkpoint.rule': 'greater',
    }
    whole = run(config, tmp_path / 'whole', **best)
    run(config, tmp_path / 'broken', break_at=7, **best)
    assert same(whole, run(config, tmp_path / 'broken', resume=True, **best))


def test_validation_does_not_change_training(tmp_path):
    config = write_config(tmp_path)
    often = run(config, tmp_path / 'often')
    assert same(often, run(config, tmp_path / 'seldom', **{'train_cfg.val_interval': 4}))


def test_states_are_not_restored_for_fine_tuning(tmp_path):
    config = write_config(tmp_path)
    run(config, tmp_path / 'first')
    path = str(tmp_path / 'first' / 'epoch_4.pth')
    hook = HOOKS.build(dict(type='RandomStateHook'))
    runner = type('Fresh', (), dict(_resume=False))()
    hook.after_load_checkpoint(runner, torch.load(path, weights_only=True))
    before = get_random_state()
    hook.before_train_epoch(runner)
    assert torch.equal(get_random_state()['torch'], before['torch'])
