"""Pictures of mistakes: boxes lie where the objects are seen."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mmclarity.detection.evaluation.error_figures import picture
from mmclarity.detection.evaluation.error_kinds import ErrorKinds

# EXIF: upright, and the two quarter turns; how an upright image is stored under each.
STORED = {1: 0, 6: 1, 8: -1}
BOX = [80.0, 10.0, 60.0, 30.0]


@pytest.mark.parametrize('kind', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', STORED)
def test_boxes_lie_on_photographs_as_they_are_shown(tmp_path, kind, orientation):
    upright = np.full((96, 192, 3), 200, np.uint8)
    x, y, width, height = (round(value) for value in BOX)
    upright[y : y + height, x : x + width] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'a.{kind}'
    Image.fromarray(np.rot90(upright, STORED[orientation])).save(path, exif=exif)
    gt = dict(image_id=0, category_id=1, bbox=BOX, area=1800.0, iscrowd=0)
    dt = dict(image_id=0, category_id=1, bbox=BOX, area=1800.0, score=0.9)
    found = ErrorKinds([gt], [dt], 1, [1])
    shown = picture(path, found, 0, {1: 'car'}, 0.3)
    pixels = cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (480 + 26, 960, 3)  # five times as large, and the strip
    inside = pixels[5 * y + 8 : 5 * (y + height) - 8, 5 * x + 8 : 5 * (x + width) - 8]
    assert inside.max() < 60
    around = pixels[:480].astype(int)
    around[5 * y - 12 : 5 * (y + height) + 12, 5 * x - 12 : 5 * (x + width) + 12] = 200
    assert abs(around - 200).max() < 30
    border = pixels[5 * y + 75, 5 * x - 4 : 5 * x + 5].astype(int)
    assert np.ptp(border, axis=1).max() > 40  # the coloured frame of the box


def test_no_picture_of_what_cannot_be_read(tmp_path):
    found = ErrorKinds([], [], 1, [1])
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    assert picture(tmp_path / 'a.jpg', found, 0, {1: 'car'}, 0.3) is None
    assert picture(tmp_path / 'gone.jpg', found, 0, {1: 'car'}, 0.3) is None
