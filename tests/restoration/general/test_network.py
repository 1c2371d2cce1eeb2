"""The general network: any size, what it reads, and that it does what it ships for."""

import numpy as np
import pytest
import torch

from mmclarity.errors import CheckpointError
from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.general import GeneralUNet, appraise, load_general, restore_general
from mmclarity.restoration.general.content import KINDS, make_structure
from mmclarity.restoration.general.patches import Ranges, draw_example
from mmclarity.restoration.general.weights import PHASE, WEIGHTS
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

NOISE = torch.tensor([[0.01, 0.001, 0.4]])


def psnr(image, reference):
    return -10 * np.log10(np.mean((image - reference) ** 2))


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (17, 33), (16, 16), (40, 7)])
def test_any_size_comes_back_and_training_starts_from_the_identity(size):
    image = torch.rand(1, 1, *size)
    assert torch.equal(GeneralUNet((8, 8))(image, NOISE), image)


def test_refuses_other_shapes():
    net = GeneralUNet((8, 8))
    with pytest.raises(ValueError, match='images must be'):
        net(torch.rand(1, 2, 8, 8), NOISE)
    with pytest.raises(ValueError, match=r'noise must be \(2, 3\)'):
        net(torch.rand(2, 1, 8, 8), NOISE)


def test_receptive_radius_covers_what_is_read():
    net = GeneralUNet((4, 4, 4)).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.uniform_(module.weight, 0.1, 0.2)
    image = torch.full((1, 1, 256, 256), 0.5, requires_grad=True)
    net(image, NOISE)[0, 0, 128, 128].backward()
    reached = torch.nonzero(image.grad[0, 0].abs() > 0)
    # 128 is a corner of the grid, so that one side reaches further
    assert (reached - 128).abs().max() <= net.receptive_radius


def test_shipped_weights_are_small_and_half_precision():
    from safetensors import safe_open

    assert WEIGHTS.stat().st_size < 4 << 20
    with safe_open(WEIGHTS, 'pt') as file:
        assert file.metadata()['network'] == 'GeneralUNet'
        assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118


def test_missing_damaged_and_other_weights(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(CheckpointError, match='no such file'):
        load_general(tmp_path / 'none.safetensors')
    (tmp_path / 'cut.safetensors').write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match='can not be read'):
        load_general(tmp_path / 'cut.safetensors')
    save_file({'other': torch.zeros(2)}, tmp_path / 'other.safetensors')
    with pytest.raises(CheckpointError, match='another network'):
        load_general(tmp_path / 'other.safetensors')


@pytest.mark.parametrize('sigma', [0.04, 0.1, 0.2])
@pytest.mark.parametrize('correlation', [(), (0.5, 0.1)])
def test_restores_what_it_never_saw(sigma, correlation):
    # seeds far from those of training
    spheres = make_phantom(PhantomSettings(192, median_radius=7), 9001).image
    for clean in (spheres, make_structure('pores', 192, 9001)):
        variance = np.full(clean.shape, sigma**2, np.float32)
        noisy = detector_noise(
            clean, variance, line_filter(correlation), np.random.default_rng(0), None
        )
        restored = Restorer()(noisy, data_range='measured')
        low, high = noisy.min(), noisy.max()
        assert psnr(low + restored * (high - low), clean) > psnr(noisy, clean) + 5


@pytest.mark.parametrize('size', [(160, 175), (24, 97), (5, 12)])
def test_the_second_look_is_that_of_the_turned_image(size):
    """Its grid starts at the far end, so that the image is mirrored beyond that as it has to be."""
    image = np.random.default_rng(1).uniform(0.2, 0.8, size).astype(np.float32)
    net, like, levels = load_general(), appraise(image), torch.from_numpy(image)[None, None]
    with torch.inference_mode():
        one, both = (restore_general(net, levels, like, twice=twice) for twice in (False, True))
        mode = 'reflect' if min(size) > 31 else 'edge'
        rows, columns = ((16, 16 + (PHASE - 16 - length) % 16) for length in size)
        turned = np.pad(image * like.gain + like.offset, (rows, columns), mode)[::-1, ::-1]
        noise = torch.tensor([like.told()], dtype=torch.float32)
        look = net(torch.from_numpy(turned.copy())[None, None], noise)[0, 0].numpy()[::-1, ::-1]
    look = (look[16 : 16 + size[0], 16 : 16 + size[1]] - like.offset) / like.gain
    np.testing.assert_allclose(2 * both[0, 0].numpy() - one[0, 0].numpy(), look, atol=2e-5)
    assert np.abs(look - one[0, 0].numpy()).max() > 1e-3


