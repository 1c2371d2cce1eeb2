"""LPIPS: the package's own numbers where weights are at hand, silence where they are not."""

import importlib.util

import numpy as np
import pytest
import torch

from mmclarity.restoration.evaluation import FidelityMetric, fidelity, lpips_distance, perceptual
from mmclarity.restoration.evaluation.report import RestorationReport

needs_lpips = pytest.mark.skipif(
    importlib.util.find_spec('lpips') is None, reason='the package lpips is not installed'
)
RNG = np.random.default_rng(0)
IMAGE = RNG.random((40, 48))
NOISY = np.clip(IMAGE + 0.2 * RNG.standard_normal(IMAGE.shape), 0, 1)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    perceptual._network.cache_clear()
    yield tmp_path / 'hub' / 'checkpoints'
    perceptual._network.cache_clear()


@pytest.fixture
def weights(empty_cache):
    """Random weights where the real ones would be: every number still follows from them."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    empty_cache.mkdir(parents=True)
    torch.save(alexnet().state_dict(), empty_cache / perceptual.ALEXNET)


def test_nothing_is_downloaded_and_nothing_reported(empty_cache):
    assert lpips_distance(NOISY, IMAGE) is None
    assert set(fidelity(NOISY, IMAGE)) == {'psnr', 'ssim'}
    assert not empty_cache.exists()
    report = RestorationReport([(NOISY, IMAGE)])
    report.add('raw', lambda image: image)
    assert 'LPIPS' not in report.markdown()


@needs_lpips
def test_equal_to_the_package(weights):
    from lpips import LPIPS

    network = LPIPS(net='alex', verbose=False)
    colour = [torch.from_numpy(x).float().expand(1, 3, -1, -1) * 2 - 1 for x in (NOISY, IMAGE)]
    assert lpips_distance(NOISY, IMAGE) == pytest.approx(network(*colour).item(), rel=1e-5)
    assert lpips_distance(IMAGE, IMAGE) == 0 < lpips_distance(NOISY, IMAGE)


@needs_lpips
def test_in_metric_and_report(weights):
    expected = lpips_distance(NOISY, IMAGE)
    metric = FidelityMetric()
    as_tensor = [torch.from_numpy(255 * x)[None] for x in (NOISY, IMAGE)]
    metric.process(None, [dict(output=dict(pred_img=as_tensor[0]), gt_img=as_tensor[1])])
    assert metric.evaluate(1)['sem/lpips'] == pytest.approx(expected, rel=1e-5)
    report = RestorationReport([(NOISY, IMAGE)])
    assert report.add('raw', lambda image: image)['lpips'] == pytest.approx(expected)
    assert f'| {expected:.3f} |' in report.markdown()


def test_images_that_cannot_be_compared():
    with pytest.raises(ValueError, match='32 x 32'):
        lpips_distance(IMAGE[:20], IMAGE[:20])
    with pytest.raises(ValueError, match='one shape'):
        lpips_distance(IMAGE, IMAGE[1:])
    assert set(fidelity(IMAGE[:20], NOISY[:20])) == {'psnr', 'ssim'}
