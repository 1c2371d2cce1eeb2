"""Soft suppression against the algorithm of its paper, box after box."""

import math

import pytest
import torch
from mmcv.ops import batched_nms, soft_nms

from mmclarity.compat.soft_nms import softnms

METHODS = {'naive': 0, 'linear': 1, 'gaussian': 2}


def overlap(a, b, offset):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + offset for i in (0, 1)]
    inner = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return inner / (sum(areas) - inner)


def one_by_one(boxes, scores, threshold, sigma, least, method, offset=0):
    boxes, scores = boxes.double().tolist(), scores.double().tolist()
    left, taken = list(range(len(boxes))), []
    while left:
        best = max(left, key=scores.__getitem__)
        if scores[best] < least:
            break
        taken.append((best, scores[best]))
        left.remove(best)
        for i in left:
            shared = overlap(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                scores[i] *= math.exp(-(shared**2) / sigma)
            elif shared >= threshold:
                scores[i] *= 0 if method == 'naive' else 1 - shared
    return taken


def heaps(count, seed):
    """Boxes in a few heaps, so that most are lowered by many."""
    g = torch.Generator().manual_seed(seed)
    place = torch.rand(4, 2, generator=g)[torch.randint(0, 4, (count,), generator=g)] * 60
    low = place + torch.randn(count, 2, generator=g) * 4
    size = 15 + torch.rand(count, 2, generator=g) * 10
    return torch.cat([low, low + size], 1), torch.rand(count, generator=g)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize(('count', 'seed'), [(1, 0), (2, 1), (60, 2), (60, 3)])
def test_equals_one_box_after_another(method, offset, count, seed):
    boxes, scores = heaps(count, seed)
    found, places = soft_nms(boxes, scores, 0.3, 0.5, 0.01, method, offset)
    expected = one_by_one(boxes, scores, 0.3, 0.5, 0.01, method, offset)
    assert places.tolist() == [place for place, _ in expected]
    wanted = torch.tensor([score for _, score in expected])
    torch.testing.assert_close(found[:, 4], wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[:, :4], boxes[places])


def test_equal_boxes_and_equal_scores():
    """Exactly one of them counts in full."""
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3 + [[40.0, 40, 50, 50]] * 2)
    found, places = soft_nms(boxes, torch.ones(5), 0.3, 0.5, 0.01, 'linear')
    assert sorted(places.tolist()) == [0, 3] and found[:, 4].tolist() == [1, 1]


def test_nothing_and_nothing_left():
    found, places = soft_nms(torch.zeros(0, 4), torch.zeros(0), 0.3)
    assert found.shape == (0, 5) and len(places) == 0
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    found, places = soft_nms(boxes, torch.tensor([0.004]), 0.3, min_score=0.01)
    assert found.shape == (0, 5) and len(places) == 0


def test_a_score_that_is_no_number_is_never_taken_and_nothing_given_is_changed():
    boxes, scores = heaps(5, 3)
    scores[0] = torch.nan
    before = scores.clone()
    places = soft_nms(boxes, scores, 0.3, 0.5, 0.01, 'linear')[1]
    expected = one_by_one(boxes[1:], scores[1:], 0.3, 0.5, 0.01, 'linear')
    assert places.tolist() == [place + 1 for place, _ in expected]
    assert torch.equal(scores[1:], before[1:]) and scores[0].isnan()


def test_classes_do_not_lower_each_other():
    boxes, scores = heaps(40, 4)
    labels = torch.arange(40) % 3
    cfg = dict(type='soft_nms', iou_threshold=0.3, min_score=0.01)
    found, places = batched_nms(boxes, scores, labels, cfg)
    expected = {}
    for label in range(3):
        own = (labels == label).nonzero()[:, 0]
        for place, score in one_by_one(boxes[own], scores[own], 0.3, 0.5, 0.01, 'linear'):
            expected[int(own[place])] = score
    assert set(places.tolist()) == set(expected)
    for place, score in zip(places.tolist(), found[:, 4].tolist()):
        assert score == pytest.approx(expected[place], rel=1e-4)


@pytest.mark.parametrize(('method', 'offset'), [(3, 0), (1, 2)])
def test_what_mmcv_never_asks_for(method, offset):
    with pytest.raises(ValueError, match=f'offset={offset} and method={method}'):
        softnms(torch.zeros(1, 4), torch.ones(1), torch.zeros(1, 5), 0.3, 0.5, 0.0, method, offset)
