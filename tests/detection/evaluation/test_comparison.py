"""The paired bootstrap against a slow loop, on data whose answer is plain, and its coverage."""

import numpy as np
import pytest
import scipy.stats

from mmclarity.detection.evaluation import comparison
from mmclarity.detection.evaluation.coco_eval import BoxEval
from mmclarity.detection.evaluation.comparison import compare, match_all
from mmclarity.detection.evaluation.intervals import (
    degrees_of_freedom,
    interval,
    over_seeds,
    two_sided,
)
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


def slow_means(gts, dts, weights, whole):
    """Each draw's numbers by pycocotools; a class that it lacks has its value on all images."""
    draws = []
    for weight in weights:
        values = np.array([pycocotools(gts, dts, weight, category=k) for k in CLASSES])
        draws.append(np.where(np.isnan(values), whole, values))
    return np.array(draws)


def test_equal_to_a_slow_loop_over_resampled_images():
    data, (first, second) = scene()
    draws, gts = 40, data.gts
    found = compare(data, {'a': [first], 'b': [second]}, CLASSES, draws=draws, seed=5)
    weights = draw_weights(10, draws, np.random.SeedSequence(5).spawn(1)[0])
    ones = np.ones(10, int)
    whole = [np.array([pycocotools(gts, d, ones, category=k) for k in CLASSES]) for d in
             (first, second)]  # fmt: skip
    slow = [slow_means(gts, d, weights, w) for d, w in zip((first, second), whole)]
    sizes = [(0, 1e10)] * 3 + [(0, 32**2), (32**2, 96**2), (96**2, 1e10)]
    rows = rows_by_name(found)
    for place, number in enumerate(NUMBERS):
        low, high = sizes[place]
        holding = [
            len({
                gt['image_id']
                for gt in gts
                if gt['category_id'] == k
                and not gt['iscrowd']
                and low <= gt['bbox'][2] * gt['bbox'][3] <= high
            })
            for k in CLASSES
        ]  # fmt: skip

        def freedom(drawn, holding=holding):
            spread = [(v, max(m - 1, 1)) for v, m in zip(drawn.var(axis=0), holding) if m]
            return sum(v for v, _ in spread) ** 2 / sum(v**2 / m for v, m in spread)

        row = rows['all', number]
        one, two = (values[:, :, place] for values in slow)
        for estimate, drawn, value in zip(row.values, (one, two), whole):
            truth = np.nanmean(value[:, place])
            assert estimate.value == pytest.approx(truth, abs=1e-9)
            mean = np.nanmean(drawn, axis=1)
            half = scipy.stats.t.ppf(0.975, freedom(drawn)) * mean.std()
            centre = truth - (mean.mean() - truth)
            assert (estimate.low, estimate.high) == pytest.approx(
                (max(centre - half, 0), min(centre + half, 1)), abs=1e-9
            )
        change = np.nanmean(two, axis=1) - np.nanmean(one, axis=1)
        truth = np.nanmean(whole[1][:, place]) - np.nanmean(whole[0][:, place])
        half = scipy.stats.t.ppf(0.975, freedom(two - one)) * change.std()
        found_change = row.differences[0]
        assert found_change.value == pytest.approx(truth, abs=1e-9)
        assert (found_change.low, found_change.high) == pytest.approx(
            (max(truth - half, -1), min(truth + half, 1)), abs=1e-9
        )
        expected = 2 * scipy.stats.t.sf(abs(truth) / change.std(), freedom(two - one))
        assert row.p[0] == pytest.approx(expected, abs=1e-9)


def test_a_class_of_one_image_does_not_move_the_mean_by_dropping_out():
    """Draws without the only bus would have another mean, of the other two classes."""
    rng = np.random.default_rng(4)
    gts = [gt for gt in objects(rng, 40, crowds=0) if gt['category_id'] != 2]
    data = labelled([*gts, dict(gts[0], category_id=2)], 40)
    dts = detections(rng, gts, 40, 0.02, classes=(1, 3))
    rows = rows_by_name(compare(data, {'a': [dts], 'b': [dts[::2]]}, CLASSES, draws=200))
    assert rows['class/bus', 'mAP'].values[0].value == 0
    assert 0.5 < rows['class/bus', 'mAP'].valid < 0.75  # 1 - 1/e
    whole, car = rows['all', 'mAP'], rows['class/car', 'mAP']
    widths = [row.values[0].high - row.values[0].low for row in (whole, car)]
    assert 0 < widths[0] < widths[1]  # a third of the sum of two
    assert rows['all', 'mAP'].valid == 1


