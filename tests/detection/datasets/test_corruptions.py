"""Corruptions: the same for everybody, worse with every severity, of the right kind."""

import random

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from skimage.metrics import structural_similarity

from mmclarity.detection.datasets.corruptions import CORRUPTIONS, SEVERITIES, CorruptedImage
from mmclarity.errors import UsageError

pytest.importorskip('imagecorruptions', reason='not installed (requirements-dev.txt)')


@pytest.fixture(scope='module')
def image():
    """A street of sorts: sky, road, boxes; 96x160, BGR, mean 110."""
    rng = np.random.default_rng(0)
    image = np.full((96, 160, 3), 150, np.uint8)
    image[48:] = 90
    for _ in range(25):
        x, y = rng.integers(0, 140), rng.integers(0, 80)
        image[y : y + rng.integers(6, 16), x : x + rng.integers(6, 20)] = rng.integers(0, 255, 3)
    return image


def corrupt(image, corruption, severity, name='a/1.jpg', seed=0):
    transform = TRANSFORMS.build(
        dict(type='CorruptedImage', corruption=corruption, severity=severity, seed=seed)
    )
    return transform(dict(img=image.copy(), img_path=name))['img']


@pytest.mark.parametrize('corruption', CORRUPTIONS)
def test_worse_with_severity_and_the_same_for_everybody(image, corruption):
    likeness = []
    for severity in SEVERITIES:
        found = corrupt(image, corruption, severity)
        assert found.shape == image.shape and found.dtype == np.uint8
        assert found.flags.c_contiguous
        likeness.append(structural_similarity(image, found, channel_axis=2))
    assert likeness[0] < 0.999 and likeness[-1] < likeness[0]
    assert likeness[4] < likeness[2] + 0.03
    found = corrupt(image, corruption, 3)
    np.testing.assert_array_equal(found, corrupt(image, corruption, 3, 'elsewhere/1.jpg'))
    if corruption not in ('darkness', 'JPEG'):  # nothing drawn by chance
        assert (found != corrupt(image, corruption, 3, 'a/2.jpg')).any()
        assert (found != corrupt(image, corruption, 3, seed=1)).any()


@pytest.mark.parametrize('corruption', CORRUPTIONS)
@pytest.mark.parametrize('shape', [(20, 25), (33, 400), (1, 1)])
def test_tiny_images_do_not_end_a_measurement(image, corruption, shape):
    """The libraries want 32 pixels, and rain as many as its drops are long."""
    tiny = np.tile(image, (1, 3, 1))[: shape[0], : shape[1]]
    for severity in (1, 5):
        found = corrupt(tiny, corruption, severity)
        assert found.shape == tiny.shape and found.flags.c_contiguous
    assert shape == (1, 1) or (found != tiny).any()


def test_of_the_right_kind(image):
    assert corrupt(image, 'darkness', 5).mean() < 0.5 * image.mean()
    assert corrupt(image, 'fog', 5).std() < image.std()
    # colours stay in their channels: blue is still blue
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[..., 0] = 200
    assert corrupt(blue, 'JPEG', 1)[..., 0].mean() > 150
    assert corrupt(blue, 'motion blur', 1)[..., 2].mean() < 50


def test_random_state_of_the_process_is_left_alone(image):
    np.random.seed(1)
    random.seed(1)
    expected = np.random.random(), random.random()
    np.random.seed(1)
    random.seed(1)
    corrupt(image, 'rain', 4)
    corrupt(image, 'snow', 4)
    assert (np.random.random(), random.random()) == expected


@pytest.mark.parametrize('corruption, severity', [('frogs', 1), ('fog', 0), ('fog', 6)])
def test_refused(corruption, severity):
    with pytest.raises(UsageError, match='no corruption'):
        CorruptedImage(corruption, severity)
