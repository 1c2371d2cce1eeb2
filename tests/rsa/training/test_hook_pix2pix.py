"""The hook in networks of one channel, and in Pix2Pix of several processes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmclarity.rsa.models.networks import fitting_forward, shown_part
from mmclarity.rsa.report import tables
from tests.running import REPO, run

CONFIG = """
_base_ = '{base}'
model = dict(generator=dict(base_channels=4, num_down=5), discriminator=dict(base_channels=4))
train_dataloader = dict(batch_size=1)
train_cfg = dict(max_iters=4, val_interval=4)
custom_imports = dict(
    imports=['mmclarity.restoration', 'mmclarity.engine', 'mmclarity.rsa.training'],
    allow_failed_imports=False)
custom_hooks = [
    dict(type='RandomStateHook'),
    dict(type='MixedPrecisionHook', float32=[]),
    dict(
        type='RSAHook',
        stimuli=dict(folder='{stimuli}'),
        areas=dict(V1=dict(file='{area}', assume_order=True)),
        layers=dict(names=['generators.high.model.model.0'], untrained=False),
        output=dict(by_epoch=False, interval=2, figures='none')),
]
"""


def test_one_channel_gets_the_mean_of_the_three():
    part = nn.Sequential(nn.Conv2d(1, 2, 3))
    images = torch.rand(2, 3, 8, 8)
    expected = part((images[:, :1] + images[:, 1:2] + images[:, 2:]) / 3)
    torch.testing.assert_close(fitting_forward(part, bgr=True)(images), expected)


def test_three_channels_keep_their_order():
    part, images = nn.Sequential(nn.Conv2d(3, 2, 3)), torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(fitting_forward(part)(images), part(images))
    torch.testing.assert_close(fitting_forward(part, bgr=True)(images), part(images[:, [2, 1, 0]]))


@pytest.mark.parametrize(
    ('names', 'expected'), [(['high'], 'generators.high'), (['high', 'low'], ''), ([], '')]
)
def test_generators_by_domain(names, expected):
    model = nn.Module()
    model.generators = nn.ModuleDict({name: nn.Conv2d(1, 1, 1) for name in names})
    assert shown_part(model) == expected


def write_data(folder):
    rng = np.random.default_rng(0)
    (folder / 'stimuli').mkdir()
    for number in range(8):
        picture = Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8))
        picture.save(folder / 'stimuli' / f'{number}.png')
    np.savez(folder / 'area.npz', V1=rng.random((8, 5)))


@pytest.mark.slow
def test_pix2pix_of_two_processes(tmp_path):
    made = run(
        tmp_path, 'dataset_generators/make_sem_phantom.py', 'data', '--train', 4, '--val', 2,
        '--size', 96,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    write_data(tmp_path)
    text = CONFIG.format(
        base=REPO / 'configs' / 'pix2pix_phantom.py',
        stimuli=tmp_path / 'stimuli',
        area=f'{tmp_path}/area.npz:V1',
    )
    (tmp_path / 'grey.py').write_text(text)
    options = ('--work-dir', 'work', '--cfg-options', 'data_root=data/')
    trained = run(tmp_path, 'dist_train.sh', 'grey.py', 2, *options)
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert (tmp_path / 'work' / 'iter_4.pth').is_file()
    rdms = [
        tables.load_npz(tmp_path / 'work' / 'rsa' / f'iter_{step}.npz').rdms for step in (0, 2, 4)
    ]
    assert all(rdm.shape == (1, 28) and np.isfinite(rdm).all() for rdm in rdms)
    assert not np.allclose(rdms[0], rdms[2])  # the network of the training, not a copy of its start
    assert 'left out' not in trained.stdout + trained.stderr
