"""tools/analysis_tools/repeat.py: reading results and tabulating them."""

import json
import os
import statistics
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tools.analysis_tools import repeat


def write_scalars(folder, *lines, stamp='20260101_000000'):
    target = folder / stamp / 'vis_data'
    target.mkdir(parents=True)
    (target / 'scalars.json').write_text('\n'.join(json.dumps(line) for line in lines))


def test_last_validation_counts_over_resumed_runs(tmp_path):
    write_scalars(tmp_path, {'loss': 1.0}, {'bdd/mAP': 0.1, 'step': 1}, stamp='20260101_000000')
    write_scalars(
        tmp_path, {'bdd/mAP': 0.2, 'bdd/mAP_50': 0.4}, {'loss': 0.5}, stamp='20260102_000000'
    )
    assert repeat.last_metrics(tmp_path, 'bdd/') == {'mAP': 0.2, 'mAP_50': 0.4}


def test_cocos_metric_counts_too(tmp_path):
    """A training of hours was said to have ended without a result, and to be begun anew."""
    write_scalars(tmp_path, {'loss': 1.0}, {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.3})
    assert repeat.last_metrics(tmp_path) == {'mAP': 0.1, 'mAP_50': 0.3}
    write_scalars(tmp_path, {'bdd/mAP': 0.2}, stamp='2')
    assert repeat.last_metrics(tmp_path) == {'mAP': 0.2}
    assert repeat.last_metrics(tmp_path, 'coco/bbox_') == {'mAP': 0.1, 'mAP_50': 0.3}


def test_what_has_no_ap_is_tabulated_too(tmp_path, trainings, capsys):
    """A series of restorers had trained for nothing: each was said to have no result."""
    ran, ends = trainings
    folder = tmp_path / 'w/sem/seed_0'
    write_scalars(
        folder,
        {'lr': 0.1, 'loss': 1.0, 'time': 0.5, 'step': 1},
        {'sem/psnr': 20.0, 'sem/ssim': 0.5, 'time': 0.5, 'step': 1},
        {'sem/psnr': 25.5, 'sem/ssim': 0.75, 'time': 0.5, 'data_time': 0.1, 'step': 2},
        {'rsa/conv1': 0.125, 'step': 2},
    )
    found = {'sem/psnr': 25.5, 'sem/ssim': 0.75, 'rsa/conv1': 0.125}
    assert repeat.last_metrics(folder) == found
    assert repeat.last_metrics(folder, 'sem/') == {'psnr': 25.5, 'ssim': 0.75}
    write_scalars(tmp_path / 'hook', {'rsa/conv1': 0.125, 'step': 2})
    assert repeat.last_metrics(tmp_path / 'hook') is None, 'it was killed before its validation'
    write_scalars(tmp_path / 'w/sem/seed_1', {'sem/psnr': 26.5, 'sem/ssim': 0.25, 'time': 1})
    (tmp_path / 'sem.py').touch()
    arguments = [f'{tmp_path}/sem.py', '--seeds', '2', '--work-dir', f'{tmp_path}/w', '--report']
    repeat.main(arguments)
    told = capsys.readouterr().out
    assert '| model | seeds | sem/psnr | sem/ssim | rsa/conv1 |' in told
    assert '| sem | 2 | 26 ± 0.71 | 0.5 ± 0.35 | 0.125 |' in told
    repeat.main([*arguments, '--prefix', 'sem/', '--metrics', 'ssim'])
    assert '| model | seeds | ssim |' in capsys.readouterr().out


def test_no_validation_is_no_result(tmp_path):
    write_scalars(tmp_path, {'loss': 1.0})
    assert repeat.last_metrics(tmp_path, 'bdd/') is None
    assert repeat.last_metrics(tmp_path / 'absent', 'bdd/') is None


def test_table_gives_mean_and_sample_deviation():
    values = [0.70, 0.74, 0.75]
    text = repeat.table({'a': [{'mAP': v} for v in values], 'b': [{'mAP': 0.5}]}, ['mAP', 'mAP_l'])
    mean = 100 * statistics.mean(values)
    deviation = 100 * statistics.stdev(values)
    assert f'| a | 3 | {mean:.1f} ± {deviation:.1f} |' in text
    # One seed has no spread, and a metric nobody reports has no column.
    assert '| b | 1 | 50.0 |' in text
    assert 'mAP_l' not in text


def test_report_names_what_is_missing(tmp_path, capsys):
    config = tmp_path / 'some.py'
    config.write_text('')
    nan = float('nan')  # JSON has none
    write_scalars(tmp_path / 'runs' / 'some' / 'seed_0', {'bdd/mAP': 0.3, 'bdd/mAP_l': nan})
    arguments = [
        str(config),
        '--seeds',
        '2',
        '--report',
        '--work-dir',
        str(tmp_path / 'runs'),
        '--json',
        str(tmp_path / 'all.json'),
    ]
    assert repeat.main(arguments) == 2
    out = capsys.readouterr()
    assert '| some | 1 | 30.0 |' in out.out
    assert 'no result yet' in out.err
    found = json.loads((tmp_path / 'all.json').read_text())
    assert found == {'some': [{'mAP': 0.3, 'mAP_l': None}]}


def test_configs_of_one_name_would_be_one_row(tmp_path, capsys):
    configs = [tmp_path / folder / 'some.py' for folder in 'ab']
    for config in configs:
        config.parent.mkdir()
        config.touch()
    with pytest.raises(SystemExit):
        repeat.parse_args(list(map(str, configs)))
    assert 'several configs are called some' in capsys.readouterr().err


def test_missing_config_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        repeat.parse_args([str(tmp_path / 'absent.py')])
    assert 'config not found' in capsys.readouterr().err