def test_what_is_evaluated_at_a_time_changes_nothing(monkeypatch):
    data, (first, second) = scene()
    files = {'a': [first], 'b': [second]}
    whole = compare(data, files, CLASSES, draws=600).rows
    monkeypatch.setattr(comparison, '_VALUES', 1)
    for row, other in zip(whole, compare(data, files, CLASSES, draws=600).rows):
        assert row.differences[0].low == pytest.approx(other.differences[0].low, nan_ok=True)
        assert row.values[1].high == pytest.approx(other.values[1].high, nan_ok=True)


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


def test_what_neither_detector_finds_tells_nothing_of_their_difference():
    """AP 0 of three objects, twice, is no difference of zero with certainty."""
    data, (first, second) = scene()
    found = [[dt for dt in dts if dt['category_id'] != 2] for dts in (first, second)]
    row = rows_by_name(compare(data, {'a': [found[0]], 'b': [found[1]]}, CLASSES, draws=50))[
        'class/bus', 'mAP'
    ]
    assert [value.value for value in row.values] == [0, 0] and row.differences[0].value == 0
    assert np.isnan([row.values[0].high, row.differences[0].low, row.p[0]]).all()


def test_frames_of_a_recording_are_drawn_together():
    """Each image five times over, as frames of a film that stands still, is one image."""
    data, (first, second) = scene(12)
    alone = compare(data, {'a': [first], 'b': [second]}, CLASSES, draws=300)

    def copies(items):
        return [dict(i, image_id=i['image_id'] + 12 * copy) for copy in range(5) for i in items]

    film = labelled(copies(data.gts), 60)
    files = {'a': [copies(first)], 'b': [copies(second)]}
    units = [f'recording {place % 12}' for place in range(60)]
    together = compare(film, files, CLASSES, draws=300, units=units, drawn_as='recordings')
    apart = compare(film, files, CLASSES, draws=300)
    one, two, three = (item.rows[0].differences[0] for item in (alone, together, apart))
    widths = [item.high - item.low for item in (one, two, three)]
    assert widths[1] == pytest.approx(widths[0], rel=0.25)
    assert widths[2] < 0.6 * widths[0]  # 1 / sqrt(5), were they independent
    rows = [rows_by_name(item)['class/bus', 'mAP'].holding for item in (alone, together, apart)]
    assert rows[0] == rows[1] == rows[2] / 5
    assert together.drawn == 'recordings'


def test_interval_over_seeds_by_hand():
    draws = np.array([0.018, 0.022])  # a variance of 4e-6
    found = over_seeds(np.array([0.01, 0.02, 0.03]), draws, 500, 0.95)
    variance = 4e-6 + 1e-4 / 3
    freedom = variance**2 / (4e-6**2 / 500 + (1e-4 / 3) ** 2 / 2)
    half = scipy.stats.t.ppf(0.975, freedom) * variance**0.5
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert np.isnan(over_seeds(np.array([0.01]), draws, 500, 0.95).low)
    same = over_seeds(np.full(3, 0.02), draws, 500, 0.95)  # seeds that agree leave the images'
    known = interval(0.02, draws, 500, 0.95)
    assert (same.low, same.high) == pytest.approx((known.low, known.high))
    assert over_seeds(np.array([-1.0, 1.0]), draws, 5, 0.95).high == 1


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


def test_files_matched_in_several_processes_are_the_same(monkeypatch):
    monkeypatch.setattr(comparison, 'available_cpus', lambda: 2)
    monkeypatch.setattr(comparison, '_LARGE', 2000)
    rng = np.random.default_rng(0)
    gts = objects(rng, 400, most=10)
    jobs = [
        (gts, detections(rng, gts, 400) * 3, 400, list(CLASSES), 100, 1.0, {}) for _ in range(3)
    ]
    assert len(jobs[0][1]) > 2000
    for job, curve in zip(jobs, match_all(jobs)):
        alone = ResampledAP(BoxEval(*job[:6]))
        np.testing.assert_array_equal(curve.identity(), alone.identity())


