"""Fog, snow and rain against what is known of them."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS

from mmclarity.detection.datasets import RandomCamera, RandomLight, RandomWeather
from mmclarity.detection.datasets.weather import falling, in_fog, in_rain, in_snow, line_kernel

SHAPE = (90, 160, 3)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(0)


def test_a_line_kernel_is_the_trace_of_a_point():
    for length, angle in ((1, 0), (0.3, 40), (2, 90), (7, 45), (13, 170), (30, 60)):
        kernel = line_kernel(length, angle)
        assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0
        side = kernel.shape[0]
        assert kernel.shape == (side, side) and side % 2 == 1 and side >= length - 1
        # symmetric about its middle: nothing is moved
        rows, columns = np.mgrid[:side, :side] - side // 2
        assert abs((kernel * rows).sum()) < 0.51 and abs((kernel * columns).sum()) < 0.51
    level, upright = line_kernel(7, 0), line_kernel(7, 90)
    assert (level[3] > 0).all() and np.count_nonzero(level) == 7
    np.testing.assert_array_equal(upright, level.T)
    # angles turn as in mathematics: 45 degrees rise to the right
    rising = line_kernel(9, 45)
    assert rising[:4, 5:].sum() > 0.4 and not rising[:4, :4].any()


@pytest.mark.parametrize('through', [0.2, 0.5, 0.9])
def test_fog_by_koschmieder(through, frame, monkeypatch):
    """``t I + (1 - t) A``: two frames under one fog differ by t times what they differed by."""
    other = frame // 2
    monkeypatch.setattr('mmclarity.detection.datasets.weather.airlight', lambda _: np.full(3, 200))
    foggy = []
    for image in (frame, other, np.full_like(frame, 200)):
        np.random.seed(3)
        foggy.append(in_fog(image, through, through).astype(float))
    before = frame.astype(float) - other
    rows = [row for row in range(90) if before[row].max() > 100]
    shares = (foggy[0] - foggy[1]) / np.maximum(before, 1)
    t = np.array([np.median(shares[row][before[row] > 60]) for row in rows])
    # at the horizon as little comes through as was asked for, but for drifts of a quarter
    assert through**1.25 - 0.02 < t.min() < through**0.75 + 0.02
    # below it, the nearer, the more
    below = t[np.array(rows) > 55]
    assert below[-1] > below[0] and (below <= 1.01).all()
    assert np.abs(foggy[2] - 200).max() <= 1  # of the colour of air it stays


def test_no_fog_changes_nothing(frame):
    assert np.abs(in_fog(frame, 1.0, 1.0).astype(int) - frame).max() <= 1


def test_what_falls_covers_its_share():
    for size, share in ((1.0, 0.03), (4.5, 0.01)):
        cover = falling((360, 640), share, size, 1, 90)
        assert cover.dtype == np.float32 and cover.min() >= 0 and cover.max() <= 1
        # enlarged, rims below nothing are cut off
        assert cover.mean() == pytest.approx(share * 172.5 / 255, rel=0.1 if size == 1 else 0.3)
    assert not falling((20, 30), 0.0, 1.0, 9, 90).any()
    # drawn out straight down: alike along columns, not along rows
    cover = falling((360, 640), 0.01, 1.0, 25, 90)
    down, across = (np.abs(np.diff(cover, axis=axis)).mean() for axis in (0, 1))
    assert down < 0.3 * across


def test_snow_is_brighter_than_a_dark_street_and_rain_makes_streaks_of_it():
    street = np.full((180, 320, 3), 40, np.uint8)
    snowy = [in_snow(street) for _ in range(8)]
    assert all(image.min() >= 30 and image.max() > 90 for image in snowy)
    for _ in range(8):
        rainy = in_rain(street).astype(int)
        assert np.abs(np.diff(rainy, axis=0)).mean() < np.abs(np.diff(rainy, axis=1)).mean()


@pytest.mark.parametrize('kind', [RandomWeather, RandomLight, RandomCamera])
@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 3, 3), (31, 7, 3)])
@pytest.mark.parametrize('level', [0, 255])
def test_tiny_black_and_white_images(kind, shape, level):
    image = np.full(shape, level, np.uint8)
    before = image.copy()
    for change, _ in kind.changes:
        for _ in range(5):
            got = change(image)
            assert got.shape == shape and got.dtype == np.uint8
    np.testing.assert_array_equal(image, before)  # what others hold is not written into


@pytest.mark.parametrize('kind', [RandomWeather, RandomLight, RandomCamera])
def test_as_often_as_asked_for_by_numpys_seed_and_boxes_stay(kind, frame):
    transform = TRANSFORMS.build(dict(type=kind.__name__, prob=0.3))
    boxes = object()
    changed = [transform(dict(img=frame, gt_bboxes=boxes))['img'] is not frame for _ in range(300)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.08)
    never = kind(prob=0.0)(dict(img=frame, gt_bboxes=boxes))
    assert never['img'] is frame and never['gt_bboxes'] is boxes
    images = []
    for seed in (5, 5, 6):
        np.random.seed(seed)
        images.append(kind(prob=1.0)(dict(img=frame))['img'])
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any() and repr(transform) == f'{kind.__name__}(prob=0.3)'


@pytest.mark.parametrize('kind', [RandomWeather, RandomLight, RandomCamera])
def test_each_change_is_drawn_as_often_as_it_weighs(kind, frame, monkeypatch):
    drawn = []

    def told(name):
        return lambda image: drawn.append(name) or image

    fakes = tuple((told(change.__name__), weight) for change, weight in kind.changes)
    monkeypatch.setattr(kind, 'changes', fakes)
    transform = kind(prob=1.0)
    for _ in range(600):
        transform(dict(img=frame))
    monkeypatch.undo()
    for change, weight in kind.changes:
        assert drawn.count(change.__name__) / 600 == pytest.approx(weight, abs=0.07)


@pytest.mark.parametrize('prob', [-0.1, 1.1, float('nan')])
def test_probabilities_are_such(prob):
    with pytest.raises(ValueError, match='prob'):
        RandomWeather(prob=prob)


@pytest.mark.parametrize(
    ('shape', 'dtype'), [((4, 5, 3), 'float32'), ((4, 5), 'uint8'), ((4, 5, 1), 'uint8')]
)
def test_other_images_are_refused(shape, dtype):
    with pytest.raises(ValueError, match=r'RandomWeather .*\(H, W, 3\) uint8.*put it before'):
        RandomWeather(prob=0.0)(dict(img=np.zeros(shape, dtype)))
