"""What lies in the hook's folder is of one training."""

import csv
import shutil

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from mmclarity.rsa.report import tables as report
from mmclarity.rsa.report.movie import read_epochs
from mmclarity.rsa.training.hook import RSAHook
from tests.rsa.training.hook_runs import LAYERS, config, hook, train


@MODELS.register_module()
class NetworkWithPositions(BaseModule):
    """Has a parameter that nothing resets."""

    def __init__(self, num_classes, width=None, hidden=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8)
        self.positions = nn.Parameter(torch.randn(1, 8, 8, 8))
        self.mixed = nn.Conv2d(8, 8, 1)
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.classifier(self.mixed((self.conv(images) + self.positions).relu()).mean((2, 3)))


def scores(work_dir):
    with open(work_dir / 'rsa' / 'scores.csv') as file:
        return list(csv.reader(file))


def test_a_resumed_run_writes_what_an_unbroken_one_does(data, tmp_path):
    """The untrained network, too: a copy of the resumed one is another, as it has learned."""

    def run(resume):
        options = hook(data, layers=['network.conv', 'network.mixed'])
        cfg = config(data, tmp_path, [options], epochs=3)
        cfg.model.network.type = 'NetworkWithPositions'
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        # The positions move far within an epoch.
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(positions=dict(lr_mult=5000)))
        train(cfg, resume)
        return scores(tmp_path)

    unbroken = run(False)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    broken = run(True)
    assert broken == unbroken and len(broken) == 1 + 4 * 2
    untrained = {row[4] for row in broken[1:] if row[2] == 'network.mixed'}
    assert len(untrained) == 1


def test_the_last_epoch_is_analysed_whatever_the_interval(data, tmp_path):
    train(config(data, tmp_path, [hook(data, output=dict(interval=2, figures='none'))], epochs=3))
    found = sorted(path.name for path in (tmp_path / 'rsa').glob('*.npz'))
    assert found == ['epoch_0.npz', 'epoch_2.npz', 'epoch_3.npz']


def test_a_new_training_does_not_mix_with_an_earlier_one(data, tmp_path):
    """A shorter one in the same folder: a movie showed the epochs of both."""
    train(config(data, tmp_path, [hook(data)], epochs=2))
    old = report.load_npz(tmp_path / 'rsa' / 'epoch_2.npz').rdms
    train(config(data, tmp_path, [hook(data, layers=LAYERS[:1])], epochs=1))
    assert sorted(read_epochs(tmp_path / 'rsa')) == [0, 1]
    (aside,) = (tmp_path / 'rsa').glob('earlier_*')
    assert sorted(p.name for p in aside.iterdir()) == [f'epoch_{i}.npz' for i in range(3)]
    np.testing.assert_array_equal(report.load_npz(aside / 'epoch_2.npz').rdms, old)


def test_going_back_leaves_nothing_of_what_came_after(data, tmp_path):
    cfg = config(data, tmp_path, [hook(data)], epochs=3)
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    train(cfg)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    train(config(data, tmp_path, [hook(data)], epochs=2), resume=True)
    assert sorted(read_epochs(tmp_path / 'rsa')) == [0, 1, 2]
    assert {row[0] for row in scores(tmp_path)[1:]} == {'0', '1', '2'}
    (aside,) = (tmp_path / 'rsa').glob('earlier_*')
    assert sorted(p.name for p in aside.iterdir()) == ['epoch_2.npz', 'epoch_3.npz']


def test_copies_and_damaged_files_do_not_end_a_resumed_training(data, tmp_path):
    train(config(data, tmp_path, [hook(data)], epochs=2))
    folder = tmp_path / 'rsa'
    shutil.copy(folder / 'epoch_1.npz', folder / 'epoch_1 copy.npz')
    content = (folder / 'epoch_1.npz').read_bytes()
    (folder / 'epoch_1.npz').write_bytes(content[: len(content) // 2])
    train(config(data, tmp_path, [hook(data)], epochs=3), resume=True)
    assert {row[0] for row in scores(tmp_path)[1:]} == {'0', '2', '3'}
    assert (folder / 'epoch_1 copy.npz').read_bytes() == content
    (aside,) = folder.glob('earlier_*')
    assert [path.name for path in aside.iterdir()] == ['epoch_1.npz']


def test_nothing_is_moved_for_a_training_that_cannot_begin(data, tmp_path):
    train(config(data, tmp_path, [hook(data)], epochs=1))
    bad = hook(data, areas=dict(V1=f'{data}/v1.npz:gone'))
    with pytest.raises(ValueError, match='gone'):
        train(config(data, tmp_path, [bad], epochs=1))
    assert sorted(read_epochs(tmp_path / 'rsa')) == [0, 1]


def test_two_hooks_need_a_folder_each(data, tmp_path):
    """What one wrote was replaced by the other, without a word."""
    two = [hook(data), hook(data, areas=dict(simple=f'{data}/v1.npz:simple'))]
    with pytest.raises(ValueError, match='two RSAHooks write to'):
        train(config(data, tmp_path, two, epochs=1))
    two[1]['output'] = dict(figures='none', folder=str(tmp_path / 'simple'))
    runner = Runner.from_cfg(config(data, tmp_path, two, epochs=1))
    runner.train()
    for folder, area in ((tmp_path / 'rsa', 'V1'), (tmp_path / 'simple', 'simple')):
        assert report.load_npz(folder / 'epoch_1.npz').areas == [area]
    assert sum(isinstance(h, RSAHook) for h in runner.hooks) == 2
