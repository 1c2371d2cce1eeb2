"""tools/analysis_tools/repeat.py: reading results and tabulating them."""

import json
import statistics

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
    write_scalars(tmp_path / 'runs' / 'some' / 'seed_0', {'bdd/mAP': 0.3})
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
    assert repeat.main(arguments) == 1
    out = capsys.readouterr()
    assert '| some | 1 | 30.0 |' in out.out
    assert 'no result yet' in out.err
    assert json.loads((tmp_path / 'all.json').read_text()) == {'some': [{'mAP': 0.3}]}


def test_missing_config_is_an_error(tmp_path):
    with pytest.raises(SystemExit):
        repeat.parse_args([str(tmp_path / 'absent.py')])


def test_metrics_of_what_is_not_there_are_left_out():
    """Without large objects their AP is NaN, in one seed or in all."""
    nan = float('nan')
    text = repeat.table(
        {'a': [{'mAP': 0.5, 'mAP_l': nan, 'mAP_s': nan}, {'mAP': 0.7, 'mAP_l': nan, 'mAP_s': 0.2}]},
        ['mAP', 'mAP_s', 'mAP_l'],
    )
    assert 'mAP_l' not in text and '| a | 2 | 60.0 ± 14.1 | 20.0 |' in text
