"""AP of resampled images against pycocotools on data in which the images really stand twice."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmclarity.detection.evaluation._resampled_loop import LANES
from mmclarity.detection.evaluation.coco_eval import BoxEval
from mmclarity.detection.evaluation.resampled_ap import NUMBERS, ResampledAP, draw_weights
from tests.detection.evaluation.synthetic_detections import CLASSES, detections, objects


def pycocotools(gts, dts, weights, scale=1.0, category=None):
    """The six numbers on a data set that holds each image as often as its weight says."""
    copies, images = [], []
    new_gts, new_dts = [], []
    for image, weight in enumerate(weights):
        for _ in range(weight):
            copies.append(image)
            images.append(dict(id=len(copies)))
            for store, items in ((new_gts, gts), (new_dts, dts)):
                store += [
                    item | dict(image_id=len(copies)) for item in items if item['image_id'] == image
                ]
    for store in (new_gts, new_dts):
        for number, item in enumerate(store, 1):
            area = item.get('area', item['bbox'][2] * item['bbox'][3])
            item.update(id=number, area=area * scale)
    with contextlib.redirect_stdout(io.StringIO()):
        coco, found = COCO(), COCO()
        for store, annotations in ((coco, new_gts), (found, new_dts)):
            store.dataset = dict(
                info={}, images=images, annotations=annotations, categories=[dict(id=k) for k in
                                                                            CLASSES]
            )  # fmt: skip
            store.createIndex()
        evaluation = COCOeval(coco, found, 'bbox')
        if category is not None:
            evaluation.params.catIds = [category]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats[:6]
    return np.where(stats < 0, np.nan, stats)


def scene(seed, images=8, digits=None, **options):
    rng = np.random.default_rng(seed)
    gts = objects(rng, images, **options)
    return gts, detections(rng, gts, images, digits=digits)


def test_sizes_are_by_the_area_that_labels_give_as_in_pycocotools():
    """COCO's is that of the mask, where there is one; `max_dets` and crowds beside it."""
    gts, dts = scene(3, crowds=0.3)
    rng = np.random.default_rng(0)
    masks = [gt | dict(area=gt['bbox'][2] * gt['bbox'][3] * rng.uniform(0.3, 0.9)) for gt in gts]
    found = [
        ResampledAP(BoxEval(items, dts, 8, list(CLASSES))).identity()[0] for items in (gts, masks)
    ]
    for own, items in zip(found, (gts, masks)):
        np.testing.assert_allclose(own, pycocotools(items, dts, np.ones(8, int)), atol=1e-12)
    assert (found[0][:3] == found[1][:3]).all() and (found[0][3:5] != found[1][3:5]).all()


