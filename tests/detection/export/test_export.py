"""Whole detectors in ONNX: equal to torch at three sizes, and used without torch."""

import json
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmcv.ops import soft_nms
from mmdet.datasets.transforms import Resize

from mmclarity.cli.detect import main as detect_main
from mmclarity.cli.export import main
from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.export import check_detector, export_detector, stages, suppression
from mmclarity.detection.export.graph import Graph
from mmclarity.detection.inference import Detector, OnnxDetector
from mmclarity.detection.inference.onnx_detector import resized, session_of
from mmclarity.detection.roi_heads.consensus import agreed_boxes
from mmclarity.errors import CheckpointError, DataError, UsageError
from tests.detection.export.untrained import build

onnxruntime = pytest.importorskip('onnxruntime')
CONFIG = 'configs/lambda_frcnn_murky.py'


@pytest.fixture(scope='module')
def lambda_model():
    return build(config=CONFIG)


@pytest.fixture(scope='module')
def exported(lambda_model, tmp_path_factory):
    path = tmp_path_factory.mktemp('onnx') / 'detector.onnx'
    export_detector(lambda_model, path)
    return path


@pytest.fixture(scope='module')
def scene():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return cv2.resize(noise, (500, 333), interpolation=cv2.INTER_CUBIC)


def test_equal_to_torch_at_three_sizes(lambda_model, exported):
    found = check_detector(lambda_model, exported)
    assert found.detections > 100 and not found.unmatched
    assert found.score < 1e-4 and found.box < 0.01


def test_what_the_file_says_of_itself(exported):
    model = onnx.load(exported)
    assert [value.name for value in model.graph.input] == ['image', 'max_proposals']
    assert [value.name for value in model.graph.output] == ['boxes', 'scores', 'labels']
    said = json.loads({item.key: item.value for item in model.metadata_props}['mmclarity'])
    assert said['classes'] == list(CLASSES)
    assert said['resize'] == dict(scale=[320, 192], keep_ratio=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count('NonMaxSuppression') == 4 and operators.count('RoiAlign') == 3


def test_the_number_of_proposals_is_free(lambda_model, exported, scene):
    session = session_of(exported, 1)
    image = np.ascontiguousarray(scene[:192, :320])
    many = session.run(None, {'image': image})
    few = session.run(None, {'image': image, 'max_proposals': np.array([7])})
    one = session.run(None, {'image': image, 'max_proposals': np.array([1])})
    assert len(many[1]) > 20 > len(one[1])
    before = lambda_model.rpn_head.test_cfg.max_per_img
    lambda_model.rpn_head.test_cfg.max_per_img = 7
    try:
        from mmclarity.detection.export.check import _by_torch

        boxes, scores, labels = _by_torch(lambda_model, image)
    finally:
        lambda_model.rpn_head.test_cfg.max_per_img = before
    np.testing.assert_allclose(few[1], scores, atol=1e-5)
    np.testing.assert_allclose(few[0], boxes, atol=1e-2)
    np.testing.assert_array_equal(few[2], labels)


def test_the_detector_without_torch_is_the_detector(lambda_model, exported, scene, tmp_path):
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=lambda_model.state_dict()), tmp_path / 'w.pth')
    mine = OnnxDetector(exported, threshold=0.2, threads=1)
    theirs = Detector(CONFIG, str(tmp_path / 'w.pth'), 'cpu', threshold=0.2, dtype='float32')
    assert mine.classes == theirs.classes
    for image in (scene, np.ascontiguousarray(scene[:200, :180])):
        (found,), (expected,) = mine([image]), theirs([image])
        assert len(found) == len(expected) > 5
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.02)
        assert found.names == expected.names
    with pytest.raises(DataError, match='8 bit'):
        mine([scene.astype(np.float32)])


@pytest.mark.parametrize('keep_ratio', [True, False])
@pytest.mark.parametrize('scale', [(640, 360), (360, 640), (1333, 800)])
def test_images_are_resized_as_by_mmdet(scale, keep_ratio):
    random = np.random.default_rng(1)
    resize = Resize(scale=scale, keep_ratio=keep_ratio)
    for height, width in ((720, 1280), (333, 501), (1000, 37), (360, 640)):
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = resize(dict(img=image, img_shape=(height, width)))['img']
        assert np.array_equal(resized(image, scale, keep_ratio), expected)


