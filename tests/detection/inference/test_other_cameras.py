"""Pictures of other shapes than the frames that the shipped detectors were trained on."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmclarity.detection.inference.detections import Detections, check_images, too_long
from mmclarity.detection.inference.detector import Detector
from mmclarity.detection.inference.outputs import Results, drawn
from mmclarity.detection.inference.sources import Picture
from mmclarity.errors import DataError, UsageError


@pytest.fixture(scope='module')
def detector():
    return Detector(device='cpu', threshold=0.05)


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        ((360, 640), (540, 960)),
        ((1080, 1920), (540, 960)),
        ((360, 1280), (540, 1920)),  # two frames side by side: objects stay as large as in one
        ((400, 3200), (540, 4320)),
        ((1920, 1080), (960, 540)),
        ((480, 640), (540, 720)),
    ],
)
def test_the_shorter_side_is_that_of_the_training(detector, shape, expected):
    frame = np.zeros((*shape, 3), np.uint8)
    assert detector.inferencer.pipeline(frame)['inputs'].shape[1:] == expected
    assert too_long(frame, detector.scale) == ''


def test_what_is_still_shrunk_is_told(detector):
    with pytest.warns(UserWarning, match=r'4000 x 200 pixels are brought to 4320 x 216.* 2.5 tim'):
        detector([np.zeros((200, 4000, 3), np.uint8)])


def test_neighbours_of_another_size_change_nothing(detector, street):
    tall = np.ascontiguousarray(cv2.resize(street, (540, 960)))
    alone = [detector([image])[0] for image in (street, tall)]
    assert len(alone[0]) > 0
    together = detector([street, tall, street])
    for found, expected in zip(together, [*alone, alone[0]]):
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_what_a_notebook_gives(detector, street):
    (expected,) = detector([street])
    (found,) = detector(image for image in [street])
    assert np.array_equal(found.boxes, expected.boxes)
    for wrong, why in (
        (Image.fromarray(street), 'list of images: write .* got a Image'),
        (None, 'list of images: write .* got a NoneType'),
        ('a.jpg', 'list of images: write .* got a str'),
        (['a.jpg'], "got 'a.jpg'; read a file by mmclarity"),
        ([Image.fromarray(street)], 'numpy array .* got a Image; '),
        (torch.zeros(1, 3, 36, 64), 'numpy array .* got a Tensor; '),
        ([np.zeros((0, 0, 3), np.uint8)], '0 x 0 pixels: the image is empty'),
    ):
        with pytest.raises(DataError, match=why):
            detector(wrong)
    assert check_images([]) == []


def test_names_on_a_panorama_are_as_large_as_on_its_parts(street):
    box, scores, labels = np.array([[20.0, 100, 80, 140]]), np.array([0.9]), np.array([0])
    found = Detections(box, scores, labels, ('car',))
    wide = drawn(np.hstack([street] * 6), found)
    assert np.array_equal(wide[:, :640], drawn(street, found))


def test_boxes_narrower_than_a_pixel_are_boxes_in_scalabel(tmp_path):
    results = Results(tmp_path, ('car',), overwrite=False)
    found = Detections(np.array([[3.2, 1, 3.8, 9]]), np.array([0.9]), np.array([0]), ('car',))
    results.add(Picture('a.png', np.zeros((10, 10, 3), np.uint8)), found, draw=False)
    results.write()
    (frame,) = json.loads((tmp_path / 'detections.scalabel.json').read_text())
    assert frame['labels'][0]['box2d'] == dict(x1=3.2, y1=1.0, x2=3.2, y2=8.0)


@pytest.mark.parametrize('threshold', [2, -0.1, float('nan'), 'low', None])
def test_thresholds_that_are_none(threshold):
    with pytest.raises(UsageError, match='threshold must be a score from 0 to 1'):
        Detector(threshold=threshold)
