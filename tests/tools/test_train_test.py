"""tools/train.py and tools/test.py as they are called: in processes of their own."""

import contextlib
import os
import pickle
import random
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmclarity.cli.train import main
from mmclarity.engine.work_dir import WorkDirLock
from tests.engine.toy_parts import write_config
from tests.running import REPO, run, session


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_weights(tmp_path):
    config = write_config(tmp_path)
    whole = run(tmp_path, 'train.py', config, '--work-dir', 'whole', '--amp', '--seed', 5)
    assert whole.returncode == 0, whole.stderr
    killed = run(
        tmp_path, 'train.py', config, '--work-dir', 'killed', '--amp', '--seed', 5, TOY_KILL_AT='8'
    )
    assert killed.returncode == -signal.SIGKILL
    assert sorted(file.name for file in (tmp_path / 'killed').glob('*.pth')) == [
        'epoch_1.pth',
        'epoch_2.pth',
    ]
    # The seed comes from the checkpoint: the config has another.
    resumed = run(tmp_path, 'train.py', config, '--work-dir', 'killed', '--amp', '--resume')
    assert resumed.returncode == 0, resumed.stderr
    expected = torch.load(tmp_path / 'whole' / 'epoch_4.pth', weights_only=True)
    got = torch.load(tmp_path / 'killed' / 'epoch_4.pth', weights_only=True)
    assert same(expected['state_dict'], got['state_dict'])
    assert expected['meta']['seed'] == got['meta']['seed'] == 5
    other = run(tmp_path, 'train.py', config, '--work-dir', 'killed', '--resume', '--seed', 6)
    assert other.returncode == 2 and 'trained with seed 5' in other.stderr


@pytest.mark.slow
def test_trained_model_is_tested_from_another_directory(tmp_path):
    config = write_config(
        tmp_path,
        """
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
""",
    )
    trained = run(
        tmp_path,
        'train.py',
        config,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=9',
        'vis_backends=TensorboardVisBackend',
    )
    assert trained.returncode == 0, trained.stderr
    assert list((tmp_path / 'work_dirs').rglob('events.out.tfevents.*'))
    checkpoint = tmp_path / 'work_dirs' / 'toy' / 'epoch_1.pth'
    assert 'random_state' in torch.load(checkpoint, weights_only=True)
    (tmp_path / 'elsewhere').mkdir()
    tested = run(tmp_path / 'elsewhere', 'test.py', config, checkpoint, '--out', 'out.pkl')
    assert tested.returncode == 0, tested.stderr
    with open(tmp_path / 'elsewhere' / 'out.pkl', 'rb') as file:
        assert len(pickle.load(file)) == 12
    other = run(tmp_path, 'test.py', config, checkpoint, '--cfg-options', 'model.noise=False')
    assert other.returncode == 2
    assert 'of another model' in other.stderr and 'norm.weight' in other.stderr
    assert 'Traceback' not in other.stderr


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one_with_the_doubled_batch(tmp_path):
    # One step of plain SGD: equal weights afterwards mean equal gradients.
    config = write_config(
        tmp_path,
        """
model = dict(type='ToyModel', noise=False)
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyImages', length=8, augment=False, data_root=data_root))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyImages', length=9, augment=False, data_root=data_root))
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0))
param_scheduler = []
log_level = 'INFO'
""",
    )
    one = run(
        tmp_path,
        'train.py',
        config,
        '--work-dir',
        'one',
        '--cfg-options',
        'train_dataloader.batch_size=8',
    )
    assert one.returncode == 0, one.stderr
    two = run(tmp_path, 'dist_train.sh', config, 2, '--work-dir', 'two')
    assert two.returncode == 0, two.stderr
    expected = weights(tmp_path / 'one' / 'epoch_1.pth')
    got = weights(tmp_path / 'two' / 'epoch_1.pth')
    assert list(got) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-6)
    assert 'toy/count: 9 ' in two.stdout + two.stderr
    states = torch.load(tmp_path / 'two' / 'epoch_1.pth', weights_only=True)['random_state']
    assert len(states) == 2
    tested = run(tmp_path, 'dist_test.sh', config, 'two/epoch_1.pth', 2)
    assert tested.returncode == 0, tested.stderr
    assert 'toy/count: 12 ' in tested.stdout + tested.stderr


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_resumed_detector_ends_with_the_same_weights(tmp_path, processes):
    made = run(tmp_path, 'dataset_generators/make_murky.py', 'scenes', '--train', 6, '--val', 2)
    assert made.returncode == 0, made.stderr
    tool = ('train.py',) if processes == 1 else ('dist_train.sh',)
    several = () if processes == 1 else (processes,)
    train = (*tool, 'lambda_frcnn_murky.py', *several, '--seed', 1)
    options = (
        '--cfg-options',
        'data_root=scenes/',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=2',
    )
    whole = run(tmp_path, *train, '--work-dir', 'whole', *options)
    assert whole.returncode == 0, whole.stderr
    assert 'Grad strides do not match' not in whole.stderr
    (tmp_path / 'part').mkdir()
    os.rename(tmp_path / 'whole' / 'epoch_1.pth', tmp_path / 'part' / 'epoch_1.pth')
    resumed = run(tmp_path, *train, '--work-dir', 'part', '--resume', *options)
    assert resumed.returncode == 0, resumed.stderr
    assert same(
        weights(tmp_path / 'whole' / 'epoch_2.pth'), weights(tmp_path / 'part' / 'epoch_2.pth')
    )
    assert not same(
        weights(tmp_path / 'whole' / 'epoch_2.pth'), weights(tmp_path / 'part' / 'epoch_1.pth')
    )


