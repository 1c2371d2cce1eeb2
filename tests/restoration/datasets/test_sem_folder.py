"""Folders of SEM images: pairs are brought together or refused."""

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from mmclarity.restoration.datasets import RandomSEMCrop, SEMFolderDataset
from mmclarity.restoration.evaluation.report import RestorationReport
from mmclarity.restoration.ops.registration import move


def scene(seed, shape=(200, 220)):
    image = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    return (128 + 30 * image / image.std()).clip(0, 255)


def save(path, image, kind=np.uint8):
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, np.rint(np.clip(image, 0, np.iinfo(kind).max)).astype(kind))


@pytest.fixture
def root(tmp_path):
    for seed in range(2):
        image = scene(seed)
        save(tmp_path / f'high/{seed}.tif', image)
        save(
            tmp_path / f'low/{seed}.tif',
            move(image, (3.4, -2.6)) + 10 * np.random.default_rng(9).standard_normal(image.shape),
        )
    return tmp_path


PAIRS = [dict(gt='high', img='low')]


def test_pairs_are_registered_and_the_low_one_is_left_alone(root):
    data = SEMFolderDataset(PAIRS, str(root))
    assert len(data) == 2
    sample = data[0]
    assert sample['shift'] == pytest.approx((3.4, -2.6), abs=0.15)
    low, high = sample['img'][..., 0], sample['gt'][..., 0]
    assert low.shape == high.shape and low.dtype == np.float32
    raw = tifffile.imread(root / 'low/0.tif')
    top = next(
        y
        for y in range(20)
        if np.array_equal(raw[y : y + len(low), 4 : 4 + low.shape[1]], low)
        or any(np.array_equal(raw[y : y + len(low), x : x + low.shape[1]], low) for x in range(20))
    )
    assert top >= 4
    residual = low - high
    assert residual.std() == pytest.approx(10, rel=0.1)


def test_lines_of_another_width_lie_on_one_another_at_both_ends(tmp_path):
    image = scene(0, (240, 320))
    noise = 10 * np.random.default_rng(9).standard_normal(image.shape)
    save(tmp_path / 'high/0.tif', image)
    save(tmp_path / 'low/0.tif', move(image, (1.2, -0.6), (-2.0, 0.0), stretch=(0.0, -4.0)) + noise)
    sample = SEMFolderDataset(PAIRS, str(tmp_path))[0]
    assert sample['stretch'] == pytest.approx((0, -4), abs=0.3)
    residual = (sample['img'] - sample['gt'])[..., 0]
    for part in (residual[:, :60], residual[:, 130:190], residual[:, -60:]):
        assert part.std() == pytest.approx(10, rel=0.1)


def test_a_border_found_on_one_side_is_cropped_on_both(tmp_path):
    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.uniform(40, 200, (90, 110)), 1.5)
    for name in ('high', 'low'):
        (tmp_path / name).mkdir()
        pixels = np.repeat(scene.astype(np.uint8)[..., None], 3, axis=2)
        if name == 'high':  # a green border of one pixel, which the low one lost
            for line in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
                line[:] = (0, 255, 0)
        tifffile.imwrite(tmp_path / name / 'a.tif', pixels, photometric='rgb')
    pairs = SEMFolderDataset(
        [dict(gt='high', img='low')], str(tmp_path), register_pairs=False, test_mode=True
    )
    sample = pairs.get_data_info(0)
    assert sample['img'].shape == sample['gt'].shape == (88, 108, 1)
    np.testing.assert_array_equal(sample['img'], sample['gt'])


def test_samples_are_copies(root):
    data = SEMFolderDataset(PAIRS, str(root))
    first = data[0]
    first['img'][:] = -1
    assert data[0]['img'].min() >= 0
    assert np.array_equal(SEMFolderDataset(PAIRS, str(root), cache=False)[1]['gt'], data[1]['gt'])


def test_clean_images_of_16_bits_come_as_grey_levels(tmp_path):
    save(tmp_path / 'high/a.tif', scene(0) * 257, np.uint16)
    sample = SEMFolderDataset([dict(gt='high')], str(tmp_path))[0]
    assert 'img' not in sample and sample['gt'].shape == (200, 220, 1)
    assert sample['gt'].max() <= 255 and abs(sample['gt'].mean() - 128) < 10


