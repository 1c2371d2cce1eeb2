"""The stand-in operators against torchvision's public ones and against written-out references."""

import argparse
import importlib
import math
import pickle
import pkgutil
import random
import sys
from pathlib import Path
from types import ModuleType

import mmcv
import numpy as np
import pytest
import torch
import torchvision
from mmcv.ops import RoIAlign, RoIPool, batched_nms, nms, roi_align
from mmengine.logging import HistoryBuffer

from mmclarity import compat
from mmclarity.cli.main import finish
from tests.running import session

ROOT = Path(__file__).resolve().parents[2]
DEVICES = ['cpu'] + (['cuda'] if torch.cuda.is_available() else [])
standin_only = pytest.mark.skipif(
    compat.operators() != 'torchvision', reason='a compiled mmcv is installed and used as it is'
)
# Inside, across the border, wholly outside, smaller than a cell, without area, long and thin.
ROIS = [
    [0, 4.0, 6.0, 60.0, 44.0],
    [1, -12.5, -7.3, 30.2, 25.9],
    [1, 90.0, 20.0, 140.0, 70.0],
    [0, 300.0, 300.0, 340.0, 330.0],
    [0, 20.3, 20.1, 22.2, 21.7],
    [1, 33.0, 12.0, 33.0, 12.0],
    [0, 0.0, 30.0, 100.0, 31.5],
]


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """Value of an (H, W) plane at a place; zero more than one cell outside, edges continued."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * plane[top, left] + u * plane[top, right]
    lower = (1 - u) * plane[bottom, left] + u * plane[bottom, right]
    return (1 - v) * upper + v * lower


def roi_align_reference(
    features: np.ndarray,
    rois: np.ndarray,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> np.ndarray:
    """RoIAlign (He et al. 2017) sample by sample: the mean of a grid of samples in each bin."""
    out = np.zeros((len(rois), features.shape[1], *size))
    shift = 0.5 if aligned else 0.0
    for r, (image, x1, y1, x2, y2) in enumerate(rois):
        left, top = x1 * scale - shift, y1 * scale - shift
        width, height = (x2 - x1) * scale, (y2 - y1) * scale
        if not aligned:  # the legacy version takes regions to be one cell large at least
            width, height = max(width, 1.0), max(height, 1.0)
        rows, cols = height / size[0], width / size[1]
        ny = ratio if ratio > 0 else math.ceil(rows)
        nx = ratio if ratio > 0 else math.ceil(cols)
        for c, i, j in np.ndindex(features.shape[1], *size):
            samples = [
                bilinear(
                    features[int(image), c],
                    top + (i + (a + 0.5) / ny) * rows,
                    left + (j + (b + 0.5) / nx) * cols,
                )
                for a in range(ny)
                for b in range(nx)
            ]
            out[r, c, i, j] = sum(samples) / max(len(samples), 1)
    return out


def nms_reference(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list:
    """Greedy suppression, pair by pair."""

    def area(box: np.ndarray) -> float:
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    kept: list[int] = []
    for i in np.argsort(-scores, kind='stable'):
        for k in kept:
            w = min(boxes[i, 2], boxes[k, 2]) - max(boxes[i, 0], boxes[k, 0]) + offset
            h = min(boxes[i, 3], boxes[k, 3]) - max(boxes[i, 1], boxes[k, 1]) + offset
            inter = max(w, 0.0) * max(h, 0.0)
            union = area(boxes[i]) + area(boxes[k]) - inter
            if union > 0 and inter / union > threshold:
                break
        else:
            kept.append(int(i))
    return kept


def features(dtype: torch.dtype = torch.float64, device: str = 'cpu') -> torch.Tensor:
    """(2, 3, 12, 17) feature map; with scale 1/4 it covers 68 x 48 pixels."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, 12, 17, generator=generator, dtype=torch.float64).to(device, dtype)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2])