def test_detect_runs_without_torch(exported, scene, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    cv2.imwrite(str(tmp_path / 'b.jpg'), scene[:150])
    script = (
        'import sys; from mmclarity.cli.detect import main; status = main(sys.argv[1:]);'
        'assert "torch" not in sys.modules and "mmdet" not in sys.modules, "imported";'
        'sys.exit(status)'
    )
    given = [str(tmp_path), '--out', str(tmp_path / 'out'), '--backend', 'onnxruntime']
    given += ['--checkpoint', str(exported), '--threshold', '0.2']
    done = subprocess.run(
        [sys.executable, '-c', script, *given], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert '2 images' in done.stdout
    coco = json.loads((tmp_path / 'out/detections.coco.json').read_text())
    assert len(coco['annotations']) > 5
    assert sorted(path.name for path in (tmp_path / 'out/drawn').iterdir()) == ['a.png', 'b.jpg']


def test_bars_are_cut_as_by_the_detector_that_was_exported(lambda_model, exported, scene, tmp_path):
    assert not OnnxDetector(exported).cuts_bars
    lambda_model.cfg.cut_black_bars = True
    try:
        export_detector(lambda_model, tmp_path / 'cuts.onnx')
    finally:
        lambda_model.cfg.cut_black_bars = False
    mine = OnnxDetector(tmp_path / 'cuts.onnx', threshold=0.2, threads=1)
    film = cv2.copyMakeBorder(scene, 60, 60, 0, 0, cv2.BORDER_CONSTANT)
    (plain,), (found,) = mine([scene]), mine([film])
    assert mine.cuts_bars and len(plain) > 3
    np.testing.assert_allclose(found.boxes, plain.boxes + np.float32([0, 60, 0, 60]), atol=1e-3)
    np.testing.assert_array_equal(found.scores, plain.scores)


def test_files_that_are_no_exported_detector(tmp_path, exported, capsys):
    with pytest.raises(CheckpointError, match='no such file'):
        OnnxDetector(tmp_path / 'gone.onnx')
    (tmp_path / 'bad.onnx').write_bytes(exported.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match='cannot be used by onnxruntime'):
        OnnxDetector(tmp_path / 'bad.onnx')
    foreign = onnx.load(exported)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / 'foreign.onnx')
    with pytest.raises(CheckpointError, match='not written by mmclarity-export'):
        OnnxDetector(tmp_path / 'foreign.onnx')
    picture = tmp_path / 'a.png'
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    given = [str(picture), '--out', str(tmp_path / 'o'), '--backend', 'onnxruntime']
    for further in (['--config', CONFIG], ['--plain']):
        assert detect_main([*given, *further, '--checkpoint', str(exported)]) == 2
        assert 'no --config and no --shipped' in capsys.readouterr().err
    for further in (['--device', 'cuda'], ['--dtype', 'bfloat16']):  # were passed over
        assert detect_main([*given, *further, '--checkpoint', str(exported)]) == 2
        assert 'on the CPU in float32' in capsys.readouterr().err


def test_what_cannot_be_exported_is_named(lambda_model, tmp_path):
    cfg = lambda_model.cfg
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Rotate'))
    with pytest.raises(UsageError, match='Rotate'):
        export_detector(lambda_model, tmp_path / 'x.onnx')
    pipeline.pop(1)
    test_cfg = lambda_model.roi_head.test_cfg
    before = dict(test_cfg.nms)
    test_cfg.nms = dict(type='soft_nms', iou_threshold=0.3, method='gaussian')
    with pytest.raises(UsageError, match="soft suppression with the method linear.*'gaussian'"):
        export_detector(lambda_model, tmp_path / 'x.onnx')
    test_cfg.nms = dict(type='nms_match', iou_threshold=0.3)
    with pytest.raises(UsageError, match='plain suppression'):
        export_detector(lambda_model, tmp_path / 'x.onnx')
    test_cfg.nms = before
    with pytest.raises(ValueError, match='training mode'):
        export_detector(lambda_model.train(), tmp_path / 'x.onnx')
    lambda_model.eval()
    assert not (tmp_path / 'x.onnx').exists()


def test_masks_are_refused_unless_they_are_given_up(tmp_path, monkeypatch):
    model = build()
    monkeypatch.setattr(type(model.roi_head), 'with_mask', True)
    with pytest.raises(UsageError, match='FasterRCNN has masks, which are not exported.*--boxes-'):
        export_detector(model, tmp_path / 'x.onnx')
    assert not (tmp_path / 'x.onnx').exists()
    monkeypatch.setattr('mmclarity.detection.export.detector._graph', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # it goes on to the export
        export_detector(model, tmp_path / 'x.onnx', boxes_only=True)


def test_a_file_that_differs_is_refused(exported, tmp_path):
    other = build(config=CONFIG)
    torch.nn.init.normal_(other.roi_head.bbox_head.fc_cls.weight, std=0.2)
    with pytest.raises(RuntimeError, match='have no partner'):
        check_detector(other, exported)


@pytest.mark.parametrize('classes', [1, 3])
def test_boxes_are_agreed_on_as_in_torch(classes):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(30, classes, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 10 + 10 * torch.rand(30, classes, 2)], 2)
    scores = torch.rand(30, 3, generator=generator)
    labels = torch.tensor([0, 2, 1, 2])
    kept = boxes[:4, 0] + 1
    kept[3] += 500  # lies on nothing: stays
    g = Graph(18)
    for name, shape in (('kept', [4, 4]), ('boxes', [1 if classes == 1 else 4, 30, 4]),
                        ('scores', [4, 30])):  # fmt: skip
        g.input(name, onnx.TensorProto.FLOAT, shape)
    found = stages.agreed(g, 'kept', 'boxes', 'scores', iou=0.3, temperature=0.2)
    g.output('found', found, onnx.TensorProto.FLOAT, [4, 4])
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString())
    by_class = boxes.transpose(0, 1)
    given = dict(
        kept=kept.numpy(),
        boxes=(by_class if classes == 1 else by_class[labels]).contiguous().numpy(),
        scores=scores[:, labels].T.contiguous().numpy(),
    )
    expected = agreed_boxes(kept, labels, boxes.flatten(1), scores, iou=0.3, temperature=0.2)
    np.testing.assert_allclose(session.run(None, given)[0], expected.numpy(), rtol=1e-5)
    assert (expected[:3] != kept[:3]).any(1).all() and torch.equal(expected[3], kept[3])


