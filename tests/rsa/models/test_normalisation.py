"""That networks are shown what they were trained on, whatever library says it."""

from types import SimpleNamespace

import pytest
import torch

from mmclarity.rsa.models import networks
from mmclarity.rsa.models.normalisation import of_processor, of_torchvision, preprocessing

pixels = torch.randint(0, 256, (3, 4, 4)).double()


def shown(found):
    """What a network gets of these pixels, as a ``Network`` with such arguments shows them."""
    mean, std = (
        torch.tensor(found[of], dtype=torch.float64)[:, None, None] for of in ('mean', 'std')
    )
    images = (pixels / 255 - mean) / std
    return images.flip(0) if found.get('bgr') else images


def test_torchvision_says_its_own():
    from torchvision import models

    weights = models.get_model_weights('efficientnet_v2_l').DEFAULT
    found = of_torchvision(weights.transforms())
    expected = weights.transforms()(torch.randint(0, 256, (3, 480, 480), dtype=torch.uint8))
    assert found == dict(mean=(0.5,) * 3, std=(0.5,) * 3, side=expected.shape[-1])
    assert networks.load('efficientnet_b1', 'none').side is None  # was not trained


@pytest.mark.parametrize(
    'processor,expected',
    [
        # ViT, CLIP
        (
            dict(do_normalize=True, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7]),
            lambda p: (
                (p / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).double())
                / torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1).double()
            ),
        ),
        # MobileViT: blue first, in [0, 1]
        (dict(do_rescale=True, do_flip_channel_order=True), lambda p: p.flip(0) / 255),
        # Values are there and not used
        (dict(do_normalize=False, image_mean=[0.5] * 3, image_std=[0.5] * 3), lambda p: p / 255),
        (
            dict(do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3),
            lambda p: p / 127.5 - 1,
        ),
        # EfficientNet
        (
            dict(
                rescale_factor=1 / 127.5,
                rescale_offset=True,
                image_mean=[0.2] * 3,
                image_std=[0.5] * 3,
            ),
            lambda p: (p / 127.5 - 1 - 0.2) / 0.5,
        ),
        (dict(image_mean=0.5, image_std=[0.25]), lambda p: (p / 255 - 0.5) / 0.25),
    ],
)
def test_processors_of_transformers(processor, expected):
    got = shown(of_processor(SimpleNamespace(**processor)))
    torch.testing.assert_close(got, expected(pixels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    'sizes,side',
    [
        (dict(size=dict(height=224, width=224)), 224),
        (dict(size=dict(shortest_edge=256), do_center_crop=True, crop_size=dict(height=240)), 240),
        (dict(size=dict(shortest_edge=256), crop_size=dict(height=240)), 256),
        (dict(size=384), 384),
        (dict(), None),
    ],
)
def test_sizes_of_processors(sizes, side):
    assert of_processor(SimpleNamespace(**sizes)).get('side') == side


@pytest.mark.parametrize('name', ['_channel_conversion', 'channel_conversion', 'to_rgb'])
@pytest.mark.parametrize('convert', [True, False])
def test_relatives_of_mmengines_preprocessor(name, convert):
    """mmseg and mmpretrain call it otherwise."""
    values = dict(mean=torch.tensor([10.0, 20, 30]), std=torch.tensor([1.0, 2, 3]))
    relative = SimpleNamespace(**{name: convert}, _enable_normalize=True, **values)
    for preprocessor in (relative, SimpleNamespace(data_preprocessor=relative)):
        mean, std, bgr = preprocessing(preprocessor)
        # Blue comes first, and is turned or not.
        network = (pixels.flip(0) if not convert else pixels).sub(
            values['mean'].view(3, 1, 1)
        ) / values['std'].view(3, 1, 1)
        assert bgr is not convert
        torch.testing.assert_close(
            shown(dict(mean=mean, std=std, bgr=bgr)), network.double(), rtol=1e-4, atol=1e-4
        )


def test_a_config_that_does_not_say_is_named(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(
        "default_scope = 'mmengine'\n"
        "custom_imports = dict(imports=['mmclarity.rsa.training'], allow_failed_imports=False)\n"
        "model = dict(type='TorchvisionClassifier', network=dict(type='SmallAlexNet', width=0.1),\n"
        "             data_preprocessor=dict(type='BaseDataPreprocessor'))\n"
    )
    with pytest.warns(UserWarning, match='does not say how images are normalised'):
        found = networks.load(str(path), 'none', module='network')
    assert found.mean == networks.IMAGENET_MEAN
