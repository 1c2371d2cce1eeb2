"""BDD100KMetric against plain pycocotools, and against cases worked out by hand."""

import copy
import math

import numpy as np
import pytest

from mmclarity.detection.datasets.scalabel import CLASSES
from mmclarity.detection.evaluation import bdd100k_metric
from tests.detection.evaluation.metric_samples import (
    BUS,
    CAR,
    NAMES,
    PEDESTRIAN,
    evaluate,
    gt,
    make_sample,
    random_samples,
    reference,
)

A, B, C = [0, 0, 50, 50], [100, 100, 150, 150], [200, 200, 250, 250]


def test_equals_pycocotools():
    for seed in range(4):
        samples = random_samples(seed)
        found = evaluate(samples)
        expected = reference(samples, range(10))
        assert 0.05 < found['bdd/mAP'] < 0.95
        np.testing.assert_allclose([found[f'bdd/{name}'] for name in NAMES], expected, atol=1e-12)


def test_groups_equal_an_evaluation_of_their_images_alone():
    samples = random_samples(5, images=18)
    found = evaluate(samples, by=('weather', 'timeofday'), instance_attribute='degraded')
    for value, key in (('foggy', 'foggy'), ('rainy', 'rainy'), ('partly cloudy', 'partly_cloudy')):
        part = [sample for sample in samples if sample['weather'] == value]
        expected = reference(part, range(10))
        np.testing.assert_allclose(
            [found[f'bdd/weather/{key}/{name}'] for name in NAMES], expected, atol=1e-12
        )
        alone = evaluate(part, instance_attribute='degraded')
        for name in ('mAP_degraded', 'mAP_clear'):
            assert found[f'bdd/weather/{key}/{name}'] == pytest.approx(alone[f'bdd/{name}'])
    assert found['bdd/timeofday/daytime/mAP'] == found['bdd/mAP']


def test_an_attribute_of_zero_is_a_value():
    """Only what is lacking or empty is undefined."""
    values = [0, 1, 0, None, '']
    samples = [make_sample(i, [gt(A)], [(A, CAR, 0.9)], night=v) for i, v in enumerate(values)]
    numbers = evaluate(samples, by=['night'])
    groups = {key.split('/')[2] for key in numbers if '/night/' in key}
    assert groups == {'0', '1', 'undefined'}


def test_detections_in_bfloat16_are_taken():
    sample = make_sample(1, [gt(A)], [(A, CAR, 0.5)])
    pred = sample['pred_instances']
    pred.update({key: pred[key].bfloat16() for key in ('bboxes', 'scores')})
    assert evaluate([sample])['bdd/mAP'] == pytest.approx(1)


def test_eval_classes_and_classwise_equal_pycocotools():
    samples = random_samples(6)
    found = evaluate(samples, eval_classes=['bus', 'pedestrian'], classwise=True)
    expected = reference(samples, [BUS, PEDESTRIAN])
    np.testing.assert_allclose([found[f'bdd/{name}'] for name in NAMES], expected, atol=1e-12)
    for name, label in (('bus', BUS), ('pedestrian', PEDESTRIAN)):
        expected = reference(samples, [label])
        np.testing.assert_allclose(
            [found[f'bdd/class/{name}/{key}'] for key in NAMES], expected, atol=1e-12
        )
    assert 'bdd/class/car/mAP' not in found


def test_order_of_the_images_does_not_matter():
    samples = random_samples(7)
    forward = evaluate(samples, instance_attribute='degraded')
    backward = evaluate(samples[::-1], instance_attribute='degraded')
    assert forward == pytest.approx(backward, nan_ok=True)


def test_perfect_detections_by_hand():
    samples = [make_sample(1, [gt(A), gt(B, BUS)], [(A, CAR, 0.9), (B, BUS, 0.8)])]
    found = evaluate(samples)
    assert [found[f'bdd/{name}'] for name in NAMES[:3]] == pytest.approx([1, 1, 1])
    assert found['bdd/mAP_m'] == pytest.approx(1)
    assert math.isnan(found['bdd/mAP_s']) and math.isnan(found['bdd/mAP_l'])


