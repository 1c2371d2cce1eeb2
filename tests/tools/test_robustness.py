"""robustness.py: its tables on given results, and a run on the embedded scenes."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmclarity.detection.shipped.weights import FILE, shipped_weights
from mmclarity.engine.config import load_config
from mmclarity.errors import CheckpointError, UsageError
from mmclarity.utils.zoo import digest
from tests.running import run
from tools.analysis_tools import robustness
from tools.dataset_generators import make_murky


def arguments(*given):
    return robustness.parse_args([str(item) for item in given])


def made_up(args, start):
    return {
        f'{corruption} {severity}': start - 0.05 * severity
        for corruption, severity in robustness.conditions(args)
    }


def test_table_and_figure():
    args = arguments('a.py', 'a.pth', 'b.py', 'b.pth', '--corruptions', 'fog', 'rain', 'JPEG')
    assert args.names == ['a', 'b']
    results = {'a': made_up(args, 0.5), 'b': made_up(args, 0.4)}
    header, *rows = robustness.table(results, args)
    assert header[2:7] == ['1', '2', '3', '4', '5']
    assert rows[0] == ['a', 'clean', '', '', '', '', '', '50.0', '100 %']
    assert rows[1] == ['a', 'fog', '45.0', '40.0', '35.0', '30.0', '25.0', '35.0', '70 %']
    results['b'] |= {'JPEG 3': 0.9}
    panels = robustness.figure(results, args).axes
    assert panels[0].get_ylim()[0] == 0 and panels[0].get_ylim()[1] > 90
    assert [axes.get_title('left') for axes in panels if axes.get_visible()] == args.corruptions
    assert panels[0].get_xlabel() == 'severity'
    np.testing.assert_allclose(panels[0].lines[1].get_ydata(), [40, 35, 30, 25, 20, 15])


def test_nothing_to_find_is_neither_zero_nor_an_end(tmp_path, monkeypatch):
    """AP of large objects where there are none: NaN, or -1 by COCO's metric."""
    (tmp_path / 'a.pth').touch()
    args = arguments(
        'frcnn_murky.py', tmp_path / 'a.pth', '--corruptions', 'fog', '--severities', '1', '2',
        '--out', tmp_path / 'out',
    )  # fmt: skip
    values = iter([{'coco/mAP': -1.0}, {'bdd/mAP': float('nan')}])
    cfg = load_config('frcnn_murky.py')
    runner = SimpleNamespace(cfg=cfg, test=lambda: next(values))
    monkeypatch.setattr(robustness, 'build_runner', lambda *_: runner)
    with pytest.raises(StopIteration):  # broken off
        robustness.run(args)
    values = iter([{'bdd/mAP': 0.5}])
    results = robustness.run(args)
    rows = robustness.table(results, args)[1:]
    assert rows[0][-2:] == ['-', '100 %'] and rows[1][2:] == ['-', '50.0', '-', '-']
    assert (
        json.loads((tmp_path / 'out.json').read_text())['results']['frcnn_murky']['fog 1'] is None
    )
    robustness.figure(results, args)


@pytest.mark.parametrize(
    'given, message',
    [
        (['a.py'], 'a config and a checkpoint for each'),
        (['a.py', 'a.pth', '--names', 'x', 'y'], 'give 1 different names'),
        (['a.py', 'a.pth', '--corruptions', 'frogs'], 'invalid choice'),
        (['a.py', 'a.pth', '--severities', '6'], 'invalid choice'),
    ],
)
def test_command_line_is_checked(given, message, capsys):
    with pytest.raises(SystemExit):
        arguments(*given)
    assert message in capsys.readouterr().err


def test_missing_checkpoint_and_pipelines_without_images(tmp_path, capsys):
    assert robustness.main(['frcnn_murky.py', str(tmp_path / 'no.pth')]) == 2
    assert 'no such checkpoint' in capsys.readouterr().err
    cfg = load_config('frcnn_murky.py')
    loader = robustness.corrupted(cfg, 'fog', 2, 7)
    steps = [step['type'] for step in loader.dataset.pipeline]
    assert steps[:2] == ['LoadImageFromFile', 'CorruptedImage'] and loader.dataset.indices == 7
    assert 'CorruptedImage' not in str(robustness.corrupted(cfg, 'clean', 0, None))
    cfg.test_dataloader.dataset.pipeline.pop(0)
    with pytest.raises(UsageError, match='no LoadImageFromFile'):
        robustness.corrupted(cfg, 'fog', 2, None)