@pytest.mark.parametrize('scale', [0.25, 1.0])
def test_roi_align_equals_reference(device, aligned, ratio, scale):
    x, rois = features(device=device), torch.tensor(ROIS, dtype=torch.float64, device=device)
    got = roi_align(x, rois, (3, 2), scale, ratio, 'avg', aligned)
    want = roi_align_reference(x.cpu().numpy(), rois.cpu().numpy(), (3, 2), scale, ratio, aligned)
    np.testing.assert_allclose(got.cpu().numpy(), want, rtol=1e-9, atol=1e-12)
    if aligned and ratio == 0:
        assert (got[5] == 0).all(), 'a region without area has no samples'


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_and_its_gradient_equal_torchvision(device, dtype, aligned, ratio):
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3}.get(dtype, 3e-2)
    rois = torch.tensor(ROIS, device=device).to(dtype)
    x = features(dtype, device).requires_grad_()
    layer = RoIAlign((7, 7), 0.25, ratio, 'avg', aligned)
    got = layer(x, rois)
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(1)).to(device)
    (got.float() * weight).sum().backward()

    # The reference sees the same rounded inputs and computes in double precision.
    y = x.detach().double().requires_grad_()
    want = torchvision.ops.roi_align(y, rois.double(), (7, 7), 0.25, ratio, aligned)
    (want * weight).sum().backward()
    assert got.dtype == dtype and x.grad.dtype == dtype
    torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=tolerance)
    scale = y.grad.abs().max()
    torch.testing.assert_close(
        x.grad.double() / scale, y.grad / scale, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradcheck(aligned, ratio):
    x = features()[:, :2, :6, :7].contiguous().requires_grad_()
    rois = torch.tensor(ROIS[:6], dtype=torch.float64)
    torch.autograd.gradcheck(
        lambda z: roi_align(z, rois, (2, 3), 0.125, ratio, 'avg', aligned), (x,)
    )


def test_roi_align_reads_any_memory_layout():
    x = torch.randn(2, 32, 12, 17, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor(ROIS)
    grads = []
    for variant in (x, x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        leaf = variant.detach().requires_grad_()
        out = roi_align(leaf, rois, (7, 7), 0.25, 0, 'avg', True)
        # An expanded gradient and a permuted one have no contiguous memory.
        (out.permute(0, 2, 3, 1).square().sum() + out.mean()).backward()
        grads.append((out.detach(), leaf.grad))
    for out, grad in grads[1:]:
        torch.testing.assert_close(out, grads[0][0])
        torch.testing.assert_close(grad, grads[0][1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_roi_align_without_regions(dtype):
    x = features(dtype).requires_grad_()
    out = roi_align(x, torch.zeros(0, 5, dtype=dtype), (7, 7), 0.25, 0, 'avg', True)
    assert out.shape == (0, 3, 7, 7)
    out.sum().backward()
    assert x.grad.shape == x.shape and not x.grad.any()


@standin_only
def test_max_pooling_is_refused_by_name():
    with pytest.raises(compat.MissingOperatorError, match="roi_align_forward.*'max'.*mmcv==2.1.0"):
        roi_align(features(), torch.tensor(ROIS).double(), 7, 1.0, 0, 'max', True)


@standin_only
def test_the_tools_say_in_one_line_which_operator_is_missing(capsys):
    """A training with deformable convolutions ended in a traceback, of which this was the last."""

    def command(args):
        sys.modules[compat.EXT_NAME].deform_conv_forward()

    assert finish(command, argparse.Namespace(), 'train.py') == 2
    said = capsys.readouterr().err
    assert said.startswith('train.py: error: mmcv operator "deform_conv_forward" needs a compiled')


def random_boxes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 30, (count, 2))], 1)
    return boxes.astype(np.float64), rng.permutation(count) / count


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.7, 1.0])
def test_nms_equals_reference(device, offset, threshold):
    for seed in range(5):
        boxes, scores = random_boxes(60, seed)
        want = nms_reference(boxes, scores, threshold, offset)
        tensors = [torch.tensor(item, device=device) for item in (boxes, scores)]
        dets, kept = nms(*tensors, threshold, offset=offset)
        assert kept.tolist() == want
        np.testing.assert_array_equal(dets[:, :4].cpu().numpy(), boxes[want])
        np.testing.assert_array_equal(dets[:, 4].cpu().numpy(), scores[want])