def test_what_holds_objects_is_counted_by_recording():
    gts, dts = scene(1)
    curve = ResampledAP(BoxEval(gts, dts, 8, list(CLASSES)), groups={'even': [0, 2, 4, 6]})
    units = np.arange(8) // 2
    each, any_of = curve.holding(np.arange(8))
    np.testing.assert_array_equal(each, curve.images_with_objects())
    each, any_of = curve.holding(units)
    real = [gt for gt in gts if not gt['iscrowd']]
    for place, number in enumerate(CLASSES):
        held = {gt['image_id'] // 2 for gt in real if gt['category_id'] == number}
        assert each[0, place, 0] == len(held)
    assert any_of[0, 0] == len({gt['image_id'] // 2 for gt in real})
    even = {gt['image_id'] for gt in real if gt['image_id'] % 2 == 0}
    assert any_of[1, 0] == len(even)


@pytest.mark.parametrize('digits', [None, 1, 0])
@pytest.mark.parametrize('seed', range(4))
def test_equal_to_pycocotools_where_images_stand_twice(seed, digits):
    """With rounded scores, objects of one image, and images, share scores in every way."""
    gts, dts = scene(seed, digits=digits)
    curve = ResampledAP(BoxEval(gts, dts, 8, list(CLASSES)))
    weights = np.concatenate([np.ones((1, 8), int), draw_weights(8, 12, seed)])
    found = curve.evaluate(weights)
    for values, weight in zip(found, weights):
        np.testing.assert_allclose(values[0], pycocotools(gts, dts, weight), rtol=0, atol=1e-9)
        for place, category in enumerate(CLASSES, 1):
            expected = pycocotools(gts, dts, weight, category=category)
            np.testing.assert_allclose(values[place], expected, rtol=0, atol=1e-9)


def test_ties_within_an_image_are_seen_by_the_test_above():
    """Adding up weights alone would be wrong: right, wrong, right, wrong is not 2 + 2."""
    gts = [dict(image_id=0, category_id=1, bbox=[0.0, 0, 50, 50], iscrowd=0)]
    wrong = dict(image_id=0, category_id=1, bbox=[200.0, 0, 50, 50], score=0.5)
    right = dict(image_id=0, category_id=1, bbox=[0.0, 0, 50, 50], score=0.5)
    for dts in ([wrong, right], [right, wrong]):
        curve = ResampledAP(BoxEval(gts, dts, 1, [1]))
        found = curve.evaluate(np.array([[3]]))[0, 0, 0]
        assert found == pytest.approx(pycocotools(gts, dts, [3])[0], abs=1e-12)
    assert curve.identity()[0, 0] == pytest.approx(1)
    assert found == pytest.approx((34 * 1 + 33 * 2 / 3 + 34 * 3 / 5) / 101)  # not 1


@pytest.mark.parametrize('scale', [4.0, 'each'])
def test_area_scale(scale):
    gts, dts = scene(11)
    factor = scale if scale != 'each' else np.linspace(0.3, 6, 8)
    curve = ResampledAP(BoxEval(gts, dts, 8, list(CLASSES), area_scale=factor))
    if scale != 'each':
        expected = pycocotools(gts, dts, np.ones(8, int), scale)
    else:
        # the same pictures, each drawn larger: overlaps stay, areas do not
        larger = [
            [
                item | dict(bbox=[v * factor[item['image_id']] ** 0.5 for v in item['bbox']])
                for item in items
            ]
            for items in (gts, dts)
        ]
        expected = pycocotools(*larger, np.ones(8, int))
    np.testing.assert_allclose(curve.identity()[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize('scale', [0, -1, float('nan'), [1.0, 2.0]])
def test_area_scale_refuses(scale):
    with pytest.raises(ValueError, match='area_scale'):
        BoxEval([], [], 3, [1], area_scale=scale)


def test_groups_are_evaluations_of_these_images_alone():
    gts, dts = scene(2, images=10, digits=1)
    groups = {'few': [1, 4, 5], 'none': [], 'rest': [0, 2, 3, 6, 7, 8, 9]}
    curve = ResampledAP(BoxEval(gts, dts, 10, list(CLASSES)), groups=groups)
    assert curve.rows == ['all', 'few', 'none', 'rest', *(('class', k) for k in CLASSES)]
    weights = draw_weights(10, 5, 1)
    found = curve.evaluate(weights)
    for place, images in enumerate(groups.values(), 1):
        for values, weight in zip(found, weights):
            inside = np.isin(np.arange(10), images)
            expected = pycocotools(gts, dts, weight * inside)
            np.testing.assert_allclose(values[place], expected, rtol=0, atol=1e-9)


def test_images_with_objects_are_counted_by_size():
    gts, dts = scene(2, images=10)
    curve = ResampledAP(BoxEval(gts, dts, 10, list(CLASSES)), groups={'few': [1, 4]})
    weights = np.arange(10)
    found = curve.images_with_objects(), curve.images_with_objects(weights)
    sizes = [(0, 1e10)] * 3 + [(0, 32**2), (32**2, 96**2), (96**2, 1e10)]
    for group, images in enumerate([range(10), [1, 4]]):
        for place, category in enumerate(CLASSES):
            for number, (low, high) in enumerate(sizes):
                holding = {
                    gt['image_id']
                    for gt in gts
                    if gt['category_id'] == category
                    and not gt['iscrowd']
                    and gt['image_id'] in images
                    and low <= gt['bbox'][2] * gt['bbox'][3] <= high
                }
                assert found[0][group, place, number] == len(holding)
                assert found[1][group, place, number] == sum(holding)


def test_ignored_instances_as_the_metric_ignores_them():
    gts, dts = scene(3, images=9)
    for place, gt in enumerate(gts):
        gt['kept'] = place % 2 == 0
    evaluation = BoxEval(gts, dts, 9, list(CLASSES))
    matches = evaluation.match(lambda gt: not gt['kept'])
    expected = evaluation.summarize_images(matches, [0, 0, 3, 5, 8, 8, 8]).numbers()
    weights = np.bincount([0, 0, 3, 5, 8, 8, 8], minlength=9)[None]
    found = ResampledAP(evaluation, matches).evaluate(weights)[0, 0]
    np.testing.assert_allclose(found, list(expected.values()), rtol=0, atol=1e-9)


@pytest.mark.parametrize('digits', [None, 1])
def test_threads_and_neighbours_do_not_change_anything(digits):
    """Resamples are walked many at a time: each comes out as on its own, the last ones too."""
    gts, dts = scene(5, images=12, digits=digits)
    curve = ResampledAP(BoxEval(gts, dts, 12, list(CLASSES)))
    weights = np.concatenate([draw_weights(12, 2 * LANES, 0), 40 * draw_weights(12, 3, 1)])
    found = curve.evaluate(weights, 1)
    np.testing.assert_array_equal(found, curve.evaluate(weights, 3))
    for place in (0, 1, LANES - 1, LANES, 2 * LANES + 2):
        alone = curve.evaluate(weights[place : place + 1])[0]
        np.testing.assert_array_equal(found[place], alone)
    np.testing.assert_allclose(found[-1, 0], pycocotools(gts, dts, weights[-1]), rtol=0, atol=1e-9)
    assert curve.evaluate(weights[:0]).shape == (0, 4, len(NUMBERS))


def test_recalls_that_are_met_exactly():
    """100 objects: every recall threshold is met by a number of right ones, but for rounding."""
    gts = [dict(image_id=i, category_id=1, bbox=[0.0, 0, 50, 50], iscrowd=0) for i in range(100)]
    for found in (35, 41, 47, 57, 69, 70, 82, 83, 94, 95, 100):  # 0.35 is above 35 / 100
        dts = [
            dict(gt, score=1 - i / 200, bbox=[0.0 if i < found else 200, 0, 50, 50])
            for i, gt in enumerate(gts)
        ]
        weights = np.ones(100, int)
        value = ResampledAP(BoxEval(gts, dts, 100, [1])).identity()[0, 0]
        assert value == pytest.approx(pycocotools(gts, dts, weights)[0], abs=1e-12)


def test_nothing_found_nothing_to_find_and_nothing_drawn():
    gts, dts = scene(6)
    assert (ResampledAP(BoxEval(gts, [], 8, list(CLASSES))).identity()[0] == 0).all()
    for curve in (
        ResampledAP(BoxEval([], dts, 8, list(CLASSES))),
        ResampledAP(BoxEval([], [], 8, list(CLASSES))),
    ):
        assert np.isnan(curve.identity()).all()
    curve = ResampledAP(BoxEval(gts, dts, 8, list(CLASSES)))
    assert np.isnan(curve.evaluate(np.zeros((1, 8), int))).all()


@pytest.mark.parametrize(
    'weights', [np.ones((2, 7), int), np.ones(8, int), np.ones((1, 8)), -np.ones((1, 8), int)]
)
def test_weights_are_checked(weights):
    gts, dts = scene(7)
    with pytest.raises(ValueError, match='weights must be'):
        ResampledAP(BoxEval(gts, dts, 8, list(CLASSES))).evaluate(weights)


def test_draws_are_a_bootstrap():
    weights = draw_weights(50, 4000, 3)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean() == 1
    # a count of 50 draws with a chance of 1/50: binomial
    assert weights.var() == pytest.approx(50 * (1 / 50) * (49 / 50), rel=0.02)
    np.testing.assert_array_equal(weights, draw_weights(50, 4000, 3))
    assert (weights != draw_weights(50, 4000, 4)).any()
