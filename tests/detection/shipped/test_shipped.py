"""The detectors that ship: their file, what it is made from, and what they find."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from safetensors.torch import load_file, save_file

import mmclarity.detection
from mmclarity.cli.detect import main as detect
from mmclarity.cli.test import main as run_test
from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.inference import read_image
from mmclarity.detection.shipped import (
    DETECTORS,
    load_shipped,
    shipped_config,
    shipped_weights,
)
from mmclarity.detection.shipped.weights import FILE, split_weights
from mmclarity.detection.viewer.looks import check_explains
from mmclarity.engine.config import load_config
from mmclarity.errors import CheckpointError, UsageError
from tests.real_data import DATA, needs

CONFIGS = {name: f'configs/{shipped_config(name)["config"]}' for name in DETECTORS}


def build(config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(ConfigDict(config))


def test_the_file_is_small_and_holds_the_trunk_once():
    stored = load_file(FILE)
    assert FILE.stat().st_size < 30e6
    assert {name.partition('.')[0] for name in stored} == {'trunk', *DETECTORS}
    assert all(torch.isfinite(value).all() for value in stored.values())
    assert all(value.dtype == torch.float16 for value in stored.values() if value.dim() > 1)
    for name in DETECTORS:
        weights = shipped_weights(name)
        own = sum(key.startswith(f'{name}.') for key in stored)
        assert 0 < own < len(weights)
        for key, value in weights.items():
            counts = key.endswith('num_batches_tracked')
            assert value.dtype == (torch.int64 if counts else torch.float32)


@pytest.mark.parametrize('name', DETECTORS)
def test_the_config_in_the_file_is_that_of_the_repository(name):
    told, cfg = shipped_config(name), load_config(CONFIGS[name])
    expected = cfg.model.to_dict()
    expected['backbone']['pretrained'] = False
    assert told['model'] == expected
    assert told['pipeline'] == [dict(step) for step in cfg.test_dataloader.dataset.pipeline]
    assert tuple(told['metainfo']['classes']) == CLASSES


def test_each_goes_into_its_own_model_and_into_no_other():
    for name in DETECTORS:
        model = build(shipped_config(name)['model'])
        assert load_shipped(model) == name
        mine = shipped_weights(name)
        assert all(torch.equal(value, mine[key]) for key, value in model.state_dict().items())
    other = build(load_config('configs/frcnn_murky.py').model)
    with pytest.raises(CheckpointError, match='other models.*frcnn_bdd100k_fine'):
        load_shipped(other)


def test_an_unknown_name_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UsageError, match='two_looks, context, plain'):
        shipped_weights('best')
    with pytest.raises(CheckpointError, match='no such file'):
        shipped_weights(path=tmp_path / 'none.safetensors')
    cut = tmp_path / 'cut.safetensors'
    cut.write_bytes(FILE.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match='cut.safetensors: cannot be read'):
        shipped_config(path=cut)
    bare = tmp_path / 'bare.safetensors'
    save_file(dict(a=torch.zeros(1)), bare)
    with pytest.raises(CheckpointError, match='holds no config'):
        shipped_config(path=bare)


def test_packing_keeps_all_but_the_last_bits():
    trunk = {'backbone.w': torch.randn(3, 4), 'neck.b': torch.tensor([1e-9, 7e4])}
    states = {
        name: trunk | {'roi_head.w': torch.randn(2, 2), 'roi_head.n': torch.tensor(3)}
        for name in DETECTORS
    }
    packed = split_weights(states)
    assert set(packed) == {
        'trunk.backbone.w',
        'trunk.neck.b',
        *(f'{name}.roi_head.{key}' for name in DETECTORS for key in 'wn'),
    }
    assert torch.equal(packed['trunk.neck.b'], trunk['neck.b'])  # not in half precision
    for name in DETECTORS:
        torch.testing.assert_close(
            packed[f'{name}.roi_head.w'].float(), states[name]['roi_head.w'], rtol=1e-3, atol=1e-4
        )


def test_packing_refuses_two_trunks_and_what_half_precision_cannot_hold():
    states = {name: {'neck.w': torch.full((1, 1), float(i))} for i, name in enumerate(DETECTORS)}
    with pytest.raises(UsageError, match='neck.w differs'):
        split_weights(states)
    states = {name: {'roi_head.w': torch.full((1, 1), 7e4)} for name in DETECTORS}
    with pytest.raises(UsageError, match='roi_head.w has values beyond'):
        split_weights(states)


def test_one_of_config_and_checkpoint_is_not_enough():
    with pytest.raises(UsageError, match='both'):
        mmclarity.detection.Detector('configs/frcnn_murky.py')
    with pytest.raises(UsageError, match='plain'):
        mmclarity.detection.Detector('configs/frcnn_murky.py', 'a.pth', plain=True)
    with pytest.raises(UsageError, match='give no config'):
        mmclarity.detection.Detector('configs/frcnn_murky.py', 'a.pth', shipped='context')
    with pytest.raises(UsageError, match='two detectors'):
        mmclarity.detection.Detector(plain=True, shipped='context')
    with pytest.raises(UsageError, match='two_looks, context, plain'):
        mmclarity.detection.Detector(shipped='lambda')


def test_which_of_the_shipped_detectors_looks():
    """The first by default; plain is short for one; the page of attention takes what has some."""
    from mmclarity.cli.detect import SHIPPED, _detector, detect_parser

    assert SHIPPED == DETECTORS
    heads = {
        name: {key for key in shipped_weights(name) if key.startswith('roi_head')}
        for name in DETECTORS
    }
    cases = {'': 'two_looks', '--plain': 'plain', '--shipped context': 'context'}
    cases |= {'--attention': 'context', '--attention --shipped two_looks': 'two_looks'}
    for options, name in cases.items():
        args = detect_parser().parse_args(
            ['in', '--out', 'out', '--device', 'cpu', *options.split()]
        )
        model = _detector(args).inferencer.model
        assert heads[name] == {key for key in model.state_dict() if key.startswith('roi_head')}
    with pytest.raises(UsageError, match="Detector\\(shipped='context'\\)"):
        check_explains(model)  # of the last: two looks, asked for by name


def one_frame(folder):
    """Options for a test on one frame with a car."""
    labels = folder / 'labels/det_20/det_val.json'
    labels.parent.mkdir(parents=True)
    car = dict(id='0', category='car', box2d=dict(x1=4, y1=4, x2=20, y2=20))
    frame = dict(name='a.jpg', attributes={}, labels=[car])
    labels.write_text(json.dumps([frame]))
    pictures = folder / 'images/100k/val'
    pictures.mkdir(parents=True)
    cv2.imwrite(str(pictures / 'a.jpg'), np.zeros((36, 64, 3), np.uint8))
    return ['--work-dir', str(folder), '--cfg-options', f'data_root={folder}/']


def test_data_of_other_classes_name_the_way_to_them(tmp_path, capsys):
    options = [*one_frame(tmp_path), "test_dataloader.dataset.metainfo.classes=('car','bus')"]
    assert run_test(['configs/frcnn_bdd100k_fine.py', 'shipped', *options]) == 2
    said = capsys.readouterr().err
    assert 'the weights that ship: pedestrian, rider, car' in said and 'car, bus' in said
    assert 'shipped_to_checkpoint.py plain plain.pth' in said and 'num_classes' not in said


def test_shipped_weights_are_refused_for_another_model(tmp_path, capsys):
    options = one_frame(tmp_path)
    assert run_test(['configs/frcnn_bdd100k_small.py', 'shipped', *options]) == 2
    assert 'other models' in capsys.readouterr().err


FRAMES = 'bdd100k_640/images/100k/val'


@needs(FRAMES)
def test_without_a_config_the_shipped_detector_looks(tmp_path):
    """Cars by day are found by both, and the tables name BDD100K's classes."""
    image = sorted((DATA / FRAMES).glob('*.jpg'))[0]
    for name in DETECTORS:
        detector = mmclarity.detection.Detector(device='cpu', shipped=name)
        (found,) = detector([read_image(image)])
        assert detector.classes == CLASSES and 'car' in found.names
    out = tmp_path / 'out'
    assert detect([str(image), '--out', str(out), '--device', 'cpu']) == 0
    table = json.loads((out / 'detections.coco.json').read_text())
    assert [c['name'] for c in table['categories']] == list(CLASSES) and table['annotations']


