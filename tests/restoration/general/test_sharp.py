"""Pictures as sharp as pixels can show them, for the general restorer's training."""

import numpy as np
import pytest

from mmclarity.restoration.general import sharp
from mmclarity.restoration.general.content import KINDS as SOFT
from mmclarity.restoration.general.content import make_structure
from mmclarity.restoration.general.patches import stretched
from mmclarity.restoration.general.sharp import KINDS, make_sharp


def fine_share(image):
    """Share of the power at periods below four pixels, of a picture brought to full contrast."""
    image = stretched(image)
    window = np.outer(*[np.hanning(len(image))] * 2)
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(len(image))] * 2))
    return power[frequency > 0.25].sum() / power.sum()


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_a_picture_is_a_function_of_kind_size_and_seed(kind):
    image = make_sharp(kind, 96, 3)
    assert image.shape == (96, 96)
    assert image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert np.array_equal(image, make_sharp(kind, 96, 3))
    assert not np.array_equal(image, make_sharp(kind, 96, 4))


@pytest.mark.parametrize('kind', sorted(KINDS))
@pytest.mark.parametrize('size', [32, 33, 200])
def test_every_size_is_drawn(kind, size):
    for seed in range(6):
        image = make_sharp(kind, size, seed)
        assert image.shape == (size, size) and np.isfinite(image).all()


def test_they_are_finer_than_the_other_pictures():
    seeds = range(12)
    fine = [fine_share(make_sharp(kind, 128, seed)) for kind in KINDS for seed in seeds]
    soft = [fine_share(make_structure(kind, 128, seed)) for kind in SOFT for seed in seeds]
    assert np.median(fine) > 3 * np.median(soft)


def test_edges_of_boxes_lie_on_pixels():
    """Half of them are neither blurred nor turned: no more greys than shades were drawn."""
    greys = [len(np.unique(make_sharp('boxes', 128, seed))) for seed in range(40)]
    assert 5 <= np.sum(np.array(greys) <= 8) <= 30


def test_gratings_have_the_periods_that_are_drawn():
    """Their strongest wave; a period of 2.5 to 28 pixels changes by up to 60 % across a picture."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256)] * 2))
    window = np.outer(*[np.hanning(256)] * 2)
    strongest = []
    for seed in range(40):
        image = sharp._lines(256, np.random.default_rng(seed))
        power = np.abs(np.fft.fft2((image - image.mean()) * window))
        strongest.append(frequency.flat[power.argmax()])
    assert all(1 / 45 < value < 1 / 1.9 for value in strongest)
    assert 0.2 < np.mean(np.array(strongest) > 1 / 6) < 0.7


@pytest.mark.parametrize(
    'arguments, said', [(('stars', 64), 'one of lines, '), (('lines', 31), 'at least 32')]
)
def test_what_can_not_be_drawn_is_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        make_sharp(*arguments)