def test_an_epoch_without_a_batch_is_refused(tmp_path, capsys):
    """Twelve images, and only batches of sixteen count: training would end as it begins."""
    config, work = write_config(tmp_path), str(tmp_path / 'work')
    options = ['train_dataloader.batch_size=16', 'train_dataloader.drop_last=True']
    assert main([config, '--work-dir', work, '--cfg-options', *options]) == 2
    said = capsys.readouterr().err
    assert '12 images a process' in said and 'fewer than 16; lower train_dataloader' in said


@pytest.mark.parametrize(
    ('average', 'told'),
    [
        ("ema_type='ExponentialMovingAverage', momentum=0.001", 'wants momentum=0.3 (now 0.001)'),
        ("ema_type='ExponentialMovingAverage', momentum=0.2", None),  # 7 % are left
        ("ema_type='MomentumAnnealingEMA'", None),
    ],
)
def test_averages_too_slow_for_the_training_are_told(tmp_path, average, told):
    # by a name of its own: mmengine keeps the log of a run of the same second
    name = f'experiment_name = {tmp_path.name!r}\n'
    hooks = f"custom_hooks = [dict(type='EMAHook', {average})]\n"
    config = write_config(tmp_path, name + hooks)
    assert main([config, '--work-dir', str(tmp_path / 'run')]) == 0
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert ('after 12 steps' in log and 'still are 99 %' in log) is (told is not None)
    assert told is None or told in log


@pytest.mark.slow
@pytest.mark.parametrize('tool', ['dist_train.sh', 'dist_test.sh'])
def test_two_at_a_time_on_one_machine(tmp_path, tool):
    """torchrun's usual port is taken by the first."""
    more = () if 'train' in tool else ('a.pth',)
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # somebody else has it already
            other.bind(('', 29500))
            other.listen()
        started = run(tmp_path, tool, 'nowhere.py', *more, 1)
    assert 'config not found: nowhere.py' in started.stderr, started.stderr


def _free_jobs():
    """Numbers of two jobs of Slurm whose ports, as the tool derives them, nobody listens at."""
    by_port = {}
    while len(by_port) < 2:
        number = random.Random().randrange(1, 10**6)  # not of a seed: another run has other ones
        port = 20000 + 101 * number % 12000
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(('', port))
            by_port[port] = number
    return list(by_port.values())


