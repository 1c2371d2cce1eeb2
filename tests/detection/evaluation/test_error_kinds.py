"""Kinds of mistakes and their costs against TIDE's own code, and by hand."""

import numpy as np
import pytest

from mmclarity.detection.evaluation import error_kinds
from mmclarity.detection.evaluation.coco_eval import BoxEval
from mmclarity.detection.evaluation.error_kinds import KINDS, SIZES, ErrorKinds
from tests.detection.evaluation.synthetic_detections import CLASSES, detections, objects

IMAGES = 25
#: TIDE's names of the kinds.
THEIRS = dict(
    Cls='name', Loc='box', Both='both', Dupe='duplicate', Bkg='background', Miss='missed',
    FalsePos='false positives', FalseNeg='false negatives',
)  # fmt: skip


def scene(seed, crowds=0.0, digits=None):
    rng = np.random.default_rng(seed)
    gts = objects(rng, IMAGES, crowds=crowds)
    return gts, detections(rng, gts, IMAGES, noise=0.2, named=0.7, digits=digits)


def tide(gts, dts):
    """Counts and costs by the authors' code."""
    tidecv = pytest.importorskip('tidecv', reason='tidecv is not installed (requirements-dev.txt)')
    truth, found = (tidecv.Data(name, max_dets=1000) for name in ('gt', 'dt'))
    for data in (truth, found):
        for number, name in CLASSES.items():
            data.add_class(number, name)
        for image in range(IMAGES):
            data.add_image(image, str(image))
    for gt in gts:
        truth.add_ground_truth(gt['image_id'], gt['category_id'], gt['bbox'])
    for dt in dts:
        found.add_detection(dt['image_id'], dt['category_id'], dt['score'], dt['bbox'])
    run = tidecv.TIDE().evaluate(truth, found, mode=tidecv.TIDE.BOX)
    costs = run.fix_main_errors() | run.fix_special_errors()
    costs = {THEIRS[kind.short_name]: value / 100 for kind, value in costs.items()}
    counts = {THEIRS[kind.short_name]: count for kind, count in run.count_errors().items()}
    return counts, costs | {'AP50': run.ap / 100}


@pytest.mark.parametrize('seed', range(8))
def test_counts_and_costs_are_those_of_tide(seed, monkeypatch):
    # COCO's recall thresholds are 1/100 up to rounding, TIDE's are exactly
    monkeypatch.setattr(error_kinds, '_RECALLS', np.arange(101) / 100)
    gts, dts = scene(seed)
    found = ErrorKinds(gts, dts, IMAGES, list(CLASSES))
    counts, costs = tide(gts, dts)
    assert found.counts() == counts and min(counts.values()) > 0
    assert found.costs() == pytest.approx(costs, abs=1e-12)


@pytest.mark.parametrize('crowds, digits', [(0.0, None), (0.3, None), (0.1, 1)])
def test_ap50_is_that_of_coco(crowds, digits):
    gts, dts = scene(20, crowds, digits)
    evaluation = BoxEval(gts, dts, IMAGES, list(CLASSES))
    summary = evaluation.summarize_images(evaluation.match())
    found = ErrorKinds(gts, dts, IMAGES, list(CLASSES))
    assert found.costs()['AP50'] == pytest.approx(summary.average(0.5), abs=1e-12)
    for place, category in enumerate(CLASSES):
        assert found.costs(category=category)['AP50'] == pytest.approx(
            summary.average(0.5, category_id=category)
        )
        np.testing.assert_allclose(
            found.curve(category), summary.precision[0, :, place, 0], atol=1e-12
        )
    some = [0, 3, 4, 9]
    part = evaluation.summarize_images(evaluation.match(), some)
    assert found.costs(images=some)['AP50'] == pytest.approx(part.average(0.5))


def one(bbox, category=1, score=None):
    item = dict(image_id=0, category_id=category, bbox=[float(v) for v in bbox])
    return item | (dict(iscrowd=0) if score is None else dict(score=score))


CASES = {
    'right': ([0, 0, 10, 10], 1, 'right'),
    'name': ([0, 0, 10, 10], 2, 'name'),
    'box': ([6, 0, 10, 10], 1, 'box'),
    'both': ([6, 0, 10, 10], 2, 'both'),
    'background': ([50, 50, 10, 10], 1, 'background'),
    'hardly near': ([9.5, 0, 10, 10], 1, 'background'),
}


@pytest.mark.parametrize('case', CASES)
def test_each_kind_by_hand(case):
    box, category, kind = CASES[case]
    found = ErrorKinds([one([0, 0, 10, 10])], [one(box, category, 0.5)], 1, [1, 2])
    assert found.kind.tolist() == [kind]
    assert found.missed.tolist() == [kind in ('both', 'background')]
    assert found.best.tolist() == [kind in ('name', 'box')]


def test_duplicate_by_hand_and_crowds_forgive():
    gts = [one([0, 0, 10, 10])]
    dts = [one([0, 0, 10, 9], score=0.8), one([0, 0, 10, 10], score=0.9)]
    found = ErrorKinds(gts, dts, 1, [1])
    assert found.kind.tolist() == ['right', 'duplicate'] and found.dts[0]['score'] == 0.9
    crowd = one([40, 40, 50, 50]) | dict(iscrowd=1)
    found = ErrorKinds([*gts, crowd], [one([45, 45, 5, 5], score=1), *dts], 1, [1])
    assert found.kind.tolist() == ['ignored', 'right', 'duplicate']
    assert sum(found.counts().values()) == 1 and found.costs()['AP50'] == 1


