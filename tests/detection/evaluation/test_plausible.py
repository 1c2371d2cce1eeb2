"""Result files of other programs and broken tests: AP alone would not show that they do not fit."""

import numpy as np
import pytest

from mmclarity.detection.evaluation.labelled import Labelled
from mmclarity.detection.evaluation.plausible import check_scores, doubts
from mmclarity.utils.json_files import LabelFileError
from tests.detection.evaluation.synthetic_detections import CLASSES, detections, objects

IMAGES = 60


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    gts = objects(rng, IMAGES)
    names = [f'{place}.jpg' for place in range(IMAGES)]
    sizes = [(640, 360)] * IMAGES
    labelled = Labelled('gt.json', names, names, {}, sizes, [{}] * IMAGES, CLASSES, gts, [])
    return labelled, detections(rng, gts, IMAGES, 0.05)


def boxes(dts, change):
    return [dict(dt, bbox=[float(v) for v in change(*dt['bbox'])]) for dt in dts]


def test_what_fits_is_passed(data):
    labelled, dts = data
    assert doubts('dt.json', dts, labelled) == []
    # a bad detector is one, not a misread file: names by chance, boxes that hardly fit
    rng = np.random.default_rng(1)
    bad = detections(rng, labelled.gts, IMAGES, 0.3, named=0.0)
    assert doubts('dt.json', bad, labelled) == []
    assert doubts('dt.json', [dict(dt, category_id=2) for dt in dts], labelled) == []


def test_numbering_from_another_list(data):
    labelled, dts = data
    turned = [dict(dt, category_id=dt['category_id'] % 3 + 1) for dt in dts]
    (note,) = doubts('dt.json', turned, labelled)
    assert note.startswith('dt.json: of its detections on objects ')
    assert 'are its ids those of the labels?' in note
    moved = [dict(dt, image_id=dt['image_id'] - 1) for dt in dts if dt['image_id']]
    (note,) = doubts('dt.json', moved, labelled)
    assert 'lie on the objects of the next image' in note and 'one lower' in note
    back = [dict(dt, image_id=min(dt['image_id'] + 1, IMAGES - 1)) for dt in dts]
    assert 'one higher' in doubts('dt.json', back, labelled)[-1]
    order = np.random.default_rng(2).permutation(IMAGES)
    mixed = [dict(dt, image_id=int(order[dt['image_id']])) for dt in dts * 3]
    mixed = [dict(dt, score=dt['score'] / (1 + place)) for place, dt in enumerate(mixed)]
    assert 'are its images, ids and boxes' in doubts('dt.json', mixed, labelled)[-1]


def test_boxes_of_another_form(data):
    labelled, dts = data
    corners = boxes(dts, lambda x, y, w, h: (x, y, x + w, y + h))
    with pytest.raises(LabelFileError, match=r'^dt.json: boxes look like two corners'):
        doubts('dt.json', corners, labelled)
    parts = boxes(dts, lambda x, y, w, h: (x / 640, y / 640, w / 640, h / 640))
    with pytest.raises(LabelFileError, match='fractions of the image'):
        doubts('dt.json', parts, labelled)
    for factor, told in ((0.5, 'times 2,'), (2, 'times 0.5,')):
        scaled = boxes(dts, lambda *box, factor=factor: [factor * v for v in box])
        (note,) = doubts('dt.json', scaled, labelled)
        assert told in note and 'different sizes' in note


def test_a_test_that_broke_off_and_one_that_counted_twice(data):
    labelled, dts = data
    (note,) = doubts('dt.json', [dt for dt in dts if dt['image_id'] < 40], labelled)
    assert 'no detection in ' in note and "e.g. '40.jpg'" in note
    assert 'stand there twice' in doubts('dt.json', [*dts, *dts[:20]], labelled)[0]
    assert doubts('dt.json', [], labelled) == ['dt.json: holds no detection at all.']
    labelled.gts.clear()
    assert doubts('dt.json', dts, labelled) == []


def test_scores_in_per_cent_are_no_scores(data):
    check_scores('dt.json', data[1])
    check_scores('dt.json', [])
    with pytest.raises(LabelFileError, match='from 0 to 1 .per cent: divide by 100'):
        check_scores('dt.json', [dict(dt, score=100 * dt['score']) for dt in data[1]])
