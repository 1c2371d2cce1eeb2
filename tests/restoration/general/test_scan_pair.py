"""Fields that were scanned both ways teach as they are: the same place, the same grey levels."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import shift as moved

from mmclarity.restoration.degradation import SimulateLowCostSEM
from mmclarity.restoration.general import clean_examples, scan_pair
from mmclarity.restoration.general.blind_spot import noisy_field
from mmclarity.restoration.general.caution import Scene
from mmclarity.restoration.general.clean_examples import clean_field, draw_clean_batch
from mmclarity.restoration.general.scan_pair import Lines, ScanPair, kept_back, scene_of
from mmclarity.restoration.io import from_array
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

SIDE, GAIN, OFFSET, SIGMA = 256, 0.8, 20.0, 8.0
FIRST = SIDE - SIDE // scan_pair.KEPT_BACK


def field(seed=9400):
    return 25 + 190 * make_phantom(PhantomSettings(SIDE, median_radius=6), seed).image


@pytest.fixture(scope='module')
def pair():
    """A quick scan, a slow one that lies three rows lower and two columns to the left; the two."""
    clean = field()
    noise = SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    quick = from_array(np.rint(clean * GAIN + OFFSET + noise).clip(0, 255).astype(np.uint8))
    slow = from_array(np.rint(moved(clean, (3, -2), order=3, mode='reflect')).astype(np.uint8))
    for side, image in (('quick', quick), ('slow', slow)):
        image.path = Path(side) / 'a.tif'
    return ScanPair(quick, slow, Lines(False)), noisy_field(quick)


def test_rows_teach_or_judge_and_lie_on_one_another(pair):
    scans, one = pair
    taught, held = scans.taught_and_held(one)
    assert isinstance(taught, Scene) and taught.like == one.like
    # what both show, less what is interpolated from beyond the edge
    assert taught.noisy.shape == taught.clean.shape
    rows = FIRST - scan_pair.APART
    assert rows - 8 <= len(taught.noisy) <= rows and SIDE - 12 <= taught.noisy.shape[1] < SIDE
    assert held.levels.shape == held.truth.shape == (SIDE - FIRST, SIDE)
    # the quick scan as it is, from its first rows
    high, wide = taught.noisy.shape
    starts = [(i, j) for i in range(rows - high + 1) for j in range(SIDE - wide + 1)]
    places = [np.s_[i : i + high, j : j + wide] for i, j in starts]
    (here,) = [at for at in places if np.array_equal(one.levels[at], taught.noisy)]
    # the truth of it, in its grey levels
    truth = (field() * GAIN + OFFSET) / 255 * one.like.gain + one.like.offset
    assert np.abs(taught.clean - truth[here]).mean() < 0.01
    noise = (taught.noisy - taught.clean).std() * 255 / one.like.gain
    assert noise == pytest.approx(SIGMA, rel=0.05)
    seen = scene_of(held, 100)
    assert seen.noisy.shape == (np.isfinite(held.truth).any(1).sum(), 100)
    assert np.isfinite(seen.clean).all()
    assert np.abs(seen.noisy - seen.clean).mean() < 1.2 * np.abs(taught.noisy - taught.clean).mean()


def test_a_small_pair_teaches_and_judges_as_a_whole():
    assert kept_back(100) == 0 and kept_back(SIDE) == FIRST
    clean = field()[:100]
    quick, slow = (from_array(np.rint(image).astype(np.uint8)) for image in (clean * 0.9, clean))
    quick.path, slow.path = Path('q/a.tif'), Path('s/a.tif')
    scans, one = ScanPair(quick, slow, Lines(False)), noisy_field(quick)
    taught, held = scans.taught_and_held(one)
    assert len(held.levels) == 100 and len(taught.noisy) > 90


@pytest.fixture(scope='module')
def worse():
    return SimulateLowCostSEM(slope=3.0, intercept=None, gain=None, offset=None)


@pytest.mark.parametrize('size', [64, 128])
def test_half_of_the_examples_are_real(size, worse):
    """Each is a place of the pair, mirrored or not, both sides alike, never turned or resized."""
    rng = np.random.default_rng(1)
    noisy, clean = rng.standard_normal((2, 150, 140)).astype(np.float32)
    like = noisy_field(from_array(field().astype(np.uint8))).like
    fields = [clean_field(field(), worse, rng, 'a')]
    batch = draw_clean_batch(fields, worse, 60, size, rng, [Scene(noisy, clean, like)])
    real, ways = 0, set()
    for shown, wanted, told in zip(*(part.numpy() for part in batch)):
        for way in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            flip = np.s_[:: way[0], :: way[1]]
            patch, truth = shown[0][flip], wanted[0][flip]
            for top, left in np.argwhere(noisy == patch[0, 0]):
                here = np.s_[top : top + size, left : left + size]
                if not np.array_equal(noisy[here], patch):  # another corner of it
                    continue
                np.testing.assert_array_equal(clean[here], truth)
                assert told[:2] == pytest.approx(like.told(1.0)[:2], rel=0.5)
                real += 1
                ways.add(way)
    assert 18 <= real <= 42 and len(ways) == 4  # three deviations


def test_pairs_smaller_than_a_patch_are_mirrored(worse, monkeypatch):
    monkeypatch.setattr(clean_examples, 'REAL', 1.0)
    rng = np.random.default_rng(2)
    noisy = rng.standard_normal((40, 70)).astype(np.float32)
    like = noisy_field(from_array(field().astype(np.uint8))).like
    fields = [clean_field(field(), worse, rng, 'a')]
    shown, wanted, _ = draw_clean_batch(fields, worse, 4, 64, rng, [Scene(noisy, 2 * noisy, like)])
    assert shown.shape == (4, 1, 64, 64) and np.isin(shown.numpy(), noisy).all()
    np.testing.assert_array_equal(2 * shown.numpy(), wanted.numpy())


def test_without_pairs_nothing_is_drawn_of_them(worse, monkeypatch):
    like = clean_field(field(), worse, np.random.default_rng(3), 'a')
    one, other = (
        draw_clean_batch([like], worse, 3, 64, np.random.default_rng(4), *more)
        for more in ((), ([],))
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other))