def test_parts_add_up():
    gts, dts = scene(2)
    scale = np.linspace(1, 4, IMAGES)
    found = ErrorKinds(gts, dts, IMAGES, list(CLASSES), area_scale=scale)
    whole = found.counts()
    halves = [found.counts(images=part) for part in (range(10), range(10, IMAGES))]
    classes = [found.counts(category=category) for category in CLASSES]
    sizes = [found.counts(size=size) for size in SIZES]
    for parts in (halves, classes, sizes):
        assert {kind: sum(part[kind] for part in parts) for kind in KINDS} == whole
    for gt in gts:
        area = gt['bbox'][2] * gt['bbox'][3] * scale[gt['image_id']]
        expected = 'small' if area <= 1024 else 'medium' if area <= 9216 else 'large'
        assert found.size_of(gt) == expected
    # a size's mistakes cost no more than all, as a rule by far
    for kind in KINDS:
        assert found.costs(size='small')[kind] <= found.costs()[kind] + 0.02


def test_confusion_counts_objects_and_confident_detections_once():
    gts, dts = scene(3)
    found = ErrorKinds(gts, dts, IMAGES, list(CLASSES))
    for least in (0.0, 0.5, 2.0):
        table = found.confusion(least)
        expected = [sum(gt['category_id'] == number for gt in gts) for number in CLASSES]
        assert table[:-1].sum(axis=1).tolist() == expected
        called = [
            sum(dt['category_id'] == number and dt['score'] >= least for dt in dts)
            for number in CLASSES
        ]
        assert table[:, :-1].sum(axis=0).tolist() == called and table[-1, -1] == 0
    right = [(found.kind == 'right')[[dt['category_id'] == k for dt in found.dts]].sum()
             for k in CLASSES]  # fmt: skip
    assert np.diag(found.confusion(0.0))[:-1].tolist() == right
    # a wrong name: object 2 called 1
    table = ErrorKinds([one([0, 0, 9, 9], 2)], [one([0, 0, 9, 9], 1, 0.5)], 1, [1, 2]).confusion(0)
    assert table.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_confusion_has_a_wrong_name_that_touches_an_object_of_its_own_name_too():
    """TIDE calls it a bad box of the object that it touches; it lies on another."""
    gts = [one([0, 0, 10, 10], 1), one([7, 0, 10, 10], 2)]
    found = ErrorKinds(gts, [one([0, 0, 10, 10], 2, 0.9)], 1, [1, 2])
    assert found.kind.tolist() == ['box'] and found.target.tolist() == [1]
    assert found.confusion(0.5).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    # beside the right one it lies on an object that is taken
    found = ErrorKinds(gts, [one([0, 0, 10, 10], 2, 0.9), one([0, 0, 10, 9], 1, 0.6)], 1, [1, 2])
    assert found.confusion(0.5).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_sizes_are_by_the_area_that_labels_give():
    gts = [one([0, 0, 40, 40]) | dict(area=900.0), one([0, 0, 40, 40]) | dict(area=0)]
    found = ErrorKinds(gts, [one([0, 0, 40, 40], score=0.5) | dict(area=1)], 1, [1])
    assert [found.size_of(gt) for gt in gts] == ['small', 'medium']


def test_calibration_by_hand_and_of_a_calibrated_detector():
    gts = [one([20 * place, 0, 10, 10]) for place in range(4)]
    dts = [one([20 * place, 0, 10, 10], score=0.75) for place in range(3)]
    dts += [one([0, 90, 10, 10], score=0.75), one([0, 60, 10, 10], score=0.25)]
    mean, share, number, error = ErrorKinds(gts, dts, 1, [1]).calibration(10)
    assert number.tolist() == [0, 0, 1, 0, 0, 0, 0, 4, 0, 0]
    assert (mean[7], share[7], mean[2], share[2]) == (0.75, 0.75, 0.25, 0.0)
    assert error == pytest.approx(0.25 / 5)
    rng = np.random.default_rng(0)
    gts, dts = [], []
    for place in range(4000):
        score = float(rng.random())
        box = [20 * place, 0, 10, 10]
        dts.append(one(box, score=score))
        if rng.random() < score:
            gts.append(one(box))
    assert ErrorKinds(gts, dts, 1, [1], max_dets=10**6).calibration()[3] < 0.03
    assert np.isnan(ErrorKinds([], [], 1, [1]).calibration()[3])


def test_empty():
    gts, dts = scene(4)
    nothing = ErrorKinds([], dts, IMAGES, list(CLASSES))
    assert np.isnan(list(nothing.costs().values())).all()
    assert nothing.counts()['background'] == len(dts)
    silent = ErrorKinds(gts, [], IMAGES, list(CLASSES))
    assert silent.counts() == dict.fromkeys(KINDS, 0) | dict(missed=len(gts))
    assert silent.costs()['AP50'] == 0


def test_max_dets_keeps_the_best_scoring():
    dts = [one([0, 0, 10, 10], score=s) for s in (0.1, 0.9, 0.5)]
    found = ErrorKinds([one([0, 0, 10, 10])], dts, 1, [1], max_dets=2)
    assert [dt['score'] for dt in found.dts] == [0.9, 0.5]