def test_configs_of_the_repository_are_found_by_name_as_by_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (config,) = repeat.parse_args(['frcnn_murky.py']).configs
    assert config.is_file() and config.resolve().parent.name == 'configs'


def test_metrics_of_what_is_not_there_are_left_out():
    """Without large objects their AP is NaN, in one seed or in all."""
    nan = float('nan')
    text = repeat.table(
        {'a': [{'mAP': 0.5, 'mAP_l': nan, 'mAP_s': nan}, {'mAP': 0.7, 'mAP_l': nan, 'mAP_s': 0.2}]},
        ['mAP', 'mAP_s', 'mAP_l'],
    )
    assert 'mAP_l' not in text and '| a | 2 | 60.0 ± 14.1 | 20.0 |' in text
    text = repeat.table({'a': [{'mAP': 0.5, 'mAP_l': -1.0}]}, ['mAP', 'mAP_l'])  # COCO's way
    assert 'mAP_l' not in text


def test_half_a_line_of_a_killed_training_is_passed_over(tmp_path):
    write_scalars(tmp_path, {'bdd/mAP': 0.2})
    with open(next(tmp_path.rglob('scalars.json')), 'a') as file:
        file.write('\n{"lr": 0.0')
    assert repeat.last_metrics(tmp_path, 'bdd/') == {'mAP': 0.2}


@pytest.fixture
def trainings(monkeypatch):
    """Trainings that only write what a real one would: two validations, or what is said of it."""
    ran, ends = [], {}

    def start(command, env, **_):
        config, folder = Path(command[2]), Path(command[command.index('--work-dir') + 1])
        ran.append((config.stem, folder.name))
        assert command[command.index('--resume') + 1] == 'auto' and int(env['OMP_NUM_THREADS']) >= 1
        code, *metrics = ends.get(ran[-1], (0, 0.1, 0.5))
        lines = [{'bdd/mAP': value} for value in metrics]
        write_scalars(folder, *lines, stamp=f'2026_{len(ran)}')
        return CompletedProcess(command, code)

    monkeypatch.setattr(repeat.subprocess, 'run', start)
    return ran, ends


def series(folder, *more):
    configs = [folder / 'a.py', folder / 'b.py']
    for config in configs:
        config.touch()
    return repeat.main([*map(str, configs), '--seeds', '2', '--work-dir', f'{folder}/w', *more])


def test_a_training_that_broke_off_after_a_validation_is_not_finished(tmp_path, trainings, capsys):
    ran, ends = trainings
    ends['a', 'seed_1'] = (1, 0.1)  # killed after the first of its validations
    assert series(tmp_path) == 2
    assert ran == [(name, f'seed_{seed}') for seed in (0, 1) for name in 'ab']
    out = capsys.readouterr()
    assert 'a seed_1'.replace('_', ' ') + ': FAILED with status 1' in out.out
    place = tmp_path / 'w' / 'a' / 'seed_1'
    assert 'not finished, their last validation is tabulated (start again' in out.err
    assert out.err.rstrip().endswith(f': {place}')
    assert series(tmp_path, '--report') == 2 and len(ran) == 4
    ends.clear()
    assert series(tmp_path, '--jobs', '2') == 0
    assert ran[4:] == [('a', 'seed_1')]
    assert '| a | 2 | 50.0 ± 0.0 |' in capsys.readouterr().out
    assert series(tmp_path) == 0 and len(ran) == 5


def test_killed_between_the_last_checkpoint_and_its_validation(tmp_path, trainings, capsys):
    _, ends = trainings
    ends['b', 'seed_0'] = (0,)
    place = tmp_path / 'w' / 'b' / 'seed_0'
    place.mkdir(parents=True)
    (place / 'epoch_2.pth').touch()
    assert series(tmp_path) == 2
    out = capsys.readouterr()
    assert 'b seed 0: ended without bdd/mAP' in out.out and f'delete {place}/epoch_2.pth' in out.out
    assert 'no result yet' in out.err


def test_other_options_or_another_config_are_no_further_seeds(tmp_path, trainings, capsys):
    ran, _ = trainings
    assert series(tmp_path, '--cfg-options', 'lr=1') == 0
    assert series(tmp_path, '--cfg-options', 'lr=2') == 2 and len(ran) == 4
    assert 'was begun with another cfg_options' in capsys.readouterr().err
    assert series(tmp_path, '--cfg-options', 'lr=1') == 0
    (tmp_path / 'b.py').write_text('lr = 3')
    arguments = [f'{tmp_path}/b.py', '--seeds', '2', '--work-dir', f'{tmp_path}/w']
    assert repeat.main([*arguments, '--cfg-options', 'lr=1']) == 2 and len(ran) == 4
    told = capsys.readouterr().err
    assert 'b/seed_0 was begun with another config:' in told
    for seed in range(2):
        (tmp_path / 'w' / 'b' / f'seed_{seed}' / 'settings.json').unlink()
    assert repeat.main([*arguments, '--cfg-options', 'lr=1']) == 0


def test_where_the_system_has_no_affinity(tmp_path, trainings, monkeypatch):
    """macOS and Windows."""
    monkeypatch.delattr(os, 'sched_getaffinity')
    assert series(tmp_path) == 0


@pytest.mark.parametrize('option', ['--jobs', '--seeds'])
def test_none_at_all_is_an_error(tmp_path, option, capsys):
    with pytest.raises(SystemExit):
        series(tmp_path, option, '0')
    assert 'at least 1' in capsys.readouterr().err


def test_ctrl_c_is_no_fault(tmp_path, monkeypatch):
    def start(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(repeat.subprocess, 'run', start)
    assert series(tmp_path) == 130