@pytest.mark.parametrize('freedom', [1, 7.5, 1000])
def test_interval_and_significance_belong_together(freedom):
    """Zero lies in the 95 % interval as long as p is above 0.05."""
    draws = np.random.default_rng(0).gamma(2, size=999)  # askew
    for value in np.linspace(-20, 20, 97):
        found = interval(value, draws - draws.mean() + value, freedom, 0.95)
        p = two_sided(value, draws - draws.mean() + value, freedom)
        assert (found.low <= 0 <= found.high) == (p > 0.05)
        assert found.high - value == pytest.approx(value - found.low)
    assert two_sided(0.0, np.zeros(10), 5) == 1
    assert np.isnan(two_sided(1.0, np.array([]), 5))
    assert np.isnan(two_sided(1.0, np.ones(9), 5))


def test_interval_is_moved_by_the_bias_where_there_is_one():
    draws = np.array([0.4, 0.6])  # a mean of 0.5, a spread of 0.1
    found = interval(0.3, draws, 1e9, 0.95, biased=True)
    assert (found.low, found.high) == pytest.approx((0, 0.1 + 0.196), abs=1e-4)  # 0.1 - 0.196
    found = interval(0.8, np.array([0.7, 0.9]), 1e9, 0.8, biased=True)
    assert (found.low, found.high) == pytest.approx((0.8 - 0.128, 0.8 + 0.128), abs=1e-3)
    assert interval(0.3, draws, 1e9, 0.95).low == pytest.approx(0.3 - 0.196, abs=1e-4)
    assert np.isnan(interval(np.nan, draws, 3, 0.95).low)
    assert np.isnan(interval(0.3, np.full(9, 0.3), 1, 0.95).low)  # of one image: not to be told
    assert interval(0.0, np.zeros(9), 1, 0.95).high == 0  # a difference that is none
    assert np.isnan(interval(0.0, np.zeros(9), 1, 0.95, biased=True).high)  # an AP of few objects
    assert np.isnan(interval(0.3, np.array([]), 3, 0.95).high)


@pytest.mark.slow
def test_intervals_cover_what_they_should():
    """Samples of a population that is known: 95 % of the intervals hold its numbers.

    One object in twelve is a bus, so that a sample of 100 images has some ten images with one.
    """
    size, taken, repeats, draws = 400, 100, 200, 300
    rng = np.random.default_rng(3)
    mixture = (1,) * 6 + (3,) * 5 + (2,)
    gts = objects(rng, size, most=3, crowds=0, classes=mixture)
    curves = [
        ResampledAP(
            BoxEval(gts, detections(rng, gts, size, noise, classes=mixture), size, list(CLASSES))
        )
        for noise in (0.10, 0.08)
    ]
    truth = np.stack([curve.categories(np.ones((1, size), int))[0, 0, :, 0] for curve in curves])
    held = {name: [] for name in ('value', 'difference', 'mean', 'difference of means')}
    for _ in range(repeats):
        sample = rng.multinomial(taken, np.full(size, 1 / size), size=1)
        again = rng.multinomial(taken, sample[0] / taken, size=draws)
        value = np.stack([curve.categories(sample)[0, 0, :, 0] for curve in curves])
        drawn = np.stack([curve.categories(again)[:, 0, :, 0] for curve in curves])
        drawn = np.where(np.isnan(drawn), value[:, None], drawn)
        images = curves[0].images_with_objects(sample[0])[:, :, :1]
        for biased, known, exact, draw in (
            (True, truth[0], value[0], drawn[0]),
            (False, *(np.diff(v, axis=0)[0] for v in (truth, value, drawn))),
        ):
            freedom = degrees_of_freedom(draw.var(axis=0)[None, None, :, None], images)[0, :, 0]
            name = ('difference', 'value')[biased]
            for place in range(len(CLASSES)):
                found = interval(
                    exact[place], draw[:, place], freedom[1 + place], 0.95, biased=biased
                )
                held[name].append(found.low <= known[place] <= found.high)
            found = interval(exact.mean(), draw.mean(axis=1), freedom[0], 0.95, biased=biased)
            held[('difference of means', 'mean')[biased]].append(
                found.low <= known.mean() <= found.high
            )
    shares = {name: np.mean(values) for name, values in held.items()}
    assert all(0.89 < share < 0.995 for share in shares.values()), shares
    assert all(share > 0.92 for name, share in shares.items() if 'difference' in name), shares
