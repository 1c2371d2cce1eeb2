"""SEMUNet: any size, any option, one image at a time."""

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.registry import DefaultScope
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.models import SEMUNet, generator_of, restore_batch
from mmclarity.restoration.models.sharpening import Sharpening
from mmclarity.restoration.models.unet import pad_to_multiple


@pytest.fixture(autouse=True)
def mmagic_scope():
    with DefaultScope.overwrite_default_scope('mmagic'):
        yield


def tiny(**options):
    net = SEMUNet(**{**dict(base_channels=4, depth=2), **options})
    net.init_weights()
    return net


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (5, 64), (33, 31), (16, 16)])
@pytest.mark.parametrize('upsampling', ['nearest', 'bilinear', 'deconv', 'pixelshuffle'])
def test_any_size_comes_back(size, upsampling):
    x = torch.rand(1, 1, *size)
    assert tiny(upsampling=upsampling)(x).shape == x.shape


def test_residual_starts_as_identity():
    x = torch.rand(2, 1, 20, 27)
    assert torch.equal(tiny()(x), x)
    assert not torch.allclose(tiny(residual=False)(x), x)


@pytest.mark.parametrize('norm', [None, dict(type='GN', num_groups=2), dict(type='BN')])
def test_one_odd_sized_image_trains(norm):
    net = tiny(norm_cfg=norm)
    net(torch.rand(1, 1, 13, 17)).mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_batch_does_not_matter():
    net = tiny(residual=False).eval()
    x = torch.rand(3, 1, 32, 32)
    assert torch.allclose(net(x)[1:2], net(x[1:2]), atol=1e-6)


def test_receptive_radius_is_one():
    net = tiny(residual=False, depth=2)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.abs() + 0.01)
    x = torch.zeros(1, 1, 128, 128, requires_grad=True)
    net(x)[0, 0, 64, 64].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().ravel()
    reach = max(64 - rows.min().item(), rows.max().item() - 64)
    assert reach <= net.receptive_radius <= reach + 4 * net.stride


def test_output_is_float32_under_autocast():
    net = tiny(residual=False)
    with torch.autocast('cpu', torch.bfloat16):
        assert net(torch.rand(1, 1, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize('size', [(1, 1), (5, 3), (40, 33)])
def test_sharpens_as_scipy_in_evaluation_only(size):
    """The network starts as the identity: what comes out is the unsharp mask of the image."""
    x = torch.rand(2, 1, *size)
    net = tiny(sharpen=0.7)
    assert torch.equal(net.train()(x), x)
    mirrored = pad_to_multiple(x, 4).numpy()
    blurred = gaussian_filter(mirrored, (0, 0, 1, 1), truncate=3.0, mode='nearest')
    expected = x + 0.7 * (x - torch.from_numpy(blurred)[..., : size[0], : size[1]])
    torch.testing.assert_close(net.eval()(x), expected)
    assert net.receptive_radius == tiny().receptive_radius + 3
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(net(x), expected)


def test_adaptive_sharpening_as_written_with_scipy():
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.random((50, 41)), 1.5)
    net = tiny(sharpen=dict(amount=1.5, edge=0.01, damping=0.6, faint=0.04)).eval()

    def detail(scale, level):
        fine = image - gaussian_filter(image, scale, truncate=3.0, mode='nearest')
        near = gaussian_filter(np.abs(fine), 2 * scale, truncate=3.0, mode='nearest')
        return fine, near**2 / (near**2 + level**2)

    (fine, edge), (coarse, clear) = detail(1.0, 0.01), detail(3.0, 0.04)
    expected = image + 1.5 * edge * fine - 0.6 * (1 - clear) * coarse
    x = torch.from_numpy(image).float()[None, None, :48, :40]
    with torch.no_grad():
        got = net(torch.from_numpy(image).float()[None, None])
    # 50 x 41 is mirrored up to a multiple of four: the same away from that border.
    np.testing.assert_allclose(got[0, 0, :20, :10], expected[:20, :10], atol=1e-5)
    assert net(x).shape == x.shape


def test_sharpening_reaches_as_far_as_it_says():
    for options in (
        dict(amount=1),
        dict(amount=1, edge=0.1),
        dict(amount=0, damping=1),
        dict(amount=1, edge=0.1, damping=0.5),
        dict(amount=0),
    ):
        sharpen = Sharpening(**options)
        x = (
            torch.rand(1, 1, 101, 101, generator=torch.Generator().manual_seed(0))
            .double()
            .requires_grad_()
        )
        sharpen(x)[0, 0, 50, 50].backward()
        rows = x.grad[0, 0].abs().sum(1).nonzero().ravel()
        assert max(50 - rows.min().item(), rows.max().item() - 50) == sharpen.radius


def test_faint_structure_fades_and_strong_structure_stays():
    """Discs of 2 % and 40 % contrast on flat ground, of eight pixels' radius."""
    yy, xx = np.mgrid[0:80, 0:160]
    disc = [gaussian_filter(1.0 * (np.hypot(yy - 40, xx - x) < 8), 1.0) for x in (40, 120)]
    image = 0.3 + 0.02 * disc[0] + 0.4 * disc[1]
    out = Sharpening(amount=1.5, edge=0.01, damping=0.6, faint=0.04)(
        torch.from_numpy(image)[None, None]
    )[0, 0].numpy()
    slope = [
        np.abs(np.diff(x[40, column])).max()
        for x in (image, out)
        for column in (slice(20, 60), slice(100, 140))
    ]
    assert slope[2] < slope[0] and slope[3] > 1.15 * slope[1]
    assert out[40, 120] == pytest.approx(image[40, 120], abs=0.02)
    flat = torch.full((1, 1, 30, 30), 0.37, dtype=torch.float64)
    torch.testing.assert_close(Sharpening(1.5, 0.01, 0.8)(flat), flat)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(sharpen=dict(amount=1, damping=1.1)), 'damping'),
        (dict(sharpen=dict(amount=1, edge=-1)), 'edge'),
        (dict(sharpen=dict(amount=1, faint=0)), 'faint'),
        (dict(sharpen=-0.1), 'sharpen'),
        (dict(sharpen=float('nan')), 'sharpen'),
        (dict(upsampling='cubic'), 'upsampling'),
        (dict(in_channels=2), 'residual'),
        (dict(base_channels=0), 'at least 1'),
        (dict(depth=-1), 'depth'),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        SEMUNet(**options)