@pytest.mark.parametrize('by_class', [False, True])
def test_scores_are_lowered_as_in_torch(by_class):
    """Heaps of boxes, each of which is lowered by many; one row of boxes, or one a class."""
    generator = torch.Generator().manual_seed(0)
    rows = 3 if by_class else 1
    place = 60 * torch.rand(4, 2, generator=generator)
    corner = place[torch.randint(0, 4, (rows, 80), generator=generator)]
    corner = corner + 4 * torch.randn(rows, 80, 2, generator=generator)
    size = 15 + 10 * torch.rand(rows, 80, 2, generator=generator)
    boxes = torch.cat([corner, corner + size], 2)
    scores = torch.rand(3, 80, generator=generator)
    scores[0, :2] = 1.0  # equal
    cfg = dict(type='soft_nms', iou_threshold=0.3, min_score=0.02)
    g = Graph(18)
    shape = [3, 1, 80] if by_class else [1, 3, 80]
    g.input('boxes', onnx.TensorProto.FLOAT, [rows, 80, 4])
    g.input('scores', onnx.TensorProto.FLOAT, shape)
    lowered, least = suppression.damped(g, 'boxes', 'scores', cfg, 0.05)
    g.output('found', lowered, onnx.TensorProto.FLOAT, shape)
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString())
    given = dict(boxes=boxes.numpy(), scores=scores.reshape(shape).numpy())
    found = session.run(None, given)[0].reshape(3, 80)
    assert least == 0.02
    for label in range(3):
        asked = (scores[label] > 0.05).nonzero()[:, 0]
        own = boxes[label if by_class else 0][asked]
        kept, places = soft_nms(own, scores[label][asked], 0.3, min_score=0.02)
        expected = np.zeros(80, np.float32)
        expected[asked[places].numpy()] = kept[:, 4].numpy()
        assert 10 < (expected > 0).sum() < 70
        np.testing.assert_allclose(np.where(found[label] < least, 0, found[label]), expected,
                                   atol=1e-6)  # fmt: skip


def test_the_tool_tells_the_parts_apart(lambda_model, tmp_path, capsys):
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=lambda_model.state_dict()), tmp_path / 'w.pth')
    out = tmp_path / 'd.onnx'
    assert main([CONFIG, str(tmp_path / 'w.pth'), str(out)]) == 0
    assert 'detections in images of three sizes differ' in capsys.readouterr().out
    assert main([CONFIG, str(tmp_path / 'w.pth'), str(out)]) == 2
    assert 'exists; give --overwrite' in capsys.readouterr().err
    # no weights ship for this config, they do for others
    assert main([CONFIG, 'shipped', str(tmp_path / 'x.onnx')]) == 2
    said = capsys.readouterr().err
    assert 'models than this one: two_looks_frcnn_bdd100k_fine.py (two_looks)' in said


@pytest.mark.parametrize('how', ['differs', 'interrupted'])
def test_a_file_that_was_not_compared_does_not_replace_another(
    lambda_model, tmp_path, capsys, monkeypatch, how
):
    """The earlier export was overwritten, and then removed or left as one that was compared."""

    def check(*_):
        raise KeyboardInterrupt if how == 'interrupted' else RuntimeError('differs from torch')

    monkeypatch.setattr('mmclarity.detection.export.check_detector', check)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(meta=meta, state_dict=lambda_model.state_dict()), tmp_path / 'w.pth')
    out = tmp_path / 'd.onnx'
    out.write_bytes(b'earlier')
    status = main([CONFIG, str(tmp_path / 'w.pth'), str(out), '--overwrite'])
    assert status == (130 if how == 'interrupted' else 2)
    assert out.read_bytes() == b'earlier'
    assert {path.name for path in tmp_path.iterdir()} == {'d.onnx', 'w.pth'}
    if how == 'differs':
        assert f'differs from torch; {out} is not written' in capsys.readouterr().err


def test_a_version_of_onnx_that_cannot_be_written(tmp_path, capsys):
    out = tmp_path / 'x.onnx'
    assert main([str(CONFIG), 'none.pth', str(out), '--opset', '3']) == 2
    assert '--opset 3: give 18 to' in capsys.readouterr().err
    assert not out.exists()
