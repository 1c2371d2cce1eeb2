"""What a detector takes, and what it says of anything else."""

from pathlib import Path

import numpy as np
import pytest

from mmclarity.detection.inference.detections import check_images
from mmclarity.errors import DataError

IMAGE = np.zeros((36, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ('images', 'why'),
    [
        (IMAGE, r'list of images: write detector\(\[image\]\)\[0\]'),
        ('night.jpg', 'list of images'),
        (Path('night.jpg'), 'list of images'),
        (['night.jpg'], r"got 'night\.jpg'; read a file by .*read_image"),
        ([IMAGE, None], 'got None'),
        ([IMAGE[0]], r'got \(64, 3\) of uint8'),
        ([IMAGE.astype(np.float32)], 'of float32'),
    ],
)
def test_what_is_no_list_of_images(images, why):
    with pytest.raises(DataError, match=why):
        check_images(images)


@pytest.mark.parametrize('images', [[], [IMAGE, IMAGE[:9]], (IMAGE,), np.stack([IMAGE, IMAGE])])
def test_lists_tuples_and_stacks_are_taken(images):
    check_images(images)
