"""In which precision a detector computes, and what that does to what it finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torchvision.ops import box_iou

from mmclarity.detection import Detector
from mmclarity.detection.inference import detector as module
from mmclarity.detection.inference import read_image
from mmclarity.detection.viewer import look_at
from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from tests.real_data import DATA, needs

MURKY = 'configs/lambda_frcnn_murky.py'
FRAMES = 'bdd100k_640/images/100k/val'


@pytest.fixture(params=[True, False], ids=['units', 'no units'])
def units(request, monkeypatch):
    monkeypatch.setattr(module, 'has_bfloat16_units', lambda: request.param)
    return request.param


def test_the_shipped_ones_compute_as_they_were_judged(units):
    assert Detector(device='cpu').dtype == (torch.bfloat16 if units else torch.float32)
    assert Detector(device='cpu', dtype='float32').dtype == torch.float32


@pytest.mark.parametrize(('evaluation', 'mixed'), [(True, True), (False, False), (None, False)])
def test_ones_own_computes_as_its_config_evaluates(tmp_path, units, evaluation, mixed):
    cfg = load_config(MURKY)
    hooks = [] if evaluation is None else [dict(type='MixedPrecisionHook', evaluation=evaluation)]
    cfg.custom_hooks = hooks
    cfg.dump(tmp_path / 'own.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'own.pth')
    own = Detector(str(tmp_path / 'own.py'), str(tmp_path / 'own.pth'), 'cpu')
    assert own.dtype == (torch.bfloat16 if mixed and units else torch.float32)


def test_another_precision_is_refused():
    with pytest.raises(UsageError, match='dtype must be one of float32, bfloat16, float16'):
        Detector(dtype='float64')


@needs(FRAMES)
def test_in_half_the_bits_the_same_is_found():
    names = sorted((DATA / FRAMES).glob('*.jpg'))[:3]
    images = [read_image(path) for path in names]
    exact, quick = (Detector(device='cpu', dtype=dtype) for dtype in ('float32', 'bfloat16'))
    overlaps, differences = [], []
    for image in images:
        (a,), (b,) = exact([image]), quick([image])
        assert not torch.is_autocast_enabled('cpu'), 'what the caller does next is not ours'
        sure = a.scores > 0.5
        overlap = box_iou(*map(torch.tensor, (a.boxes[sure], b.boxes))).numpy()
        same = overlap.max(1) > 0.9
        best = overlap.argmax(1)[same]
        np.testing.assert_array_equal(a.labels[sure][same], b.labels[best])
        overlaps += overlap.max(1).tolist()
        differences += np.abs(a.scores[sure][same] - b.scores[best]).tolist()
        # The logits are made in float32: in bfloat16 scores would be multiples of 2^-8.
        assert len(np.unique(b.scores * 256 % 1)) > len(b.scores) / 2
    assert len(overlaps) >= 10
    # Of two boxes of equal scores on one object the other one may win.
    assert np.mean(np.array(overlaps) > 0.9) > 0.8
    assert np.median(overlaps) > 0.97
    assert np.median(differences) < 0.02


@needs(FRAMES)
def test_what_is_explained_is_what_is_detected():
    image = read_image(sorted((DATA / FRAMES).glob('*.jpg'))[0])
    detector = Detector(device='cpu', dtype='bfloat16', shipped='context')
    (found,) = detector([image])
    scores = sorted((seen.score for seen in look_at(detector, image).detections), reverse=True)
    np.testing.assert_allclose(scores, found.scores, atol=1e-6)
