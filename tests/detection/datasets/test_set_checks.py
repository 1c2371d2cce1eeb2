"""Sets without an object, and images that would count twice: refused before they are used."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image

import mmclarity.detection  # noqa: F401
from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.detection.datasets.scalabel import fit_box, load_frames
from mmclarity.detection.evaluation.label_files import read_labels
from mmclarity.engine.hooks.evaluation import EvaluationCheckHook
from mmclarity.errors import DataError, UsageError
from mmclarity.utils.json_files import LabelFileError
from mmclarity.utils.label_scale import smaller_image
from tests.detection.datasets.bdd100k_frames import infos, make_frame, make_label, make_root
from tests.real_data import DATA, needs


def coco(folder, files, boxes=1, **more):
    images = [dict(id=i, file_name=f, width=20, height=10) for i, f in enumerate(files, 7)]
    annotations = [
        dict(id=i, image_id=7, category_id=1, bbox=[1, 1, 5, 5], area=25, iscrowd=0, **more)
        for i in range(boxes)
    ]
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='car')])
    (folder / 'a.json').write_text(json.dumps(content))
    for name in files:
        Image.fromarray(np.zeros((10, 20), np.uint8)).save(folder / name)
    return folder / 'a.json'


def loader(path, kind='CocoDataset', **options):
    options = dict(metainfo=dict(classes=('car',)), pipeline=[], test_mode=True) | options
    dataset = DATASETS.build(
        dict(type=kind, ann_file=str(path), data_prefix=dict(img=f'{path.parent}/'), **options)
    )
    return SimpleNamespace(dataset=dataset)


def runner(train, val):
    return SimpleNamespace(
        train_dataloader=train,
        val_dataloader=val,
        test_dataloader=val,
        val_loop=object(),
        val_evaluator=SimpleNamespace(metrics=[]),
        test_evaluator=SimpleNamespace(metrics=[]),
        hooks=[],
    )


def test_whole_sets_pass(tmp_path):
    one = loader(coco(tmp_path, ['a.png', 'b.png']))
    EvaluationCheckHook().before_train(runner(one, one))
    EvaluationCheckHook().before_test(runner(one, one))


def test_metrics_that_write_files_learn_the_ids_of_the_data(tmp_path):
    path = coco(tmp_path, ['a.png'])
    content = json.loads(path.read_text())
    content['categories'] = [
        dict(id=number, name=name) for number, name in ((1, 'car'), (40, 'bus'))
    ]
    path.write_text(json.dumps(content))
    metrics = [
        SimpleNamespace(category_ids=None),
        SimpleNamespace(),
        SimpleNamespace(category_ids=(3,)),
    ]
    one = runner(*[loader(path, metainfo=dict(classes=('car', 'bus')))] * 2)
    one.test_evaluator.metrics = metrics
    EvaluationCheckHook().before_test(one)
    assert metrics[0].category_ids == (1, 40) and metrics[2].category_ids == (3,)
    assert not hasattr(metrics[1], 'category_ids')
    one.val_evaluator.metrics = [SimpleNamespace(category_ids=None, by=())]
    EvaluationCheckHook().before_train(one)
    assert one.val_evaluator.metrics[0].category_ids == (1, 40)


def test_groups_that_no_image_belongs_to(tmp_path):
    """A config of the road with own data: told before the first image, in a test as well."""
    one = loader(coco(tmp_path, ['a.png']))
    weather = SimpleNamespace(metrics=[SimpleNamespace(by=('weather',), prefix='bdd')])
    tested = runner(one, one)
    tested.test_evaluator = weather
    with pytest.raises(UsageError, match=r"no 'weather'.*test_evaluator=dict\(by=\(\)\)"):
        EvaluationCheckHook().before_test(tested)
    weather.metrics[0].format_only = True  # nothing is measured
    EvaluationCheckHook().before_test(tested)
    trained = runner(one, one)
    trained.val_evaluator = SimpleNamespace(metrics=[SimpleNamespace(by=('weather',))])
    with pytest.raises(UsageError, match=r'val_evaluator=dict\(by='):
        EvaluationCheckHook().before_train(trained)


@pytest.mark.parametrize('which', ['train', 'val'])
def test_a_set_without_objects_is_refused_unless_asked(tmp_path, which):
    (tmp_path / 'full').mkdir()
    empty = loader(coco(tmp_path, ['a.png'], boxes=0))
    full = loader(coco(tmp_path / 'full', ['a.png']))
    both = runner(*((empty, full) if which == 'train' else (full, empty)))
    with pytest.raises(DataError, match=f'{which}_dataloader: no image of CocoDataset .*a.json'):
        EvaluationCheckHook().before_train(both)
    EvaluationCheckHook(allow_no_objects=True).before_train(both)
    empty.dataset.allow_no_objects = True  # as BDD100KDataset has it
    EvaluationCheckHook().before_train(both)


def test_of_several_sets_one_with_objects_is_enough(tmp_path):
    (tmp_path / 'full').mkdir()
    parts = [coco(tmp_path, ['a.png'], boxes=0), coco(tmp_path / 'full', ['a.png'])]
    joined = SimpleNamespace(
        dataset=SimpleNamespace(datasets=[loader(path).dataset for path in parts])
    )
    EvaluationCheckHook().before_train(runner(joined, joined))


def test_objects_of_other_classes_do_not_count(tmp_path):
    one = loader(coco(tmp_path, ['a.png']), metainfo=dict(classes=('bus',)))
    with pytest.raises(DataError, match='no image of CocoDataset'):
        EvaluationCheckHook().before_train(runner(one, one))


def test_one_file_under_two_ids_is_refused_where_it_would_count_twice(tmp_path):
    path = coco(tmp_path, ['a.png', './a.png'])
    one = loader(path)
    for call in (EvaluationCheckHook().before_train, EvaluationCheckHook().before_test):
        with pytest.raises(DataError, match=r'lists .*a\.png twice \(img_id 7 and 8\)'):
            call(runner(one, one))
    with pytest.raises(DataError, match=r'\./a\.png has two ids, 7 and 8'):
        read_labels(path)


def test_paths_with_dots_are_one_frame(tmp_path):
    frames = [dict(name=name, labels=[]) for name in ('a.jpg', './a.jpg', 'x/../a.jpg', 'x//b.jpg')]
    (tmp_path / 'a.json').write_text(json.dumps(frames))
    found, report = load_frames(tmp_path / 'a.json')
    assert [frame.name for frame in found] == ['a.jpg', 'x/b.jpg']
    assert report.duplicates == 2


@pytest.mark.parametrize(
    ('said', 'meant'),
    [('false', False), ('No', False), ('0', False), ('', False), ('true', True), ('1', True)],
)
def test_texts_for_booleans_mean_what_they_say(tmp_path, said, meant):
    box = dict(x1=1, y1=1, x2=9, y2=9)
    label = dict(id='1', category='car', box2d=box, attributes=dict(Crowd=said, occluded=said))
    frame = dict(name='a.jpg', labels=[label], attributes=dict(weather='no'))
    (tmp_path / 'a.json').write_text(json.dumps([frame]))
    found = load_frames(tmp_path / 'a.json')[0][0]
    assert found.labels[0].ignored is meant
    assert found.labels[0].attributes['occluded'] is meant
    assert found.attributes['weather'] == 'no'


def of_half_the_size(size):
    """Frames of boxes that the border of an image of this size has cut, none beyond."""
    rng = np.random.default_rng(0)
    frames = []
    for name in range(20):
        sides, middle = rng.uniform(4, 20, (12, 2)), rng.uniform(0, 1, (12, 2)) * size
        boxes = np.hstack([(middle - sides).clip(0), (middle + sides).clip(max=size) - 1])
        frames.append(
            make_frame(f'{name}.jpg', *(make_label('car', box) for box in boxes.tolist()))
        )
    return frames


def test_labels_of_smaller_images_are_refused_unless_the_size_is_said(tmp_path):
    frames = of_half_the_size((160, 90))
    args = make_root(tmp_path, frames, size=(320, 180))
    with pytest.raises(LabelFileError, match=r'all 240 boxes .* upper left 160 x 90 .*320 x 180'):
        BDD100KDataset(**args)
    said = BDD100KDataset(**args, image_size=(320, 180))
    assert sum(len(info['instances']) for info in infos(said)) == 240
    for frame in frames:
        frame['size'] = dict(width=320, height=180)
    assert len(BDD100KDataset(**make_root(tmp_path, frames, size=(320, 180)))) == 20
    of_these = make_root(tmp_path / 'own', of_half_the_size((160, 90)), size=(160, 90))
    assert len(BDD100KDataset(**of_these)) == 20


@needs('bdd100k_640')
def test_real_labels_are_of_their_images_and_not_of_larger_ones():
    frames, report = load_frames(DATA / 'bdd100k_640/labels/det_20/det_val.json')
    boxes = [fit_box(label, (640, 360), report) for frame in frames for label in frame.labels]
    boxes = np.array([box for box in boxes if box is not None])
    assert smaller_image(boxes, (640, 360)) is None
    assert smaller_image(boxes, (1280, 720)) == (640, 360)
