"""The restorers train and are tested in several processes, by the scripts of every config."""

import re
from pathlib import Path

import pytest
import torch

from mmclarity.utils.checkpoints import load_checkpoint_file
from tests.running import run, run_workers


@pytest.mark.slow
def test_pix2pix_of_two_processes_equals_one_with_the_doubled_batch(tmp_path):
    found = []
    for processes in (1, 2):
        process = run_workers(
            tmp_path, Path(__file__).with_name('pix2pix_worker.py'), processes, tmp_path / 'out.pth'
        )
        assert process.returncode == 0, process.stderr[-3000:]
        found.append(torch.load(tmp_path / 'out.pth', weights_only=True))
    assert found[1]['apart'] == 0
    torch.testing.assert_close(found[1]['weights'], found[0]['weights'], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ssim_unet_phantom', 'pix2pix_phantom'])
def test_two_processes(tmp_path, name):
    made = run(
        tmp_path,
        'dataset_generators/make_sem_phantom.py',
        'data',
        '--train',
        4,
        '--val',
        3,
        '--size',
        96,
    )
    assert made.returncode == 0, made.stderr
    networks = ['model.generator.base_channels=4']
    if 'pix2pix' in name:
        networks.append('model.discriminator.base_channels=4')
    options = ('--cfg-options', 'data_root=data/', 'train_dataloader.batch_size=1', *networks)
    trained = run(
        tmp_path,
        'dist_train.sh',
        f'{name}.py',
        2,
        '--work-dir',
        'work',
        *options,
        'train_cfg.max_iters=3',
        'train_cfg.val_interval=3',
    )
    assert trained.returncode == 0, trained.stderr
    saved = load_checkpoint_file(tmp_path / 'work' / 'iter_3.pth')
    assert len(saved['random_state']) == 2
    tested = [
        run(tmp_path, *script, *options)
        for script in (
            ('dist_test.sh', f'{name}.py', 'work/iter_3.pth', 2, '--work-dir', 'two'),
            ('test.py', f'{name}.py', 'work/iter_3.pth', '--work-dir', 'one'),
        )
    ]
    found = []
    for process in tested:
        assert process.returncode == 0, process.stderr
        found.append(
            re.findall(r'sem/(ssim|fabricated|blur|frc): (\S+)', process.stdout + process.stderr)
        )
    # Three images on two processes: the one that fills up is not counted twice.
    assert found[0] and found[0] == found[1]