@pytest.mark.slow
def test_two_tasks_of_slurm_are_one_training(tmp_path):
    """Two jobs on one node do not meet: each has a port of its own."""
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\necho 127.0.0.1\n')
    scontrol.chmod(0o755)
    config = write_config(tmp_path, "log_level = 'INFO'")
    job = dict(SLURM_NTASKS='2', SLURM_NODELIST='here', SLURM_STEP_ID='0')
    jobs = _free_jobs()
    job['PATH'] = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'

    def task(place):
        number, rank = divmod(place, 2)
        return run(
            *(tmp_path, 'train.py', config, '--launcher', 'slurm', '--work-dir', f'job{number}'),
            *('--cfg-options', 'train_cfg.max_epochs=1'),
            **dict(job, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)),
            SLURM_JOB_ID=str(jobs[number]),
        )

    with ThreadPoolExecutor(4) as pool:
        for process in pool.map(task, range(4)):
            assert process.returncode == 0, process.stderr
    for number in range(2):
        saved = torch.load(tmp_path / f'job{number}/epoch_1.pth', weights_only=True)
        assert len(saved['random_state']) == 2
        assert len(list((tmp_path / f'job{number}').glob('*/*.log'))) == 1


def test_missing_things_are_named_without_a_traceback(tmp_path):
    config = write_config(tmp_path)
    no_config = run(tmp_path, 'train.py', 'nowhere.py')
    assert no_config.returncode == 2 and 'config not found: nowhere.py' in no_config.stderr
    no_data = run(tmp_path, 'train.py', config, '--cfg-options', 'data_root=/no/such/place')
    assert no_data.returncode == 2
    assert '/no/such/place' in no_data.stderr and '--cfg-options data_root=' in no_data.stderr
    no_weights = run(tmp_path, 'test.py', config, 'nothing.pth')
    assert no_weights.returncode == 2 and 'nothing.pth' in no_weights.stderr
    for process in (no_config, no_data, no_weights):
        assert 'Traceback' not in process.stderr


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_several_processes_that_do_not_know_of_each_other(tmp_path, tool):
    """Started by torchrun without --launcher, each would do all of the work, in one folder."""
    config = write_config(tmp_path)
    more = ('a.pth',) if tool == 'test.py' else ()
    for rank in '01':
        found = run(tmp_path, tool, config, *more, RANK=rank, WORLD_SIZE='2')
        assert found.returncode == 2 and '--launcher pytorch' in found.stderr


def test_tasks_of_slurm_that_do_not_know_of_each_other(tmp_path):
    """srun without --launcher slurm: the second would write into the folder of the first."""
    config = write_config(tmp_path)
    with WorkDirLock(tmp_path / 'work'):
        found = run(tmp_path, 'train.py', config, '--work-dir', 'work', SLURM_PROCID='1')
    assert found.returncode == 2 and 'another training writes there' in found.stderr


@pytest.mark.parametrize(
    'script, fourth, tail',
    [
        ('slurm_train.sh', 'work', ['--work-dir', 'work', '--launcher', 'slurm', '--amp']),
        ('slurm_test.sh', 'a.pth', ['a.pth', '--launcher', 'slurm', '--amp']),
    ],
)
def test_slurm_scripts_pass_everything_on(tmp_path, script, fourth, tail):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    started = run(
        tmp_path,
        script,
        'gpu',
        'a name',
        'c.py',
        fourth,
        '--amp',
        PATH=path,
        GPUS='4',
        SRUN_ARGS='--time 10',
    )
    words = started.stdout.splitlines()
    tool = str(REPO / 'tools' / script.replace('slurm_', '').replace('.sh', '.py'))
    assert words[words.index(tool) :][1:] == ['c.py', *tail]
    assert {
        '--job-name=a name',
        '--gres=gpu:4',
        '--ntasks-per-node=4',
        '--ntasks=4',
        '--time',
        '10',
    } <= set(words)
    on_cpu = run(
        tmp_path, script, 'cpu', 'n', 'c.py', fourth, PATH=path, GPUS='2', GPUS_PER_NODE='0'
    ).stdout
    assert '--gres' not in on_cpu and '--ntasks=2' in on_cpu
    assert run(tmp_path, script, 'gpu').returncode == 2


def test_the_tools_import_neither_mmdet_nor_mmagic():
    code = (
        'import sys, mmclarity.cli.train, mmclarity.cli.test; '
        'print([name for name in ("mmdet", "mmagic") if name in sys.modules])'
    )
    found = session(code)
    assert found.stdout.strip() == '[]', found.stderr
