"""Training of a part of a model leaves the rest, statistics included, as it was."""

from types import SimpleNamespace

import pytest
import torch

from mmclarity.cli import options as cli_options
from mmclarity.cli import train as cli_train
from mmclarity.engine import TrainOnlyHook
from mmclarity.errors import UsageError
from tests.engine.toy_parts import ToyModel, write_config


def train(tmp_path, monkeypatch, parts, *options):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    start = ToyModel().state_dict()
    start['norm.running_mean'] += 0.5
    torch.save(dict(state_dict=start), 'start.pth')
    config = write_config(
        tmp_path, f"\ncustom_hooks = [dict(type='TrainOnlyHook', parts={parts!r})]\n"
    )
    cli_train.train(
        cli_options.train_parser().parse_args(
            [
                config,
                '--work-dir',
                'work',
                '--cfg-options',
                'load_from=start.pth',
                'train_cfg.max_epochs=2',
                'optim_wrapper.optimizer.weight_decay=0.5',
                *options,
            ]
        )
    )
    end = torch.load('work/epoch_2.pth', weights_only=True)['state_dict']
    return {name for name in start if not torch.equal(start[name], end[name])}


def test_only_the_named_part_changes(tmp_path, monkeypatch):
    changed = train(tmp_path, monkeypatch, ['fc_cls'])
    assert changed == {'fc_cls.weight', 'fc_cls.bias'}


def test_a_batch_norm_that_is_trained_goes_on_counting(tmp_path, monkeypatch):
    changed = train(tmp_path, monkeypatch, ['norm', 'fc_cls.bias'])
    assert changed == {
        'norm.weight',
        'norm.bias',
        'norm.running_mean',
        'norm.running_var',
        'norm.num_batches_tracked',
        'fc_cls.bias',
    }


def test_an_unknown_part_is_named(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"no \['fc'\]; its parts are .*conv, norm, drop, fc_cls"):
        train(tmp_path, monkeypatch, ['fc'])


def test_what_is_frozen_must_come_from_the_checkpoint(tmp_path, monkeypatch):
    whole = ToyModel.state_dict

    def without(self, *args, **kwargs):  # only of the checkpoint, which is written first
        monkeypatch.setattr(ToyModel, 'state_dict', whole)
        state = whole(self, *args, **kwargs)
        del state['conv.weight']
        return state

    monkeypatch.setattr(ToyModel, 'state_dict', without)
    with pytest.raises(UsageError, match=r'start.pth: 1 weights that .* freezes.*conv.weight'):
        train(tmp_path, monkeypatch, ['fc_cls'])
    assert not (tmp_path / 'work/epoch_1.pth').exists()


@pytest.mark.parametrize('parts', ['fc_cls', []])
def test_parts_are_a_list(parts):
    with pytest.raises(ValueError, match='list of names'):
        TrainOnlyHook(parts)


def test_a_compiled_step_of_several_processes_needs_unused_parameters(monkeypatch):
    from mmclarity.engine.hooks import freeze

    monkeypatch.setattr(freeze, 'unwrap', lambda model: model.module)
    wrapped = SimpleNamespace(find_unused_parameters=False, module=ToyModel())
    with pytest.raises(UsageError, match='find_unused_parameters=True'):
        TrainOnlyHook(['fc_cls']).before_train(
            SimpleNamespace(model=wrapped, cfg=dict(compile=True))
        )
