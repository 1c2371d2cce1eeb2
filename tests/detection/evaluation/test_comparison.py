"""The paired bootstrap against a slow loop, on data whose answer is plain, and its coverage."""

import numpy as np
import pytest

from mmclarity.detection.evaluation.coco_eval import BoxEval
from mmclarity.detection.evaluation.comparison import compare, interval, match_all, two_sided
from mmclarity.detection.evaluation.label_files import Labelled
from mmclarity.detection.evaluation.resampled_ap import NUMBERS, ResampledAP, draw_weights
from tests.detection.evaluation.synthetic_detections import CLASSES, detections, objects
from tests.detection.evaluation.test_resampled_ap import pycocotools


def labelled(gts, images):
    names = [f'{place}.jpg' for place in range(images)]
    attributes = [dict(weather=('clear', 'rainy')[place % 2]) for place in range(images)]
    return Labelled(
        'labels.json', names, names, {}, [(640, 360)] * images, attributes, dict(CLASSES), gts, []
    )


def scene(images=10, seed=0, noise=(0.12, 0.05)):
    rng = np.random.default_rng(seed)
    gts = objects(rng, images)
    return labelled(gts, images), [detections(rng, gts, images, value) for value in noise]


def rows_by_name(comparison):
    return {(row.part, row.number): row for row in comparison.rows}


def test_equal_to_a_slow_loop_over_resampled_images():
    data, (first, second) = scene()
    draws = 40
    found = compare(data, {'a': [first], 'b': [second]}, CLASSES, draws=draws, seed=5)
    weights = draw_weights(10, draws, np.random.SeedSequence(5).spawn(1)[0])
    slow = np.array([[pycocotools(data.gts, dts, w) for w in weights] for dts in (first, second)])
    whole = [pycocotools(data.gts, dts, np.ones(10, int)) for dts in (first, second)]
    rows = rows_by_name(found)
    for place, number in enumerate(NUMBERS):
        row = rows['all', number]
        values = slow[:, :, place]
        values = values[:, ~np.isnan(values).any(axis=0)]
        for estimate, value, drawn in zip(row.values, whole, values):
            assert estimate.value == pytest.approx(value[place], abs=1e-9)
            expected = interval(value[place], drawn, 0.95)
            assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
        change = values[1] - values[0]
        expected = interval(whole[1][place] - whole[0][place], change, 0.95)
        found_change = row.differences[0]
        assert (found_change.low, found_change.high) == pytest.approx(
            (expected.low, expected.high), abs=1e-9
        )
        assert row.p[0] == pytest.approx(two_sided(expected.value, change))


def test_the_same_detector_twice_differs_by_nothing():
    data, (first, _) = scene()
    for row in compare(data, {'a': [first], 'b': [first]}, CLASSES, draws=50).rows:
        difference = row.differences[0]
        assert difference.value == 0 or np.isnan(difference.value)
        if not np.isnan(difference.low):
            assert (difference.low, difference.high) == (0, 0) and row.p[0] == 1


def test_a_better_detector_is_found_better_and_pairing_makes_it_sharper():
    data, (first, second) = scene(60, noise=(0.25, 0.02))
    row = compare(data, {'a': [first], 'b': [second]}, CLASSES, draws=300).rows[0]
    change = row.differences[0]
    assert 0 < change.low < change.value < change.high and row.p[0] < 0.02
    # the same mistakes plus a few: unpaired intervals would overlap, the paired one is clear
    rng = np.random.default_rng(1)
    worse = [dt for dt in second if rng.random() < 0.85]
    row = compare(data, {'a': [worse], 'b': [second]}, CLASSES, draws=300).rows[0]
    assert row.differences[0].low > 0
    assert row.values[0].high > row.values[1].low