def test_refuses(root):
    with pytest.raises(ValueError, match='must be a list'):
        SEMFolderDataset(dict(gt='high'), str(root))
    with pytest.raises(ValueError, match='keys gt, img and include'):
        SEMFolderDataset([dict(high='high')], str(root))
    with pytest.raises(FileNotFoundError, match='include'):
        SEMFolderDataset([dict(gt='high', include='x')], str(root))
    with pytest.raises(FileNotFoundError, match='nowhere'):
        SEMFolderDataset([dict(gt='nowhere')], str(root))
    save(root / 'low/2.tif', scene(2))
    with pytest.raises(ValueError, match=r'do not pair up.*3 and 2.*2'):
        SEMFolderDataset(PAIRS, str(root))
    save(root / 'high/2.tif', scene(7))
    with pytest.raises(ValueError, match=r'2\.tif.*one field of view'):
        SEMFolderDataset(PAIRS, str(root))[2]
    save(root / 'high/2.tif', scene(2, (100, 90)))
    with pytest.raises(ValueError, match='one size'):
        SEMFolderDataset(PAIRS, str(root))[2]


def test_crop_mirrors_small_images_and_keeps_levels():
    np.random.seed(0)
    crop = RandomSEMCrop(32)
    small = np.arange(100, dtype=np.float32).reshape(10, 10, 1)
    out = crop.transform(dict(gt=small))['gt']
    assert out.shape == (32, 32, 1) and set(np.unique(out)) <= set(np.unique(small))
    large = np.random.rand(64, 50, 1).astype(np.float32)
    tops = {float(crop.transform(dict(gt=large))['gt'][0, 0, 0]) for _ in range(30)}
    assert len(tops) > 20
    bright = RandomSEMCrop(8, gain=(2.0, 2.0)).transform(dict(gt=np.full((8, 8, 1), 200.0)))['gt']
    assert bright.max() == 255
    with pytest.raises(ValueError, match='at least 1'):
        RandomSEMCrop(0)


def test_crop_scales_particles_and_their_edges():
    """At half the size a disc has half the radius, the same grey levels, and edges half as wide."""
    y, x = np.mgrid[:200, :200]
    disc = 200 / (1 + np.exp((np.hypot(y - 99.5, x - 99.5) - 40) / 4))
    for scale in (0.5, 1.25):
        size = round(200 * scale)
        out = RandomSEMCrop(size, scale=(scale, scale)).transform(
            dict(gt=disc[..., None].astype(np.float32))
        )['gt']
        assert out.shape == (size, size, 1)
        y, x = (np.mgrid[:size, :size] + 0.5) / scale - 0.5
        expected = 200 / (1 + np.exp((np.hypot(y - 99.5, x - 99.5) - 40) / 4))
        assert np.abs(out[..., 0] - expected).max() < 1.5
    np.random.seed(0)
    crop = RandomSEMCrop(32, scale=(0.6, 1.3))
    assert {crop.transform(dict(gt=disc[:20, :, None]))['gt'].shape for _ in range(20)} == {
        (32, 32, 1)
    }


@pytest.mark.parametrize('scale', [(0, 1), (1.2, 0.8), (0.5, float('inf'))])
def test_crop_refuses_scales(scale):
    with pytest.raises(ValueError, match='scale must be'):
        RandomSEMCrop(32, scale=scale)


def test_report(tmp_path):
    pairs = [(scene(0) / 255, scene(0) / 255)]
    report = RestorationReport(pairs)
    assert report.add('same', lambda image: image)['ssim'] == pytest.approx(1)
    for sigma in (1, 2):
        report.add('blurred', lambda image, s=sigma: gaussian_filter(image, s))
    lines = report.markdown().splitlines()
    assert len(lines) == 4 and 'PSNR' in lines[0] and '±' in lines[3] and '±' not in lines[2]
    report.figure(tmp_path / 'f.png', window=(slice(10, 90), slice(20, 120)))
    assert (tmp_path / 'f.png').stat().st_size > 5000
    with pytest.raises(ValueError, match='no pair'):
        RestorationReport([])