def test_half_found_by_hand():
    # one of two found: precision 1 up to recall 0.5, so 51 of COCO's 101 recall points
    samples = [make_sample(1, [gt(A), gt(B)], [(A, CAR, 0.9)])]
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(51 / 101)


def test_ignored_ground_truth_is_neither_right_nor_wrong():
    samples = [make_sample(1, [gt(A), gt(B, ignore=1)], [(B, CAR, 0.9), (B, CAR, 0.85),
                                                         (A, CAR, 0.8)])]  # fmt: skip
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(1)
    only_ignored = [make_sample(1, [gt(B, ignore=1)], [(B, CAR, 0.9)])]
    assert math.isnan(evaluate(only_ignored)['bdd/mAP'])


def test_degraded_and_clear_by_hand():
    # the clear car is found, the degraded one is not
    instances = [gt(A, degraded=False), gt(B, degraded=True)]
    found = evaluate([make_sample(1, instances, [(A, CAR, 0.9)])], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx(1)
    assert found['bdd/mAP_degraded'] == 0
    assert found['bdd/mAP'] == pytest.approx(51 / 101)
    # a detection of nothing, more certain than the others, counts against both
    extra = [(C, CAR, 0.95), (A, CAR, 0.9), (B, CAR, 0.8)]
    found = evaluate([make_sample(1, instances, extra)], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx(0.5)
    assert found['bdd/mAP_degraded'] == pytest.approx(0.5)


def test_attribute_that_labels_lack_counts_as_false():
    found = evaluate([make_sample(1, [gt(A)], [(A, CAR, 0.9)])], instance_attribute='occluded')
    assert found['bdd/mAP_not_occluded'] == pytest.approx(1)
    assert math.isnan(found['bdd/mAP_occluded'])


def test_nothing_detected_is_zero_and_nothing_to_find_is_nan():
    found = evaluate([make_sample(1, [gt(A)], []), make_sample(2, [], [])], by=('weather',))
    assert found['bdd/mAP'] == found['bdd/mAP_50'] == found['bdd/weather/clear/mAP'] == 0
    assert math.isnan(found['bdd/mAP_l'])
    found = evaluate([make_sample(1, [], [(A, CAR, 0.9)]), make_sample(2, [], [])])
    assert all(math.isnan(value) for value in found.values())


def test_classes_without_ground_truth_do_not_pull_the_mean():
    samples = [make_sample(1, [gt(A)], [(A, CAR, 0.9), (B, BUS, 0.9)])]
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(1)


def test_at_most_max_dets_count():
    detections = [(B, CAR, 0.9), (C, CAR, 0.8), (A, CAR, 0.7)]
    samples = [make_sample(1, [gt(A)], detections)]
    assert evaluate(samples, max_dets=2)['bdd/mAP'] == 0
    assert evaluate(samples, max_dets=3)['bdd/mAP'] == pytest.approx(1 / 3)


def test_input_is_left_as_it_was():
    samples = random_samples(8, images=3)
    before = copy.deepcopy(samples)
    evaluate(samples, instance_attribute='degraded', by=('weather',))
    assert str(samples) == str(before)


def test_same_img_id_in_two_data_sets_is_kept_apart():
    # as from a ConcatDataset: each image has its own ground truth
    samples = [make_sample(1, [gt(A)], [(A, CAR, 0.9)]), make_sample(1, [gt(B)], [(B, CAR, 0.9)])]
    assert evaluate(samples)['bdd/mAP'] == pytest.approx(1)


def test_detections_that_are_not_finite_are_left_out(monkeypatch):
    from mmclarity.detection.evaluation import bdd100k_metric

    texts = []
    monkeypatch.setattr(bdd100k_metric, 'print_log', lambda text, **_: texts.append(text))
    nan = float('nan')
    detections = [([nan, 0, 9, 9], CAR, 0.95), (B, CAR, nan), (A, CAR, 0.9)]
    assert evaluate([make_sample(1, [gt(A)], detections)])['bdd/mAP'] == pytest.approx(1)
    assert texts[0].startswith('BDD100KMetric: 2 detections with NaN')


def test_table_shows_every_row_and_column(monkeypatch):
    from mmclarity.detection.evaluation import bdd100k_metric

    texts = []
    monkeypatch.setattr(bdd100k_metric, 'print_log', lambda text, **_: texts.append(text))
    samples = [make_sample(1, [gt(A), gt(B, ignore=1)], [(A, CAR, 0.9)], weather='foggy')]
    evaluate(samples, by=('weather',), instance_attribute='degraded', classwise=True)
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in texts[0].splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if cells}
    assert rows['images of'] == ['images', 'boxes', *NAMES, 'mAP_degraded', 'mAP_clear']
    expected = ['1', '1', '1.000', '1.000', '1.000', 'nan', '1.000', 'nan', 'nan', '1.000']
    assert rows['all'] == rows['weather/foggy'] == rows['class/car'] == expected
    assert rows['class/traffic_light'][1:3] == ['0', 'nan']


def test_a_wrong_name_counts_against_the_part_it_lies_on():
    # the clear car is found; the degraded one is called a bus, with the higher score, and a
    # second clear object is a bus that is found, too
    bus = CLASSES.index('bus')
    far = [300.0, 10.0, 360.0, 50.0]
    instances = [gt(A, degraded=False), gt(B, degraded=True), gt(far, bus, degraded=False)]
    detections = [(A, CAR, 0.8), (B, bus, 0.9), (far, bus, 0.7)]
    found = evaluate([make_sample(1, instances, detections)], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx(1)
    assert found['bdd/mAP_degraded'] == 0
    # over all, the wrong name costs the buses half
    assert found['bdd/mAP'] == pytest.approx((0.5 + 51 / 101) / 2, abs=0.01)
    # a false alarm on nothing counts against both
    nothing = [200.0, 100.0, 240.0, 140.0]
    detections[1] = (nothing, bus, 0.9)
    found = evaluate([make_sample(1, instances, detections)], instance_attribute='degraded')
    assert found['bdd/mAP_clear'] == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize('scale', [4.0, (1280, 720)])
def test_area_scale_gives_small_frames_the_sizes_of_full_ones(scale, caplog):
    """Frames at half of width and height, with areas times four, are what the full ones are."""
    full = random_samples(12)
    half = copy.deepcopy(full)
    for sample in half:
        sample['ori_shape'] = (360, 640)
        sample['pred_instances']['bboxes'] /= 2
        for item in sample['instances']:
            item['bbox'] = [value / 2 for value in item['bbox']]
    expected = evaluate(full)
    found = evaluate(half, area_scale=scale)
    assert found == pytest.approx(expected, abs=1e-6)
    assert evaluate(half)['bdd/mAP_l'] != pytest.approx(expected['bdd/mAP_l'], abs=1e-3)
    # full-size frames keep their areas where the factor follows from the size
    if scale != 4.0:
        assert evaluate(full, area_scale=scale) == pytest.approx(expected)


def test_area_scale_stands_below_the_table(monkeypatch):
    printed = []
    monkeypatch.setattr(bdd100k_metric, 'print_log', lambda text, **_: printed.append(text))
    sample = make_sample(1, [gt(A)], [(A, CAR, 0.9)])
    sample['ori_shape'] = (360, 640)
    evaluate([sample], area_scale=(1280, 720))
    evaluate([sample])
    assert 'S/M/L as of 1280x720: areas count times 4' in printed[0]
    assert 'S/M/L' not in printed[1]