def test_nms_offset_matters():
    """IoU 8/12 = 0.667 without the offset, 15/20 = 0.75 with it."""
    boxes = torch.tensor([[0.0, 0.0, 2.0, 6.0], [0.0, 0.0, 2.0, 4.0]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.70, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.70, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_nms_equals_torchvision_in_every_precision(dtype):
    boxes, scores = (torch.tensor(item).to(dtype) for item in random_boxes(80, 1))
    dets, kept = nms(boxes, scores, 0.4)
    want = torchvision.ops.nms(boxes.double(), scores.double(), 0.4)
    assert kept.tolist() == want.tolist() and dets.dtype == dtype


def test_nms_mixed_precision_and_options():
    boxes, scores = random_boxes(50, 2)
    want = nms_reference(boxes, scores, 0.4, 0)
    # Boxes and scores of different types, as autocast leaves them.
    kept = nms(torch.tensor(boxes).float(), torch.tensor(scores).double(), 0.4)[1]
    assert kept.tolist() == want
    assert nms(boxes, scores, 0.4, max_num=3)[1].tolist() == want[:3]
    kept = nms(boxes, scores, 0.4, score_threshold=0.5)[1]
    assert kept.tolist() == [i for i in want if scores[i] > 0.5]
    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and kept.dtype == torch.long
    boxes, scores = torch.tensor(boxes), torch.tensor(scores)
    labels = torch.arange(50) % 3
    kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.4))[1]
    assert kept.tolist() == torchvision.ops.batched_nms(boxes, scores, labels, 0.4).tolist()


@standin_only
def test_nms_refuses_another_offset():
    with pytest.raises(ValueError, match='offset must be 0 or 1, got 2'):
        compat.nms(torch.zeros(1, 4), torch.zeros(1), 0.5, offset=2)


@standin_only
def test_other_operators_name_themselves_and_the_remedy():
    with pytest.raises(NotImplementedError, match='"roi_pool_forward".*install .*mmcv==2.1.0'):
        RoIPool(7)(features(), torch.tensor(ROIS).double())


@standin_only
def test_extension_is_a_real_module():
    module = importlib.import_module('mmcv._ext')
    assert isinstance(module, ModuleType) and module is mmcv._ext
    assert mmcv.utils.ext_loader.check_ops_exist()
    assert pkgutil.find_loader('mmcv._ext') is not None
    assert not hasattr(module, '__path__'), 'names of the import system are not operators'
    compat.install()
    assert sys.modules['mmcv._ext'] is module, 'a second call changes nothing'


def test_steps_aside_for_a_compiled_mmcv(monkeypatch):
    compiled = ModuleType('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', compiled)
    compat.install()
    assert sys.modules['mmcv._ext'] is compiled
    assert compat.operators() == 'compiled mmcv'
    assert not hasattr(compiled, 'nms')


def test_import_of_the_package_is_light():
    code = (
        'import sys, mmclarity; '
        'print([m for m in ("torch", "mmcv", "mmdet", "mmagic", "matplotlib") if m in sys.modules])'
    )
    done = session(code)
    assert done.stdout.strip() == '[]', done.stderr


def test_checkpoint_of_mmengine_loads_with_weights_only(tmp_path):
    history = HistoryBuffer()
    for value in (1.0, 2.0, 6.0):
        history.update(value)
    state = dict(
        history=history,
        scalar=np.float64(0.5),
        count=np.int64(3),
        flag=np.bool_(True),
        numpy=np.random.RandomState(7).get_state(),
        python=random.Random(7).getstate(),
    )
    torch.save(state, tmp_path / 'checkpoint.pth')
    loaded = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
    assert loaded['history'].mean() == 3.0 and loaded['history'].statistics('max') == 6.0
    assert (loaded['scalar'], loaded['count'], loaded['flag']) == (0.5, 3, True)
    generator = np.random.RandomState()
    generator.set_state(loaded['numpy'])
    assert generator.rand() == np.random.RandomState(7).rand()
    assert loaded['python'] == state['python']


class Evil:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'evil',
    [
        Evil(eval, '1 + 1'),
        Evil(getattr, HistoryBuffer, '__init__'),
        Evil(getattr, HistoryBuffer, 'register_statistics'),
        Evil(getattr, np.ndarray, 'tofile'),
    ],
)
def test_checkpoint_with_anything_else_is_still_refused(tmp_path, evil):
    torch.save(dict(state=evil), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'evil.pth', weights_only=True)


def test_faster_rcnn_of_mmdet_trains_and_tests():
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=False)
    base = "_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py']"
    cfg = Config.fromstring(base, '.py').model
    cfg.backbone.update(depth=18, init_cfg=None)
    cfg.neck.in_channels = [64, 128, 256, 512]
    model = MODELS.build(cfg)
    data = demo_mm_inputs(2, [[3, 64, 96], [3, 80, 64]])
    data = model.data_preprocessor(data, True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss)
    grad = model.neck.fpn_convs[0].conv.weight.grad
    assert grad.abs().sum() > 0 and torch.isfinite(grad).all()
    model.eval()
    with torch.no_grad():
        results = model(**data, mode='predict')
    assert len(results) == 2 and results[0].pred_instances.bboxes.shape[1] == 4
