"""The general network: any size, what it reads, and that it does what it ships for."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mmclarity.errors import CheckpointError
from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.evaluation.fabrication import count_fabrications
from mmclarity.restoration.general import GeneralUNet, appraise, load_general, restore_general
from mmclarity.restoration.general.appraisal import BOLD, CAREFUL, UNSURE, Appraisal
from mmclarity.restoration.general.content import KINDS, make_structure
from mmclarity.restoration.general.network import grown, widths_of
from mmclarity.restoration.general.patches import Ranges, draw_example
from mmclarity.restoration.general.weights import DETAIL, PHASE, WEIGHTS, agreement
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

    assert WEIGHTS.stat().st_size < 7 << 20
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


def drawn(*widths: int) -> GeneralUNet:
    """A network that does something: no weight is zero."""
    net = GeneralUNet(widths).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return net


def test_weights_say_how_wide_their_network_is(tmp_path):
    """Of `mmclarity-adapt` and of older versions, they may be narrower than those that ship."""
    from safetensors.torch import save_file

    net = drawn(4, 6, 5)
    state = {name: value.half() for name, value in net.state_dict().items()}
    assert widths_of(state) == (4, 6, 5)
    save_file(state, tmp_path / 'narrow.safetensors')
    loaded = load_general(tmp_path / 'narrow.safetensors')
    image = torch.rand(1, 1, 40, 56)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image, NOISE), net(image, NOISE), atol=5e-3, rtol=0)
    restored = Restorer(checkpoint=tmp_path / 'narrow.safetensors')(image[0, 0].numpy(), 1.0)
    assert restored.shape == (40, 56)
    assert load_general().widths == GeneralUNet().widths  # the default is what ships

    del state['decoder.0.0.weight']
    save_file(state, tmp_path / 'part.safetensors')
    with pytest.raises(CheckpointError, match='another network'):
        load_general(tmp_path / 'part.safetensors')


def test_a_grown_network_gives_what_the_narrow_one_gives():
    torch.manual_seed(0)
    narrow, wide = drawn(3, 5, 4), GeneralUNet((7, 5, 6)).eval()
    wide.load_state_dict(grown(narrow.state_dict(), wide.widths))
    image, noise = torch.rand(2, 1, 40, 56), 0.1 * torch.rand(2, 3)
    torch.testing.assert_close(wide(image, noise), narrow(image, noise), atol=2e-5, rtol=1e-5)
    # but the new channels learn from the first step on: what they say is alive, only unheard
    wide(image, noise).square().sum().backward()
    heard = wide.last.weight.grad[:, 3:]
    assert heard.abs().amax((0, 2, 3)).min() > 0
    same = grown(narrow.state_dict(), (3, 5, 4))
    assert all(torch.equal(same[name], value) for name, value in narrow.state_dict().items())


@pytest.mark.parametrize('widths', [(3, 5), (3, 4, 4), (3, 5, 4, 4)])
def test_a_network_grows_only_wider(widths):
    with pytest.raises(ValueError, match='can not grow'):
        grown(drawn(3, 5, 4).state_dict(), widths)
    with pytest.raises(ValueError, match='no weights of the general'):
        grown({'other': torch.zeros(1)}, widths)


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


def agreed(one, other):
    """What both have beyond a Gaussian, on the grey levels of the first; with scipy."""
    blurred = [gaussian_filter(x, DETAIL, mode='nearest', truncate=3) for x in (one, other)]
    details = np.stack([one - blurred[0], other - blurred[1]])
    smaller = np.where(np.abs(details[0]) < np.abs(details[1]), *details)
    return blurred[0] + np.where(details[0] * details[1] > 0, smaller, 0)


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
        noise = torch.tensor([like.told(like.second_look)], dtype=torch.float32)
        look = net(torch.from_numpy(turned.copy())[None, None], noise)[0, 0].numpy()[::-1, ::-1]
    look = (look[16 : 16 + size[0], 16 : 16 + size[1]] - like.offset) / like.gain
    first = one[0, 0].numpy()
    assert first.min() > 0 and first.max() < 1  # nothing was cut off
    np.testing.assert_allclose(both[0, 0].numpy(), agreed(first, look), atol=2e-5)
    assert np.abs(look - first).max() > 1e-3


def test_the_second_look_is_the_more_careful_the_more_noise_there_is():
    def second(sigma, correlation=0.0):
        like = Appraisal(0.0, (0.9 * sigma) ** 2, correlation, 0.0, 0.0, 1.0)
        assert like.sigma == pytest.approx(sigma)
        return like.second_look

    assert second(0.0) == second(0.02) == BOLD
    assert second(0.2) == second(0.1) == pytest.approx(CAREFUL)
    factors = [second(sigma) for sigma in np.linspace(0.03, 0.1, 9)]
    assert (np.diff(factors) > 0.03).all()
    assert second(0.249) == pytest.approx(CAREFUL)  # drowned in noise: by its root
    assert second(0.5) == pytest.approx(CAREFUL * 2**0.5)
    assert second(0.3, 0.6) == pytest.approx(second(0.6))

    def smoothed(across):  # its noise is underestimated
        return Appraisal(0.0, (0.9 * 0.02) ** 2, 0.5, across, 0.0, 1.0).second_look

    assert smoothed(0.2) < CAREFUL < smoothed(0.21) < 1.05 * CAREFUL
    assert smoothed(0.485) == pytest.approx(CAREFUL * UNSURE**0.5)
    assert smoothed(0.8) == smoothed(0.9) == pytest.approx(CAREFUL * UNSURE)
    # of pixels that share 0.6 of their noise, means along the line have twice as much
    assert second(0.02, 0.6) == pytest.approx(second(0.04))


def test_detail_that_one_look_alone_has_is_gone():
    """Of what both have, the fainter; of blobs of deviation 2, smoothing by 3 leaves 4/13."""
    y, x = np.indices((64, 96))
    blob = lambda column: np.exp(-((y - 32) ** 2 + (x - column) ** 2) / 8)  # noqa: E731
    ramp = 0.2 + 0.004 * x
    first, second = ramp + 0.3 * blob(20) + 0.2 * blob(50), ramp + 0.1 * blob(20) - 0.2 * blob(80)
    both = agreement(*(torch.from_numpy(i).float()[None, None] for i in (first, second + 0.1)))
    rise = both[0, 0].numpy() - ramp
    assert rise[32, 20] == pytest.approx(0.3 * 4 / 13 + 0.1 * 9 / 13, abs=5e-3)
    assert rise[32, 50] == pytest.approx(0.2 * 4 / 13, abs=5e-3)
    assert abs(rise[32, 80]) < 5e-3
    assert np.abs(rise[:, :6]).max() < 0.02  # another grey level of the second look is not taken


def test_two_looks_invent_less():
    invented = np.zeros(2)
    for seed in range(3):
        noise = 0.12 * np.random.default_rng(seed).standard_normal((256, 256))
        clean = make_phantom(PhantomSettings(256, median_radius=6), 9003 + seed).image
        levels = torch.from_numpy((clean + noise).astype(np.float32))[None, None]
        net, like = load_general(), appraise(levels[0, 0].numpy())
        with torch.inference_mode():
            looks = [restore_general(net, levels, like, twice=twice) for twice in (False, True)]
        for i, look in enumerate(looks):
            counts = count_fabrications(look[0, 0].numpy(), clean, (0.02, 0.03))
            invented[i] += sum(one['fabricated'] for one in counts)
    assert invented[1] < 0.7 * invented[0]


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
    assert 0 < np.abs(whole - tiles).max() < 2e-3


@pytest.mark.parametrize('widths', [(6, 6), (6, 6, 6, 6)])
def test_what_is_spare_is_left_out_and_sways_nothing_else(widths):
    net, image = drawn(*widths), torch.rand(1, 1, 163, 150)
    with torch.inference_mode():
        whole = net(image, NOISE)
        for first in range(40):  # every place on the grids, and beyond what is read
            spare = (first, 41 - first, 0, first)
            part = net(image, NOISE, spare)
            wanted = whole[..., first : 163 - 41 + first, : 150 - first]
            torch.testing.assert_close(part, wanted, atol=1e-5, rtol=1e-5)
        for spare in ((-1, 0, 0, 0), (100, 63, 0, 0)):
            with pytest.raises(ValueError, match='not to spare of 163 x 150'):
                net(image, NOISE, spare)


@pytest.mark.parametrize('twice', [False, True])
def test_a_part_of_an_image_is_restored_as_in_the_whole(twice):
    like = Appraisal(0.01, 0.01, 0.3, 0.0, 0.1, 0.9)
    image = torch.from_numpy(np.random.default_rng(0).random((1, 1, 130, 141), np.float32))
    with torch.inference_mode():
        whole = restore_general(load_general(), image, like, 1.0, twice)
        for spare in ((0, 70, 5, 0), (33, 0, 12, 90)):
            part = restore_general(load_general(), image, like, 1.0, twice, spare)
            wanted = whole[..., spare[0] : 130 - spare[1], spare[2] : 141 - spare[3]]
            torch.testing.assert_close(part, wanted, atol=1e-5, rtol=1e-5)


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


def test_a_hot_pixel_spoils_nothing_but_itself():
    """A pixel of 50 times the contrast, as in images in volts, is no picture for the network."""
    clean = make_phantom(PhantomSettings(128, median_radius=7), 9002).image
    volts = 0.5 * (clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape)) - 0.3
    volts = volts.astype(np.float32)
    hot = volts.copy()
    hot[40, 70] = 25.0
    restored = []
    for image in (volts, hot):
        levels = Restorer(dtype='float32')(image)
        restored.append(image.min() + levels * (image.max() - image.min()))
    assert restored[1][40, 70] > 20
    apart = np.abs(restored[1] - restored[0])
    apart[32:49, 62:79] = 0
    assert apart.max() < 0.02
