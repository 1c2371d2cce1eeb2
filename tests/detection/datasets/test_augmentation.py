"""Augmentations of road frames."""

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import RandomFlip
from mmdet.structures.bbox import HorizontalBoxes

from mmclarity.detection.datasets import RandomBlankFrame, SidedRandomFlip


def frame(boxes, width=160, scale=None):
    results = dict(
        img=np.random.default_rng(0).integers(0, 255, (90, width, 3), np.uint8),
        img_shape=(90, width),
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.zeros(len(boxes), bool),
    )
    if scale is not None:
        results |= dict(ori_shape=(90, 400), scale_factor=(scale, scale))
    return results


def test_an_object_drawn_to_one_side_stays_on_that_side():
    # the object is at 40..60 of a frame of 160; its box was drawn 2 pixels to the right
    mirrored = SidedRandomFlip(prob=1.0, offset=2 / 160)(frame([[42, 10, 62, 30]]))
    assert mirrored['gt_bboxes'].tensor[0].tolist() == pytest.approx([102, 10, 122, 30])
    left = SidedRandomFlip(prob=1.0, offset=-2 / 160)(frame([[38, 10, 58, 30]]))
    assert left['gt_bboxes'].tensor[0].tolist() == pytest.approx([98, 10, 118, 30])


def test_the_offset_is_of_the_whole_frame_at_its_present_scale():
    """A crop of 160 pixels of a frame of 400 that was halved: 1 % are two pixels."""
    mirrored = SidedRandomFlip(prob=1.0, offset=0.01)(frame([[40, 10, 60, 30]], scale=0.5))
    assert mirrored['gt_bboxes'].tensor[0].tolist() == pytest.approx([104, 10, 124, 30])


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('prob', [0.0, 1.0])
def test_without_an_offset_it_is_mmdets(direction, prob):
    boxes = [[0, 0, 20, 30], [100, 50, 160, 90]]
    mine = SidedRandomFlip(prob=prob, direction=direction, offset=0.0)(frame(boxes))
    theirs = RandomFlip(prob=prob, direction=direction)(frame(boxes))
    assert torch.equal(mine['gt_bboxes'].tensor, theirs['gt_bboxes'].tensor)
    assert np.array_equal(mine['img'], theirs['img'])
    assert mine['flip'] == theirs['flip']


def test_only_mirrored_boxes_move_and_none_leaves_the_image():
    for options in (dict(prob=0.0), dict(prob=1.0, direction='vertical')):
        moved = SidedRandomFlip(offset=0.05, **options)(frame([[40, 0, 60, 90]]))
        assert moved['gt_bboxes'].tensor.tolist() == [[40, 0, 60, 90]]
    at_edge = SidedRandomFlip(prob=1.0, offset=0.05)(frame([[0, 0, 20, 30]]))
    assert at_edge['gt_bboxes'].tensor.tolist() == [[156, 0, 160, 30]]
    none = SidedRandomFlip(prob=1.0, offset=0.05)(frame([]))
    assert none['gt_bboxes'].tensor.shape == (0, 4)


@pytest.mark.parametrize('offset', [0.5, -1, float('nan')])
def test_an_offset_in_pixels_is_refused(offset):
    with pytest.raises(ValueError, match='fraction'):
        SidedRandomFlip(prob=0.5, offset=offset)


def test_nothing_is_left_of_a_blanked_frame():
    blank = RandomBlankFrame(prob=1.0, noise=0.0)
    np.random.seed(0)
    levels = []
    for _ in range(40):
        image = blank(frame([[40, 10, 60, 30]]))
        assert image['img'].shape == (90, 160, 3) and image['img'].dtype == np.uint8
        assert len(image['gt_bboxes']) == len(image['gt_bboxes_labels']) == 0
        assert len(image['gt_ignore_flags']) == 0
        for axis in (0, 1):  # no edge anywhere
            assert np.abs(np.diff(image['img'].astype(int), axis=axis)).max() <= 12
        levels.append(image['img'].mean())
    assert min(levels) < 60 and max(levels) > 190


def test_as_many_are_blanked_as_was_said():
    np.random.seed(1)
    blanks = sum(
        not len(RandomBlankFrame(prob=0.25)(frame([[1, 1, 9, 9]]))['gt_bboxes']) for _ in range(400)
    )
    assert 70 < blanks < 130  # four standard deviations are 35
    kept = RandomBlankFrame(prob=0.0)(frame([[1, 1, 9, 9]]))
    assert np.array_equal(kept['img'], frame([])['img'])


@pytest.mark.parametrize('prob', [-0.1, 1.5, float('nan')])
def test_no_such_probability(prob):
    with pytest.raises(ValueError, match='between 0 and 1'):
        RandomBlankFrame(prob=prob)