def test_two_looks_keep_less_of_the_noise():
    noise = 0.1 * np.random.default_rng(2).standard_normal((256, 256))
    clean = make_phantom(PhantomSettings(256, median_radius=6), 9003).image
    levels = torch.from_numpy((clean + noise).astype(np.float32))[None, None]
    net, like = load_general(), appraise(levels[0, 0].numpy())
    with torch.inference_mode():
        errors = [
            np.mean((restore_general(net, levels, like, twice=twice)[0, 0].numpy() - clean) ** 2)
            for twice in (False, True)
        ]
    assert errors[1] < 0.98 * errors[0]


def test_grey_levels_of_all_kinds_give_one_result():
    clean = make_phantom(PhantomSettings(128, median_radius=7), 9002).image
    noisy = np.clip(clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape), 0, 1)
    restorer = Restorer(dtype='float32')
    twelve = np.rint(noisy * 4095).astype(np.uint16)
    plain = restorer(twelve, data_range=4095)
    assert np.abs(restorer(twelve) * 65535 / 4095 - plain).max() < 1e-3
    signed = twelve.astype(np.int16) - 2000
    low, high = int(signed.min()), int(signed.max())
    back = (low + restorer(signed) * (high - low) + 2000) / 4095
    assert np.abs(back - plain).max() < 1e-3


def test_config_and_checkpoint_go_together():
    with pytest.raises(ValueError, match='a config needs a checkpoint'):
        Restorer(checkpoint='iter_3000.pth')
    with pytest.raises(ValueError, match='strength'):
        Restorer(strength=0)


def test_tiles_are_the_whole_image():
    image = np.random.default_rng(0).integers(60, 200, (300, 420), np.uint8)
    whole = Restorer(dtype='float32', tile=512)(image)
    tiles = Restorer(dtype='float32', tile=256)(image)
    assert np.abs(whole - tiles).max() < 2e-3


def test_words_about_the_image_and_warnings():
    lines = []
    image = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    with pytest.warns(UserWarning, match='slower scan|hardly any|no contrast|went up'):
        Restorer(tell=lines.append)(image)
    assert any('no black and white of its own' in line for line in lines)
    assert any('noise is' in line for line in lines)


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_structures_are_pictures_of_their_seed(kind):
    image = make_structure(kind, 64, 5)
    assert image.shape == (64, 64)
    assert 0 <= image.min() < image.max() <= 1
    assert np.array_equal(image, make_structure(kind, 64, 5))
    assert not np.array_equal(image, make_structure(kind, 64, 6))


def test_examples_carry_the_noise_that_is_told():
    clean = np.full((200, 200), 0.5, np.float32)
    rng = np.random.default_rng(0)
    ranges = Ranges(*[(0.1, 0.1)] * 3, contrast=(1.0, 1.0))
    ratios = []
    for _ in range(40):
        example = draw_example(clean, 96, rng, ranges)
        assert example.noisy.shape == example.clean.shape == (96, 96)
        level = example.clean.mean()
        told = np.sqrt(example.noise[0] * level + example.noise[1])
        ratios.append((example.noisy - example.clean).std() / told)
    assert np.median(ratios) == pytest.approx(1, abs=0.06)
    assert appraise(example.noisy).sigma > 0


def test_the_edge_is_restored_as_the_middle():
    clean = np.full((128, 128), 0.5, np.float32)
    clean[40:80, 30:90] = 0.9
    noisy = clean + 0.1 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)
    low, high = noisy.min(), noisy.max()
    error = low + Restorer()(noisy) * (high - low) - clean
    for edge in (error[0], error[-1], error[:, 0], error[:, -1]):
        assert np.abs(edge).mean() < 0.04  # the noise itself has 0.08