@pytest.mark.parametrize('name', DETECTORS)
def test_nothing_is_seen_where_there_is_nothing(name):
    """One grey, a shading, noise: with a covered lens there are no cars."""
    shading = np.linspace(40, 200, 360)[:, None, None] + np.zeros((1, 640, 3))
    noise = np.random.default_rng(0).normal(120, 10, (360, 640, 3))
    blanks = [np.full((360, 640, 3), level) for level in (0, 127, 255)] + [shading, noise]
    detector = mmclarity.detection.Detector(device='cpu', shipped=name)
    for blank in blanks:
        (found,) = detector([blank.clip(0, 255).astype(np.uint8)])
        assert not len(found.scores) or max(found.scores) < 0.1


@needs('bdd100k_640/labels/det_20/det_val.json')
@pytest.mark.parametrize('name', DETECTORS)
def test_the_average_precision_is_that_of_the_card(name, tmp_path):
    """Of 24 validation frames; the card says what all 1,000 give."""
    labels = json.loads((DATA / 'bdd100k_640/labels/det_20/det_val.json').read_text())
    part = tmp_path / 'part.json'
    part.write_text(json.dumps(labels[::42]))
    prefix = tmp_path / 'found'
    options = [
        f'data_root={DATA}/bdd100k_640/',
        f'test_dataloader.dataset.ann_file={part}',
        f'test_evaluator.outfile_prefix={prefix}',
    ]
    arguments = [CONFIGS[name], 'shipped', '--work-dir', str(tmp_path), '--cfg-options', *options]
    assert run_test(arguments) == 0
    scalars = next(tmp_path.glob('*/*.json'))
    result = json.loads(scalars.read_text().splitlines()[-1])
    assert 0.08 < result['bdd/mAP'] < 0.3 and 0.2 < result['bdd/mAP_50'] < 0.6
