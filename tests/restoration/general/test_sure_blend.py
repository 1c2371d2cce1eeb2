"""The share of non-local means in a restoration, told without the truth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from mmclarity.restoration import Restorer
from mmclarity.restoration.general import residual_structure, sure_blend
from mmclarity.restoration.general.appraising import appraise
from mmclarity.restoration.general.residual_structure import non_local_means
from mmclarity.restoration.general.sure_blend import blend_by_sure
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIZE, SIGMA = 256, 0.05


def boxes(seed=7):
    """Rectangles of even grey: edges of one pixel."""
    rng = np.random.default_rng(seed)
    image = np.full((SIZE, SIZE), 60, np.uint8)
    for _ in range(14):
        x, y = (int(v) for v in rng.integers(0, SIZE, 2))
        right, bottom = x + int(rng.integers(10, 90)), y + int(rng.integers(5, 60))
        cv2.rectangle(image, (x, y), (right, bottom), int(rng.integers(80, 230)), -1)
    return image / 255.0


def noise(kind, shape, seed=1):
    rng = np.random.default_rng(seed)
    if kind == 'heavy tails':
        return SIGMA * rng.standard_t(3, shape) / np.sqrt(3)
    white = rng.standard_normal((shape[0], shape[1] + 32))
    if kind == 'along the line':
        white = lfilter([np.sqrt(0.75)], [1, -0.5], white, axis=1)
    return SIGMA * white[:, 32:]


def eight_bits(image):
    return (255 * image.clip(0, 1)).round().astype(np.uint8)


def psnr(image, clean):
    return -10 * np.log10(np.mean(np.square(image - clean)))


def softened(image):
    """A restoration by hand, as a function of the levels: its noise is gone, and its edges."""
    return gaussian_filter(image, 2).astype(np.float32)


def by_truth(clean):
    """A restoration that knows the truth, whatever it is shown."""
    places = {clean.shape: clean.astype(np.float32)}
    return lambda image: places.get(image.shape, np.zeros(image.shape, np.float32))


def test_shares_are_those_of_the_least_error():
    """Against the best share there is, which the truth tells."""
    clean = boxes()
    for kind in ('white', 'along the line'):
        noisy = (clean + noise(kind, clean.shape)).astype(np.float32)
        like = appraise(noisy)
        like = replace(like, slope=0.0, intercept=(SIGMA * like.gain) ** 2)
        answer = softened(noisy)
        both = sure_blend._Both(noisy, answer, like, 1.0, 0.0)
        both.uneven[:] = 1
        assert len(both.windows()) == 1
        ((square, towards, trace, pixels),) = both.evidence(softened, [sure_blend._means])
        apart = non_local_means(noisy, SIGMA) - answer
        apart[sure_blend._is_lone(noisy, np.full_like(noisy, SIGMA**2))] = 0
        step = np.digitize(sure_blend._far(apart, np.full_like(noisy, SIGMA**2)), sure_blend.APART)
        assert pixels.sum() == noisy.size
        for i in range(len(pixels)):
            if square[i] < 2000:
                continue
            own = step == i
            best = np.vdot(apart[own], (clean - answer)[own]) / np.vdot(apart[own], apart[own])
            found = (towards[i] - trace[i]) / square[i]
            assert found == pytest.approx(best, abs=0.12), (kind, i)


def test_shares_by_hand():
    steps = len(sure_blend.APART) + 1
    pixels = np.full(steps, 1000.0)
    square = np.full(steps, 400.0)
    zero = np.zeros(steps)
    # two deviations of chance, 2 / 20, are taken off
    assert sure_blend._shares(np.stack([square, 0.8 * square, zero, pixels])) == pytest.approx(0.7)
    # noise that comes through the means is charged by 1.3, where less does 0.9 of it is credited
    charged = sure_blend._shares(np.stack([square, 0.8 * square, 0.1 * square, pixels]))
    assert charged == pytest.approx(0.8 - 0.13 - 0.1)
    credited = sure_blend._shares(np.stack([square, 0.5 * square, -0.2 * square, pixels]))
    assert credited == pytest.approx(0.5 + 0.18 - 0.1)
    # too little evidence; a gain of 0.3^2 * 0.4 is too small
    assert (sure_blend._shares(np.stack([square / 8, square / 8, zero, pixels])) == 0).all()
    assert (sure_blend._shares(np.stack([square, 0.4 * square, zero, pixels])) == 0).all()
    assert (sure_blend._shares(np.stack([square, -square, zero, pixels])) == 0).all()
    assert sure_blend._shares(np.stack([square, 3 * square, zero, pixels])) == pytest.approx(1)


@pytest.mark.parametrize('kind', ['white', 'along the line', 'heavy tails'])
def test_sharp_edges_come_back_closer_to_the_truth(kind):
    clean = boxes()
    pixels = eight_bits(clean + noise(kind, clean.shape))
    noisy = (pixels / 255).astype(np.float32)
    soft = softened(noisy)
    answer = soft.copy()
    share = blend_by_sure(noisy, answer, appraise(noisy), softened)
    assert 0.05 < share < 1
    assert psnr(answer, clean) > psnr(soft, clean) + 3
    # the same of other levels
    other = soft.copy()
    found = blend_by_sure(
        noisy * 100 + 20, other, appraise(noisy), lambda part: softened((part - 20) / 100), 100, 20
    )
    assert found == pytest.approx(share, abs=1e-3)
    np.testing.assert_allclose(other, answer, atol=1e-3)


def test_lone_pixels_of_heavy_tails_stay_away():
    """Means keep them, and they look like structure."""
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    noisy = (phantom + noise('heavy tails', phantom.shape)).clip(0, 1).astype(np.float32)
    answer = phantom.astype(np.float32)
    blend_by_sure(noisy, answer, appraise(noisy), by_truth(phantom))
    assert psnr(answer, phantom) > 45


def test_the_shipped_network_gives_them_a_share(recwarn):
    clean = boxes(3)
    restorer = Restorer(dtype='float32')
    pixels = eight_bits(clean + noise('white', clean.shape))
    with pytest.warns(UserWarning, match='non-local means are closer to the truth'):
        answer = restorer(pixels)
    told = Restorer(dtype='float32', strength=1.01)(pixels)  # more is to be taken away: none
    assert psnr(answer, clean) > psnr(told, clean) + 2


def test_of_a_lattice_what_is_sure_has_the_share():
    """No two places of it are more alike than its noise: means are no help."""
    along = 2 * np.pi * np.arange(SIZE) / 5
    clean = 0.5 + 0.12 * (np.cos(along)[:, None] + np.cos(along))
    noisy = (clean + noise('white', clean.shape)).astype(np.float32)
    like = appraise(noisy)
    assert like.structure == 'fine'

    def keep_half(part):
        return (gaussian_filter(part, 0.8) + part).astype(np.float32) / 2

    answers = {}
    for structure in ('fine', ''):
        answers[structure] = keep_half(noisy)
        share = blend_by_sure(
            noisy, answers[structure], replace(like, structure=structure), keep_half
        )
        assert share > 0.5
    assert psnr(answers['fine'], clean) > psnr(noisy, clean) + 8
    assert psnr(answers['fine'], clean) > psnr(answers[''], clean) + 1


def test_they_have_none_where_the_network_is_the_better():
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    for kind in ('white', 'along the line'):
        noisy = (phantom + noise(kind, phantom.shape)).clip(0, 1).astype(np.float32)
        near = phantom.astype(np.float32)
        before = near.copy()
        assert blend_by_sure(noisy, near, appraise(noisy), by_truth(phantom)) == 0, kind
        np.testing.assert_array_equal(near, before)


def test_noise_that_is_stronger_than_measured_is_no_structure():
    """By half its variance, everywhere: what all places have."""
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    like = appraise((phantom + noise('white', phantom.shape)).astype(np.float32))
    noisy = (phantom + 1.22 * noise('white', phantom.shape)).astype(np.float32)
    assert blend_by_sure(noisy, phantom.astype(np.float32), like, by_truth(phantom)) == 0


def test_being_smoother_is_no_reason_where_texture_passes_for_noise():
    """Noise is said to be three times as strong: means would take the texture away."""
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 1)
    clean = 0.5 + 0.05 * texture / texture.std()
    noisy = (clean + 0.02 * rng.standard_normal(clean.shape)).astype(np.float32)
    like = appraise(noisy)
    like = replace(like, slope=0.0, intercept=(0.06 * like.gain) ** 2)
    answer = noisy.copy()
    blend_by_sure(noisy, answer, like, lambda part: part.copy())
    assert psnr(answer, clean) > psnr(noisy, clean) - 0.5


def test_bands_do_not_show(monkeypatch):
    clean = boxes()
    noisy = (clean + noise('white', clean.shape)).astype(np.float32)
    like = replace(appraise(noisy), slope=0.0)
    soft, answers = softened(noisy), []
    shares = np.linspace(0, 1, len(sure_blend.APART) + 1)
    for rows in (256, 64):
        monkeypatch.setattr(sure_blend, 'BAND', rows)
        answers.append(soft.copy())
        both = sure_blend._Both(noisy, answers[-1], like, 1.0, 0.0)
        both.uneven[:] = 1
        both.take(shares, sure_blend._means)
    np.testing.assert_allclose(*answers, atol=1e-4)
    assert not np.allclose(answers[0], soft, atol=0.01)


def test_threads_change_nothing(monkeypatch):
    """Bands are read before those above them are written, or after, as it happens."""
    monkeypatch.setattr(sure_blend, 'BAND', 64)
    monkeypatch.setattr(residual_structure, 'BAND', 64)
    clean = np.tile(boxes(), (2, 1))
    noisy = (clean + noise('white', clean.shape)).astype(np.float32)
    like, before, answers = appraise(noisy), torch.get_num_threads(), []
    where = np.ones([-(-side // residual_structure.STEP) + 1 for side in noisy.shape], bool)
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            by_shares, by_means = softened(noisy), softened(noisy)
            assert sure_blend.blend_by_sure(noisy, by_shares, like, softened) > 0.1
            residual_structure._take_means(noisy, by_means, where, like, 1.0, 0.0)
            answers.append((by_shares, by_means))
    finally:
        torch.set_num_threads(before)
    for found in answers[1:]:
        for one, other in zip(answers[0], found):
            np.testing.assert_array_equal(one, other)
    assert np.abs(answers[0][1] - softened(noisy)).max() > 0.05


def test_few_windows_of_a_large_image_are_restored_again():
    clean = np.full((900, 1000), 0.3)
    clean[600:856, 500:756] = boxes()
    noisy = (clean + noise('white', clean.shape)).astype(np.float32)
    asked = []

    def restore(part):
        asked.append(part.size)
        return softened(part)

    answer = softened(noisy)
    assert blend_by_sure(noisy, answer, appraise(noisy), restore) > 0
    assert len(asked) == 4 and sum(asked) < 0.15 * noisy.size
    # the place where most was taken away is among them
    assert psnr(answer, clean) > psnr(softened(noisy), clean) + 2


def test_noise_of_few_electrons_and_noise_that_grows_are_no_structure():
    """Both are stronger in places than they are measured to be on the whole."""
    phantom = make_phantom(PhantomSettings(SIZE), 2).image.astype(np.float64)
    rng = np.random.default_rng(4)
    growing = phantom + rng.standard_normal(phantom.shape) * np.linspace(0.02, 0.12, SIZE)
    for noisy in (rng.poisson(16 * phantom) / 16, rng.poisson(60 * phantom) / 60, growing):
        noisy = noisy.clip(0, 1).astype(np.float32)
        answer = phantom.astype(np.float32)
        blend_by_sure(noisy, answer, appraise(noisy), by_truth(phantom))
        assert np.sqrt(np.mean(np.square(answer - phantom))) < 0.004


@pytest.mark.parametrize('shape', [(257, 300), (1025, 130), (70, 70), (64, 2000)])
def test_bands_and_blocks_that_are_cut_off(shape):
    rng = np.random.default_rng(0)
    places = [np.arange(side) // 16 for side in shape]
    clean = rng.random((shape[0] // 16 + 1, shape[1] // 16 + 1))[np.ix_(*places)]
    noisy = (clean + noise('white', shape)).astype(np.float32)
    answer = softened(noisy)
    before = psnr(answer, clean)
    assert 0.3 < blend_by_sure(noisy, answer, appraise(noisy), softened) <= 1
    assert psnr(answer, clean) > before + 6


@pytest.mark.parametrize('shape', [(20, 300), (300, 20), (1, 1)])
def test_small_images_stay_as_they_are(shape):
    noisy = np.random.default_rng(0).random(shape).astype(np.float32)
    restored = np.full(shape, 0.5, np.float32)
    assert blend_by_sure(noisy, restored, appraise(noisy), softened) == 0
    assert (restored == 0.5).all()


def test_odd_sizes_pure_noise_and_scans_from_top_to_bottom():
    clean = boxes()[:251, :203]
    noisy = (clean + noise('along the line', clean.shape)).astype(np.float32)
    like = appraise(noisy)
    soft = softened(noisy)
    lying, upright = soft.copy(), soft.T.copy()
    assert blend_by_sure(noisy, lying, like, softened) > 0
    blend_by_sure(noisy.T.copy(), upright, replace(like, upright=True), softened)
    np.testing.assert_allclose(upright.T, lying, atol=1e-6)
    alone = (0.5 + noise('white', (SIZE, SIZE))).astype(np.float32)
    flat = np.full((SIZE, SIZE), 0.5, np.float32)
    assert blend_by_sure(alone, flat, appraise(alone), by_truth(flat)) == 0
