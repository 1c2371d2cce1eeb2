"""Labels and results that are refused, with their place and a remedy."""

import gzip
import json

import numpy as np
import pytest

from mmclarity.detection.evaluation.label_files import read_labels, read_results
from mmclarity.utils.json_files import LabelFileError
from tests.detection.evaluation.synthetic_detections import coco, detections, objects, results


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    gts = objects(rng, 6)
    return coco(gts, 6), results(detections(rng, gts, 6))


def save(path, content):
    path.write_text(json.dumps(content))
    return path


def broken(**changes):
    return lambda labels, dts: (labels, [dts[0] | changes])


REFUSED = {
    'another image': (broken(image_id=7), 'image_id 7 is not among the images'),
    'image ids in a list': (broken(image_id=[100]), r'image_id must be one number, got \[100\]'),
    'classes in a list': (broken(category_id=[1]), r'category_id must be one number'),
    'another class': (broken(category_id=9), 'category_id 9 is not among the'),
    'classes from 0': (broken(category_id=0), 'Does it count the classes from 0 or 1'),
    'no score': (lambda labels, dts: (labels, [{'image_id': 100}]), "lacks .*'score'"),
    'a box of nothing': (broken(bbox=[1, 2, -3, 4]), 'not negative'),
    'ground truth': (lambda labels, dts: (labels, labels), 'this is ground truth'),
    'frames without score': (
        lambda labels, dts: (
            labels,
            [dict(name='000.jpg', labels=[dict(category='car', box2d={})])],
        ),
        'no "score"; is this ground truth',
    ),
    'a frame of another set': (
        lambda labels, dts: (labels, [dict(name='x.jpg', labels=[])]),
        "frame 0 .'x.jpg'. is no image of",
    ),
    'a frame twice': (
        lambda labels, dts: (labels, [dict(name='000.jpg')] * 2),
        'occurs twice',
    ),
    'frames missing': (
        lambda labels, dts: (labels, [dict(name='000.jpg')]),
        "5 of 6 labelled images have no frame, e.g. '001.jpg'",
    ),
    'a class in frames': (
        lambda labels, dts: (
            labels,
            [dict(name='000.jpg', labels=[dict(category='tree', score=1)])],
        ),
        "category 'tree' is none of",
    ),
    'a box in frames': (
        lambda labels, dts: (
            labels,
            [dict(name='000.jpg', labels=[dict(category='car', score=1, box2d=dict(x1=2))])],
        ),
        'box2d must have the numbers',
    ),
    'a score without end': (broken(score=10**400), 'score finite'),
    'images that are none': (
        lambda labels, dts: (labels | dict(images=None), dts),
        '"images" must be a list, got NoneType',
    ),
    'an image without a name': (
        lambda labels, dts: (labels | dict(images=[dict(id=100, file_name=7)]), dts),
        'image 0: "id" must be one, and "file_name" a text, got 100 and 7',
    ),
    'an image id twice': (
        lambda labels, dts: (labels | dict(images=labels['images'][:1] * 2), dts),
        'share an id',
    ),
    'a category twice': (
        lambda labels, dts: (
            labels | dict(categories=[dict(id=k, name='car') for k in (1, 2)]),
            dts,
        ),
        "two categories have the id 2 or the name 'car'",
    ),
    'a category without a name': (
        lambda labels, dts: (labels | dict(categories=[dict(id=1)]), dts),
        'category 0 lacks "id" or "name"',
    ),
    'labels of another image': (
        lambda labels, dts: (labels | dict(images=labels['images'][:1]), dts),
        'annotation .* image_id',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused_with_place_and_remedy(case, tmp_path, data):
    make, message = REFUSED[case]
    labels, dts = make(*data)
    paths = save(tmp_path / 'gt.json', labels), save(tmp_path / 'dt.json', dts)
    with pytest.raises(LabelFileError, match=message) as caught:
        read_results(paths[1], read_labels(paths[0]))
    assert str(caught.value).startswith(str(tmp_path))


def test_results_of_other_images_are_told_by_the_file_beside(tmp_path, data):
    labels, dts = data
    labelled = read_labels(save(tmp_path / 'labels.json', labels))
    path = save(tmp_path / 'run.bbox.json', dts)
    save(tmp_path / 'run.gt.json', labels | dict(images=labels['images'][:4]))
    with pytest.raises(LabelFileError, match='2 labelled ones are missing, e.g. .004.jpg'):
        read_results(path, labelled)
    large = [item | dict(width=1280, height=720) for item in labels['images']]
    save(tmp_path / 'run.gt.json', labels | dict(images=large))
    with pytest.raises(LabelFileError, match='run on 000.jpg in 1280x720 pixels .run.gt.json.'):
        read_results(path, labelled)
    renamed = [item | dict(name=f'{item["name"]}s') for item in labels['categories']]
    save(tmp_path / 'run.gt.json', labels | dict(categories=renamed))
    with pytest.raises(LabelFileError, match="names .'cars', .* no classes of"):
        read_results(path, labelled)


def test_a_file_cut_off(tmp_path, data):
    labelled = read_labels(save(tmp_path / 'gt.json', data[0]))
    path = save(tmp_path / 'dt.json', data[1])
    path.write_text(path.read_text()[:-20])
    with pytest.raises(LabelFileError, match='cut off'):
        read_results(path, labelled)


def test_duplicate_frames_are_refused(tmp_path):
    frames = [dict(name='a.jpg', labels=[])] * 2
    with pytest.raises(LabelFileError, match='occur more than once'):
        read_labels(save(tmp_path / 'labels.json', frames))


@pytest.mark.parametrize('part', ['images', 'categories'])
def test_ids_of_labels_that_are_lists(tmp_path, data, part):
    labels, _ = data
    labels[part][1]['id'] = [labels[part][1]['id']]
    with pytest.raises(LabelFileError, match=r' 1: "id" must be one'):
        read_labels(save(tmp_path / 'gt.json', labels))


def test_packed_results_are_told_by_the_file_beside(tmp_path, data):
    labels, dts = data
    labelled = read_labels(save(tmp_path / 'labels.json', labels))
    (tmp_path / 'run.bbox.json.gz').write_bytes(gzip.compress(json.dumps(dts).encode()))
    fewer = labels | dict(images=labels['images'][:4])
    for beside in ('run.gt.json', 'run.gt.json.gz'):
        content = json.dumps(fewer).encode()
        (tmp_path / beside).write_bytes(gzip.compress(content) if beside[-1] == 'z' else content)
        with pytest.raises(
            LabelFileError, match=f'{beside}: 0 of 4 .* 2 labelled ones are missing'
        ):
            read_results(tmp_path / 'run.bbox.json.gz', labelled)
        (tmp_path / beside).unlink()
