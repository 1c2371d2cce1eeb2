"""ONNX export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.config import Config

import mmclarity.restoration  # noqa: F401, registers the models
from mmclarity.cli.export import main
from mmclarity.errors import UsageError
from mmclarity.restoration.inference import export
from mmclarity.restoration.inference.restorer import build_restorer
from mmclarity.restoration.models import restore_batch
from tests.restoration.inference.test_restorer import PIX2PIX, UNET, save

MISSING = export.missing_packages()
SHARPEN = dict(amount=1.5, edge=0.01, damping=0.6, faint=0.04)
SHARP = {**UNET, 'generator': {**UNET['generator'], 'sharpen': SHARPEN}}
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f'not installed: {", ".join(MISSING)}')


@pytest.fixture
def unet(tmp_path) -> torch.nn.Module:
    return build_restorer(Config(dict(model=UNET)), save(tmp_path / 'u.pth'))


@pytest.mark.parametrize(
    ('model', 'shape'),
    [
        (UNET, (1, 1)),
        (UNET, (3, 5)),
        (UNET, (16, 16)),
        (UNET, (17, 33)),
        (UNET, (40, 23)),
        (SHARP, (3, 5)),
        (SHARP, (40, 23)),
        # its instance norm needs more than one pixel at the coarsest level, 32 of the image
        (PIX2PIX, (64, 64)),
        (PIX2PIX, (33, 70)),
    ],
)
def test_the_graph_without_branches_is_the_model(tmp_path, model, shape):
    built = build_restorer(Config(dict(model=model)), save(tmp_path / 'm.pth', model))
    image = torch.rand(2, 1, *shape)
    with torch.no_grad():
        found = export.ExportableRestorer(built).eval()(image)
    np.testing.assert_allclose(found, restore_batch(built, image), atol=1e-5)


@needs_onnx
def test_export_agrees_with_torch_at_several_sizes(tmp_path, unet):
    path = tmp_path / 'u.onnx'
    export.export_onnx(unet, path)
    assert [p.name for p in tmp_path.iterdir() if 'onnx' in p.name] == ['u.onnx']
    assert export.check_onnx(unet, path, ((1, 64, 96), (3, 37, 71), (1, 5, 4))) < 1e-5
    with pytest.raises(FileExistsError, match='u.onnx'):
        export.export_onnx(unet, path)
    # a file of other weights is told from the right one
    other = build_restorer(Config(dict(model=UNET)), save(tmp_path / 'o.pth', seed=5))
    with pytest.raises(RuntimeError, match='differs from torch'):
        export.check_onnx(other, path)


@needs_onnx
def test_the_sharpening_is_exported(tmp_path):
    built = build_restorer(Config(dict(model=SHARP)), save(tmp_path / 's.pth'))
    export.export_onnx(built, tmp_path / 's.onnx')
    assert export.check_onnx(built, tmp_path / 's.onnx', ((1, 32, 48), (2, 37, 71))) < 1e-5
    plain = build_restorer(Config(dict(model=UNET)), tmp_path / 's.pth')
    with pytest.raises(RuntimeError, match='differs from torch'):
        export.check_onnx(plain, tmp_path / 's.onnx')


@needs_onnx
def test_pix2pix_is_exported_too(tmp_path):
    """mmcv calls its norms \"in\", which no Python source can."""
    built = build_restorer(Config(dict(model=PIX2PIX)), save(tmp_path / 'p.pth', PIX2PIX))
    names = list(built.state_dict())
    export.export_onnx(built, tmp_path / 'p.onnx')
    assert export.check_onnx(built, tmp_path / 'p.onnx') < 1e-4
    assert list(built.state_dict()) == names


@needs_onnx
def test_export_does_not_take_a_model_in_training(tmp_path, unet):
    with pytest.raises(ValueError, match='eval'):
        export.export_onnx(unet.train(), tmp_path / 'u.onnx')
    assert not (tmp_path / 'u.onnx').exists()


def test_missing_packages_are_named(tmp_path, unet, monkeypatch):
    monkeypatch.setattr(export, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='pip install onnx onnxruntime onnxscript'):
        export.export_onnx(unet, tmp_path / 'u.onnx')


def test_no_weights_ship_for_the_config_of_a_restorer(tmp_path, capsys):
    assert main(['configs/ssim_unet_sem.py', 'shipped', str(tmp_path / 'x.onnx')]) == 2
    assert 'weights ship for detectors only' in capsys.readouterr().err


def test_the_config_of_a_detector_is_no_restorer(tmp_path):
    with pytest.raises(UsageError, match=r'frcnn_murky\.py is of a detector'):
        build_restorer('configs/frcnn_murky.py', tmp_path / 'none.pth')
