"""BDD100K to COCO and detections to Scalabel: hand-made cases and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.detection.datasets.scalabel import CLASSES, load_frames
from mmclarity.utils.json_files import LabelFileError, write_json
from tests.tools.bdd100k_labels import make_label, make_labels, random_frames
from tools.dataset_converters import bdd100k_to_coco, coco_to_scalabel

ROOT = Path(__file__).resolve().parents[2]


def test_to_coco_by_hand(tmp_path, capsys):
    frames = [
        {
            'name': 'a.jpg',
            'attributes': {'weather': 'snowy'},
            'labels': [
                make_label('person', (10, 20, 19.5, 40), 'p', occluded=True),
                make_label('trailer', (0, 0, 99, 99), 't'),
                make_label('lane', (0, 0, 9, 9)),
                make_label('car', (90, 90, 130, 99), 'c'),
            ],
        },
        {'name': 'b.jpg'},
    ]
    labels = make_labels(tmp_path / 'det.json', frames)
    out = tmp_path / 'new' / 'coco.json'
    assert bdd100k_to_coco.main([labels, str(out), '--image-size', '100', '100']) == 0
    coco = json.loads(out.read_text())
    assert [item['name'] for item in coco['categories']] == list(CLASSES)
    assert [item['id'] for item in coco['categories']] == list(range(1, 11))
    assert coco['images'] == [
        {'id': 1, 'file_name': 'a.jpg', 'width': 100, 'height': 100,
         'attributes': {'weather': 'snowy', 'timeofday': 'undefined', 'scene': 'undefined'}},
        {'id': 2, 'file_name': 'b.jpg', 'width': 100, 'height': 100,
         'attributes': dict.fromkeys(('weather', 'timeofday', 'scene'), 'undefined')},
    ]  # fmt: skip
    person, trailer, car = coco['annotations']
    assert person == {
        'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [10, 20, 10.5, 21], 'area': 220.5,
        'iscrowd': 0, 'ignore': 0, 'scalabel_id': 'p', 'attributes': {'occluded': True},
    }  # fmt: skip
    assert (trailer['category_id'], trailer['iscrowd']) == (4, 1)
    assert car['bbox'] == [90, 90, 41, 10]  # as labelled, unless clipping is asked for
    streams = capsys.readouterr()
    assert "1 labels of unknown categories skipped ('lane': 1)" in streams.err
    assert '2 images (1 without labels), 3 boxes' in streams.out
    assert bdd100k_to_coco.main(
        [labels, str(out), '--image-size', '100', '100', '--clip', '--classes', 'car']
    ) == 0  # fmt: skip
    coco = json.loads(out.read_text())
    assert coco['categories'] == [{'id': 3, 'name': 'car'}]
    assert [item['bbox'] for item in coco['annotations']] == [[90, 90, 10, 10]]


def test_sizes_come_from_files_or_labels(tmp_path, capsys):
    frames = [{'name': 'a.jpg', 'size': {'width': 5, 'height': 4}}, {'name': 'b.jpg'}]
    labels, out = make_labels(tmp_path / 'det.json', frames), tmp_path / 'coco.json'
    assert bdd100k_to_coco.main([labels, str(out)]) == 2
    assert "frame 1 ('b.jpg')" in capsys.readouterr().err
    assert not out.exists()
    assert bdd100k_to_coco.main([labels, str(out), '--image-size', '7', '6']) == 0
    assert [item['width'] for item in json.loads(out.read_text())['images']] == [5, 7]
    assert bdd100k_to_coco.main([labels, str(out), '--images', str(tmp_path)]) == 2
    assert 'a.jpg: missing' in capsys.readouterr().err
    for name in ('a.jpg', 'b.jpg'):
        Image.new('RGB', (9, 8)).save(tmp_path / name)
    # its boxes would lie elsewhere in the image; BDD100KDataset refuses it, too
    assert bdd100k_to_coco.main([labels, str(out), '--images', str(tmp_path)]) == 2
    assert "('a.jpg'): the image has 9 x 8 pixels, but the labels say 5 x 4" in (
        capsys.readouterr().err
    )
    Image.new('RGB', (5, 4)).save(tmp_path / 'a.jpg')
    assert bdd100k_to_coco.main([labels, str(out), '--images', str(tmp_path)]) == 0
    assert [item['height'] for item in json.loads(out.read_text())['images']] == [4, 8]


def test_labels_of_smaller_images_are_not_converted(tmp_path, capsys):
    rng = np.random.default_rng(0)
    sides, middle = rng.uniform(4, 20, (240, 2)), rng.uniform(0, 1, (240, 2)) * (160, 90)
    boxes = np.hstack([(middle - sides).clip(0), (middle + sides).clip(max=(160, 90)) - 1])
    labels = [make_label('car', box, str(i)) for i, box in enumerate(boxes.tolist())]
    file = make_labels(tmp_path / 'det.json', [{'name': 'a.jpg', 'labels': labels}])
    Image.new('RGB', (320, 180)).save(tmp_path / 'a.jpg')
    out = tmp_path / 'coco.json'
    assert bdd100k_to_coco.main([file, str(out), '--images', str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert 'upper left 160 x 90 pixels' in told and '320 x 180' in told and not out.exists()
    assert bdd100k_to_coco.main([file, str(out), '--image-size', '320', '180']) == 0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'x.json'
    write_json(path, [1])
    with pytest.raises(ValueError):
        write_json(path, [float('nan')])
    assert json.loads(path.read_text()) == [1]
    assert [item.name for item in tmp_path.iterdir()] == ['x.json']


def test_to_scalabel_by_hand(tmp_path, capsys):
    coco = {
        'images': [
            {'id': 5, 'file_name': 'images/100k/val/a.jpg', 'attributes': {'weather': 'foggy'}},
            {'id': 6, 'file_name': 'b.jpg'},
        ],
        'categories': [{'id': 3, 'name': 'car'}, {'id': 1, 'name': 'pedestrian'}],
    }
    dts = [
        {'image_id': 5, 'category_id': 3, 'bbox': [10, 20, 30, 40], 'score': 0.25},
        {'image_id': 5, 'category_id': 1, 'bbox': [1.5, 2, 3, 0], 'score': 0.75},
    ]
    paths = [str(tmp_path / name) for name in ('dt.json', 'gt.json', 'out.json')]
    write_json(paths[0], dts)
    write_json(paths[1], coco)
    assert coco_to_scalabel.main(paths) == 0
    assert '2 frames, 2 detections' in capsys.readouterr().out
    assert json.loads(Path(paths[2]).read_text()) == [
        {'name': 'a.jpg', 'attributes': {'weather': 'foggy'}, 'labels': [
            {'id': '1', 'category': 'pedestrian', 'score': 0.75,
             'box2d': {'x1': 1.5, 'y1': 2, 'x2': 3.5, 'y2': 1}},
            {'id': '0', 'category': 'car', 'score': 0.25,
             'box2d': {'x1': 10, 'y1': 20, 'x2': 39, 'y2': 59}}]},
        {'name': 'b.jpg', 'labels': []},
    ]  # fmt: skip
    assert coco_to_scalabel.main([*paths, '--min-score', '0.5']) == 0
    assert '2 frames, 1 detections' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'image_id': 9}, 'image_id 9 is not among the images'),
        ({'category_id': 0}, 'category_id 0 is not among'),
        ({'bbox': [1, 2, 3]}, 'bbox must be'),
        ({'bbox': [1, 2, -3, 4]}, 'bbox must be'),
        ({'bbox': None}, 'bbox must be'),
        ({'score': float('nan')}, 'score finite'),
        ({'score': None}, 'score finite'),
    ],
)
def test_detections_that_cannot_be_converted(change, message):
    good = {'image_id': 5, 'category_id': 3, 'bbox': [1, 2, 3, 4], 'score': 0.5}
    images, categories = [{'id': 5, 'file_name': 'a.jpg'}], [{'id': 3, 'name': 'car'}]
    with pytest.raises(LabelFileError, match=f'val: detection 1: .*{message}'):
        coco_to_scalabel.to_scalabel([good, {**good, **change}], images, categories, source='val')
    del good['score']
    with pytest.raises(LabelFileError, match=r"lacks \['score'\]"):
        coco_to_scalabel.to_scalabel([good], images, categories)


def test_wrong_files_are_named(tmp_path, capsys):
    write_json(tmp_path / 'dict.json', {'images': [], 'categories': []})
    write_json(tmp_path / 'list.json', [])
    args = [str(tmp_path / name) for name in ('dict.json', 'list.json', 'out.json')]
    assert coco_to_scalabel.main([args[0], args[0], args[2]]) == 2
    assert 'dict.json: expected a list of detections' in capsys.readouterr().err
    assert coco_to_scalabel.main([args[1], args[1], args[2]]) == 2
    assert 'list.json: expected a COCO data set' in capsys.readouterr().err
    (tmp_path / 'cut.json').write_text('[{"image_id"')
    assert coco_to_scalabel.main([str(tmp_path / 'cut.json'), args[0], args[2]]) == 2
    assert 'cut off' in capsys.readouterr().err
    assert bdd100k_to_coco.main([str(tmp_path / 'none.json'), args[2]]) == 2
    assert 'none.json: no such' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def test_there_and_back(tmp_path):
    """Ground truth, converted to COCO and back as if detected, is what it was."""
    labels = make_labels(tmp_path / 'det.json', random_frames(0))
    frames, report = load_frames(labels)
    coco = bdd100k_to_coco.to_coco(frames, [(1280, 720)] * len(frames), report)
    dts = [{**item, 'score': 1.0} for item in coco['annotations']]
    back = coco_to_scalabel.to_scalabel(dts, coco['images'], coco['categories'])
    assert len(back) == len(frames) and report.outside == 0
    for frame, other in zip(frames, back, strict=True):
        assert frame.name == other['name'] and frame.attributes == other['attributes']
        assert [label.category for label in frame.labels] == [
            label['category'] for label in other['labels']
        ]
        for label, found in zip(frame.labels, other['labels'], strict=True):
            np.testing.assert_allclose(list(found['box2d'].values()), label.box)


def test_scripts_run_from_any_directory(tmp_path):
    make_labels(tmp_path / 'det.json', random_frames(1, images=2))
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    script = ROOT / 'tools' / 'dataset_converters' / 'bdd100k_to_coco.py'
    done = subprocess.run(
        [sys.executable, str(script), 'det.json', 'coco.json', '--image-size', '1280', '720'],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / 'coco.json').read_text())['images']) == 2


IMAGES = [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}]
CARS = [{'id': 1, 'name': 'car'}]


@pytest.mark.parametrize(
    'images, categories, message',
    [
        ([{'id': 1}], CARS, 'image 0 lacks "id" or "file_name"'),
        (['a.jpg'], CARS, 'image 0 lacks "id" or "file_name"'),
        ([IMAGES[0], dict(IMAGES[1], id=1)], CARS, '1 images share an id'),
        (IMAGES, [{'name': 'car'}], 'category 0 lacks "id" or "name"'),
        (
            IMAGES,
            [*CARS, {'id': 1, 'name': 'bus'}],
            "two categories have the id 1 or the name 'bus'",
        ),
    ],
)
def test_images_and_categories_that_cannot_be_told_apart(
    tmp_path, capsys, images, categories, message
):
    """Two categories of one id gave cars the name of the second; an image of two was lost."""
    write_json(tmp_path / 'gt.json', {'images': images, 'categories': categories})
    found = [{'image_id': 1, 'category_id': 1, 'bbox': [1, 2, 3, 4], 'score': 0.5}]
    write_json(tmp_path / 'dt.json', found)
    names = [str(tmp_path / name) for name in ('dt.json', 'gt.json', 'out.json')]
    assert coco_to_scalabel.main(names) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def test_labels_of_larger_images_are_refused(tmp_path, capsys):
    """Frames were made smaller, boxes were not: half of them were left out with a warning."""
    labels = make_labels(tmp_path / 'det.json', random_frames(0, images=20))
    given = [labels, str(tmp_path / 'out.json'), '--image-size']
    assert bdd100k_to_coco.main([*given, '480', '270']) == 2
    told = capsys.readouterr().err
    assert 'boxes lie wholly outside their images (first: ' in told and 'larger images' in told
    assert not (tmp_path / 'out.json').exists()
    assert bdd100k_to_coco.main([*given, '1280', '720']) == 0
    with pytest.raises(SystemExit):
        bdd100k_to_coco.parse_args([*given, '0', '-5'])
    for index in range(20):
        Image.new('RGB', (480, 270)).save(tmp_path / f'{index:03d}.jpg')
    with pytest.raises(LabelFileError, match='of 1.. boxes lie wholly outside'):
        BDD100KDataset(ann_file=labels, data_prefix={'img': str(tmp_path)})


def test_what_is_read_is_not_written_over(tmp_path, capsys):
    labels = Path(make_labels(tmp_path / 'det.json', random_frames(0)))
    before = labels.read_bytes()
    (tmp_path / 'link.json').symlink_to(labels)
    for name in ('det.json', 'link.json'):
        given = [str(labels), str(tmp_path / name), '--image-size', '1280', '720']
        assert bdd100k_to_coco.main(given) == 2
        assert 'is what is read here; give the result another name' in capsys.readouterr().err
    assert labels.read_bytes() == before
    write_json(tmp_path / 'gt.json', {'images': IMAGES, 'categories': CARS})
    write_json(tmp_path / 'dt.json', [])
    detections, images = str(tmp_path / 'dt.json'), str(tmp_path / 'gt.json')
    for out in (detections, images):
        assert coco_to_scalabel.main([detections, images, out]) == 2
    assert json.loads((tmp_path / 'dt.json').read_text()) == []