def test_seeds_are_means_over_the_same_draws():
    data, (first, second) = scene()
    third = detections(np.random.default_rng(9), data.gts, 10)
    together = compare(data, {'a': [first, first], 'b': [second, third]}, CLASSES, draws=30, seed=2)
    alone = [
        compare(data, {'a': [first], 'b': [other]}, CLASSES, draws=30, seed=2)
        for other in (second, third)
    ]
    for row, one, two in zip(together.rows, *(item.rows for item in alone)):
        expected = (one.values[1].value + two.values[1].value) / 2
        assert row.values[1].value == pytest.approx(expected, nan_ok=True)
        assert row.seed_values.shape == (2, 2)
    assert 'do not hold the spread of the seeds' in together.notes[-1]
    assert not alone[0].notes
    with pytest.raises(ValueError, match='as many result files'):
        compare(data, {'a': [first], 'b': [second, third]}, CLASSES)


def test_rows_hold_classes_and_conditions_with_their_counts():
    data, (first, second) = scene()
    rows = rows_by_name(compare(data, {'a': [first], 'b': [second]}, CLASSES, draws=5))
    assert {part for part, _ in rows} == {
        'all', 'class/car', 'class/bus', 'class/pedestrian', 'weather/clear', 'weather/rainy'
    }  # fmt: skip
    real = [gt for gt in data.gts if not gt['iscrowd']]
    assert rows['all', 'mAP'].objects == len(real)
    assert rows['class/bus', 'mAP'].objects == sum(gt['category_id'] == 2 for gt in real)
    assert rows['weather/rainy', 'mAP'].images == 5
    assert rows['weather/rainy', 'mAP'].objects == sum(gt['image_id'] % 2 for gt in real)


def test_files_matched_in_several_processes_are_the_same():
    rng = np.random.default_rng(0)
    gts = objects(rng, 400, most=10)
    jobs = [
        (gts, detections(rng, gts, 400) * 3, 400, list(CLASSES), 100, 1.0, {}) for _ in range(2)
    ]
    assert len(jobs[0][1]) > 5000
    for job, curve in zip(jobs, match_all(jobs)):
        alone = ResampledAP(BoxEval(*job[:6]))
        np.testing.assert_array_equal(curve.identity(), alone.identity())


def test_interval_and_significance_belong_together():
    """Zero lies in the 95 % interval as long as p is above 0.05."""
    draws = np.random.default_rng(0).gamma(2, size=999)  # askew
    for value in np.linspace(-4, 8, 97):
        found = interval(value, draws - draws.mean() + value, 0.95)
        p = two_sided(value, draws - draws.mean() + value)
        assert (found.low <= 0 <= found.high) == (p > 0.05) or abs(p - 0.05) < 0.004
    assert two_sided(1.0, np.ones(999)) == pytest.approx(2 / 1000)
    assert two_sided(0.0, np.zeros(10)) == 1
    assert np.isnan(two_sided(1.0, np.array([])))
    askew = interval(1.0, np.array([0.9, 1.0, 1.0, 3.0]), 0.999)
    assert askew.low == pytest.approx(-1, abs=0.01) and askew.high == pytest.approx(1.1, abs=0.01)


@pytest.mark.slow
def test_intervals_cover_what_they_should():
    """Samples of a population that is known: 95 % of the intervals hold its numbers."""
    size, repeats, draws = 120, 150, 300
    rng = np.random.default_rng(3)
    gts = objects(rng, size, crowds=0)
    curves = [
        ResampledAP(BoxEval(gts, detections(rng, gts, size, noise), size, list(CLASSES)))
        for noise in (0.10, 0.08)
    ]
    truth = [curve.identity()[:, 0] for curve in curves]
    held = {'value': [], 'difference': []}
    for _ in range(repeats):
        sample = draw_weights(size, 1, rng)
        again = rng.multinomial(size, sample[0] / size, size=draws).astype(np.int32)
        values = [curve.evaluate(sample)[0, :, 0] for curve in curves]
        drawn = [curve.evaluate(again)[:, :, 0] for curve in curves]
        for row in range(4):
            one = interval(values[0][row], drawn[0][:, row], 0.95)
            held['value'].append(one.low <= truth[0][row] <= one.high)
            change = (values[1] - values[0])[row]
            one = interval(change, (drawn[1] - drawn[0])[:, row], 0.95)
            held['difference'].append(one.low <= (truth[1] - truth[0])[row] <= one.high)
    shares = {name: np.mean(values) for name, values in held.items()}
    assert 0.88 < shares['value'] < 0.99, shares
    assert 0.90 < shares['difference'] < 0.99, shares
