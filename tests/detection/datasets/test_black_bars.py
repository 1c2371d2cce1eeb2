"""Black bars: boxes are where their objects are, counted pixel by pixel."""

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes

from mmclarity.detection.datasets import RandomBlackBars, RandomBlankFrame

LEVELS = np.array([60, 110, 160, 210])


def frame(height=90, width=160, count=4, seed=0):
    """Each object is a rectangle of a level of its own; none lies over another."""
    rng = np.random.default_rng(seed)
    image, boxes = np.full((height, width, 3), 30, np.uint8), []
    for i in range(count):
        left = i * width // count
        x1, x2 = left + np.sort(rng.choice(width // count, 2, replace=False))
        y1, y2 = np.sort(rng.choice(height, 2, replace=False))
        image[y1:y2, x1:x2] = LEVELS[i]
        boxes.append([x1, y1, x2, y2])
    return dict(
        img=image,
        img_shape=(height, width),
        ori_shape=(height, width),
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.arange(count),
        gt_ignore_flags=np.arange(count) % 2 == 0,
    )


def test_boxes_are_where_their_objects_are():
    np.random.seed(0)
    bars, kinds, dropped = RandomBlackBars(prob=1.0, least_visible=0.2), set(), 0
    for seed in range(200):
        before = frame(seed=seed)
        areas = [(before['img'][..., 0] == level).sum() for level in LEVELS]
        after = bars(frame(seed=seed))
        image = after['img'][..., 0]
        assert after['img_shape'] == image.shape and after['ori_shape'] == (90, 160)
        grown = image.shape != (90, 160)
        kinds.add((grown, image.shape[0] > 90 or bool((image[:, 80] < 18).any())))
        labels = after['gt_bboxes_labels'].tolist()
        assert len(after['gt_bboxes']) == len(labels) == len(after['gt_ignore_flags'])
        assert (after['gt_ignore_flags'] == (after['gt_bboxes_labels'] % 2 == 0)).all()
        for label, box in zip(labels, after['gt_bboxes'].tensor.int().tolist()):
            y, x = np.nonzero(image == LEVELS[label])
            assert [x.min(), y.min(), x.max() + 1, y.max() + 1] == box
        for label, (level, area) in enumerate(zip(LEVELS, areas)):
            visible = (image == level).sum()
            assert (label in labels) == (visible > 0 and visible >= 0.2 * area)
            dropped += label not in labels
            assert visible == area or not grown  # beside the picture nothing is covered
    assert len(kinds) == 4 and dropped > 5


def test_pixels_of_the_picture_stay_and_bars_are_dark():
    np.random.seed(1)
    bars = TRANSFORMS.build(dict(type='RandomBlackBars', prob=1.0))
    for seed in range(40):
        before, after = frame(seed=seed)['img'], bars(frame(seed=seed))['img']
        left = after[(after >= 30).all(-1)]  # the rest are bars
        assert (after[(after < 30).any(-1)] < 18).all()
        assert after.shape[0] <= 90 / (1 - 0.8) + 1 and after.shape[1] <= 160 / (1 - 0.8) + 1
        if after.shape != before.shape:
            np.testing.assert_array_equal(left, before.reshape(-1, 3))
        else:
            kept = (after >= 30).all(-1)
            np.testing.assert_array_equal(after[kept], before[kept])


def test_frames_without_objects_or_without_annotations():
    for results in (frame(count=0), dict(img=np.full((9, 12, 3), 50, np.uint8))):
        for _ in range(10):
            got = RandomBlackBars(prob=1.0)(dict(results))
            assert got['img'].dtype == np.uint8 and len(got.get('gt_bboxes', ())) == 0
    image = np.full((9, 12, 3), 50, np.uint8)
    assert RandomBlackBars(prob=0.0)(dict(img=image))['img'] is image


def test_masks_would_stay_where_they_are():
    with pytest.raises(ValueError, match='RandomBlackBars moves boxes only'):
        RandomBlackBars()(dict(img=np.zeros((4, 4, 3), np.uint8), gt_masks=None))


@pytest.mark.parametrize(
    'options', [dict(prob=2), dict(largest=0), dict(largest=0.5), dict(least_visible=-1)]
)
def test_shares_are_such(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RandomBlackBars(**options)


def test_a_blank_frame_has_no_masks_either():
    from mmdet.structures.mask import BitmapMasks

    results = frame() | dict(gt_masks=BitmapMasks(np.ones((4, 90, 160), np.uint8), 90, 160))
    blank = RandomBlankFrame(prob=1.0)(results)
    assert len(blank['gt_masks']) == len(blank['gt_bboxes']) == 0