@pytest.mark.parametrize(
    'values, metric, expected',
    [
        ({'bdd/night/mAP_50': 0.5, 'bdd/mAP': 0.3}, 'mAP', 0.3),
        ({'coco/bbox_mAP_50': 0.5, 'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.2}, 'mAP', 0.3),
        ({'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.2}, 'segm_mAP', 0.2),
    ],
)
def test_ap_by_the_names_of_both_metrics(values, metric, expected):
    runner = SimpleNamespace(cfg=load_config('frcnn_murky.py'), test=lambda: values)
    assert robustness.evaluate(runner, {}, metric) == expected


def test_weights_of_another_model_are_refused(tmp_path):
    """mmengine takes what fits: the rest stayed random, and the AP of 0 looked like a result."""
    assert make_murky.main([str(tmp_path / 'data'), '--train', '1', '--val', '1']) == 0
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config('frcnn_murky.py').model)
    weights = model.state_dict()
    del weights['roi_head.bbox_head.fc_cls.weight']
    torch.save(weights, tmp_path / 'w.pth')
    given = 'frcnn_murky.py', str(tmp_path / 'w.pth'), dict(data_root=f'{tmp_path}/data/')
    with pytest.raises(CheckpointError, match='missing in the checkpoint: .*fc_cls.weight'):
        robustness.build_runner(*given, str(tmp_path))


@pytest.mark.slow
def test_two_detectors_one_after_the_other(tmp_path, capsys):
    """What the first leaves behind in mmengine does not reach for a folder that has gone."""
    assert make_murky.main([str(tmp_path / 'data'), '--train', '1', '--val', '2']) == 0
    given = []
    for name in ('frcnn_murky', 'lambda_frcnn_murky'):
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(load_config(f'{name}.py').model)
        torch.save(model.state_dict(), tmp_path / f'{name}.pth')
        given += [f'{name}.py', str(tmp_path / f'{name}.pth')]
    given += ['--corruptions', 'JPEG', '--severities', '5', '--out', str(tmp_path / 'r')]
    assert robustness.main([*given, '--cfg-options', f'data_root={tmp_path}/data/']) == 0
    found = json.loads((tmp_path / 'r.json').read_text())['results']
    assert {name: list(values) for name, values in found.items()} == {
        'frcnn_murky': ['clean 0', 'JPEG 5'],
        'lambda_frcnn_murky': ['clean 0', 'JPEG 5'],
    }
    assert 'written: ' in capsys.readouterr().out and (tmp_path / 'r.png').stat().st_size > 5000


@pytest.mark.slow
def test_runs_on_the_embedded_scenes_and_goes_on(tmp_path):
    made = run(tmp_path, 'dataset_generators/make_murky.py', 'data', '--train', 1, '--val', 4)
    assert made.returncode == 0, made.stderr
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config('frcnn_murky.py').model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'w.pth')
    given = [
        'analysis_tools/robustness.py', 'frcnn_murky.py', 'w.pth', 'lambda_frcnn_murky.py', 'w.pth',
        '--corruptions', 'fog', 'darkness', '--severities', '1', '5', '--limit', '3',
        '--cfg-options', f'data_root={tmp_path}/data/',
    ]  # fmt: skip
    given[3:5] = []  # one detector is enough: loading takes most of the time
    first = run(tmp_path, *given)
    assert first.returncode == 0, first.stderr[-3000:]
    content = json.loads((tmp_path / 'robustness.json').read_text())
    assert list(content['results']['frcnn_murky']) == [
        'clean 0', 'fog 1', 'fog 5', 'darkness 1', 'darkness 5'
    ]  # fmt: skip
    assert all(0 <= value <= 1 for value in content['results']['frcnn_murky'].values())
    assert cv2.imread(str(tmp_path / 'robustness.png')).std() > 5
    assert (tmp_path / 'robustness.csv').read_text().count('\n') == 6
    # what was measured is not measured again; what is of another checkpoint is not mixed in
    del content['results']['frcnn_murky']['fog 5']
    content['results']['frcnn_murky']['fog 1'] = 0.987
    (tmp_path / 'robustness.json').write_text(json.dumps(content))
    again = run(tmp_path, *given)
    assert again.returncode == 0, again.stderr[-3000:]
    assert '98.7' in again.stdout and again.stderr.count('fog') == 0
    with (tmp_path / 'w.pth').open('ab') as file:
        file.write(b'x')
    other = run(tmp_path, *given)
    assert other.returncode == 2 and 'results of other detectors' in other.stderr


def test_the_shipped_detectors_by_their_word(tmp_path):
    args = arguments('frcnn_bdd100k_fine.py', 'shipped', '--limit', '2')
    found = robustness.settings(args)['detectors']['frcnn_bdd100k_fine']
    assert found[:2] == ['frcnn_bdd100k_fine.py', digest(FILE)[:16]]
    args.cfg_options = {'model.test_cfg.rcnn.score_thr': 0.2}  # what the config says counts, too
    assert robustness.settings(args)['detectors']['frcnn_bdd100k_fine'][2] != found[2]
    assert make_murky.main([str(tmp_path / 'data'), '--train', '1', '--val', '1']) == 0
    options = dict(data_root=f'{tmp_path}/data/')
    with pytest.raises(CheckpointError, match='belong to other models than this one'):
        robustness.build_runner('frcnn_murky.py', 'shipped', options, str(tmp_path))
    runner = robustness.build_runner('frcnn_bdd100k_fine.py', 'shipped', options, str(tmp_path))
    weights, wanted = runner.model.state_dict(), shipped_weights('plain')
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())