@pytest.mark.parametrize('shape', [(1, 3, 8, 8), (1, 8, 8), (1, 1, 0, 8)])
def test_refuses_shapes(shape):
    with pytest.raises(ValueError, match='SEMUNet takes'):
        tiny()(torch.zeros(shape))


def edit_model():
    return MODELS.build(
        dict(
            type='BaseEditModel',
            generator=dict(type='SEMUNet', base_channels=4, depth=2),
            pixel_loss=dict(type='MSELoss'),
            data_preprocessor=dict(type='DataPreprocessor', mean=[0.0], std=[255.0]),
        )
    )


def pix2pix():
    norm = dict(type='IN', affine=True)
    return MODELS.build(
        dict(
            type='SEMPix2Pix',
            default_domain='high',
            reachable_domains=['high'],
            related_domains=['high', 'low'],
            generator=dict(
                type='UnetGenerator',
                in_channels=1,
                out_channels=1,
                num_down=5,
                base_channels=4,
                norm_cfg=norm,
            ),
            discriminator=dict(
                type='PatchDiscriminator', in_channels=2, base_channels=4, norm_cfg=norm
            ),
            data_preprocessor=dict(type='DataPreprocessor', mean=[127.5], std=[127.5]),
        )
    )


def test_restore_batch_undoes_the_normalisation():
    model = edit_model()
    model.init_weights()
    x = torch.rand(2, 1, 19, 23)
    assert torch.allclose(restore_batch(model, x), x, atol=1e-6)
    assert isinstance(generator_of(model), SEMUNet)


@pytest.mark.parametrize('size', [(32, 32), (40, 75), (7, 5)])
def test_pix2pix_restores_any_size(size):
    model = pix2pix()
    model.init_weights()
    out = restore_batch(model.eval(), torch.rand(2, 1, *size))
    assert out.shape == (2, 1, *size)
    assert out.min() >= 0 and out.max() <= 1


def test_restore_batch_refuses():
    with pytest.raises(ValueError, match='N, 1, H, W'):
        restore_batch(edit_model(), torch.rand(1, 3, 8, 8))
    with pytest.raises(TypeError, match='no restorer'):
        generator_of(torch.nn.Identity())
