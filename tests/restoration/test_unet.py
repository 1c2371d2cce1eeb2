"""SEMUNet: any size, any option, one image at a time."""
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.registry import DefaultScope
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.models import SEMUNet, generator_of, restore_batch
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
    expected = (x + 0.7 * (x - torch.from_numpy(blurred)[..., :size[0], :size[1]]))
    torch.testing.assert_close(net.eval()(x), expected)
    assert net.receptive_radius == tiny().receptive_radius + 3
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize('options, message', [
    (dict(sharpen=-0.1), 'sharpen'), (dict(sharpen=float('nan')), 'sharpen'),
    (dict(upsampling='cubic'), 'upsampling'), (dict(in_channels=2), 'residual'),
    (dict(base_channels=0), 'at least 1'), (dict(depth=-1), 'depth')])
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        SEMUNet(**options)


@pytest.mark.parametrize('shape', [(1, 3, 8, 8), (1, 8, 8), (1, 1, 0, 8)])
def test_refuses_shapes(shape):
    with pytest.raises(ValueError, match='SEMUNet takes'):
        tiny()(torch.zeros(shape))


def edit_model():
    return MODELS.build(dict(
        type='BaseEditModel', generator=dict(type='SEMUNet', base_channels=4, depth=2),
        pixel_loss=dict(type='MSELoss'),
        data_preprocessor=dict(type='DataPreprocessor', mean=[0.0], std=[255.0])))


def pix2pix():
    norm = dict(type='IN', affine=True)
    return MODELS.build(dict(
        type='SEMPix2Pix', default_domain='high', reachable_domains=['high'],
        related_domains=['high', 'low'],
        generator=dict(type='UnetGenerator', in_channels=1, out_channels=1, num_down=5,
                       base_channels=4, norm_cfg=norm),
        discriminator=dict(type='PatchDiscriminator', in_channels=2, base_channels=4,
                           norm_cfg=norm),
        data_preprocessor=dict(type='DataPreprocessor', mean=[127.5], std=[127.5])))


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
