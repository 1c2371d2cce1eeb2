"""Labels of smaller images are told from those that merely leave a part of the image empty."""

import numpy as np
import pytest

from mmclarity.utils.label_scale import smaller_image

WIDTH, HEIGHT = 640, 360


def scenes(count=400, seed=0, far=(WIDTH, HEIGHT), cut=True):
    """Boxes of objects anywhere in, or half out of, images; cut by the border or left out there."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(8, 120, (count, 2))
    middle = rng.uniform(0, 1, (count, 2)) * far
    first, last = middle - sides / 2, middle + sides / 2
    boxes = np.hstack([first, last])
    if cut:
        return np.hstack([first.clip(0), last.clip(max=far)])
    return boxes[(last < far).all(1) & (first > 0).all(1)]


@pytest.mark.parametrize('factor', [1.25, 1.5, 2, 4])
def test_labels_of_smaller_images_are_told(factor):
    for seed in range(10):
        size = WIDTH * factor, HEIGHT * factor
        assert smaller_image(scenes(seed=seed), size) == (WIDTH, HEIGHT)


def test_boxes_of_the_images_themselves_are_let_pass():
    for seed in range(50):
        assert smaller_image(scenes(seed=seed), (WIDTH, HEIGHT)) is None


def test_a_part_left_empty_is_no_smaller_image():
    for seed in range(200):
        far = np.random.default_rng(seed).uniform(0.4, 0.9, 2) * (WIDTH, HEIGHT)
        assert smaller_image(scenes(2000, seed, far, cut=False), (WIDTH, HEIGHT)) is None
        # cut by a bonnet below, or at the right, but not by both in the shares of a smaller image
        one_side = scenes(2000, seed, (WIDTH, 0.7 * HEIGHT))
        assert smaller_image(one_side, (WIDTH, HEIGHT)) is None
        crop = scenes(2000, seed, (0.8 * WIDTH, 0.6 * HEIGHT))
        assert smaller_image(crop, (WIDTH, HEIGHT)) is None


def test_of_few_boxes_nothing_is_said():
    boxes = scenes(99)
    assert smaller_image(boxes, (2 * WIDTH, 2 * HEIGHT)) is None
    assert smaller_image(np.zeros((0, 4)), (WIDTH, HEIGHT)) is None
