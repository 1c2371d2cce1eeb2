"""BDD100K to COCO and detections to Scalabel: hand-made cases and the official code."""

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.detection.datasets.scalabel import CLASSES, load_frames
from mmclarity.detection.evaluation import BDD100KMetric
from mmclarity.utils.json_files import LabelFileError, write_json
from tests.real_data import DATA, needs
from tools.dataset_converters import bdd100k_to_coco, coco_to_scalabel

ROOT = Path(__file__).resolve().parents[2]
FOG, FRAMES = DATA / 'road_fog_bdd100k', DATA / 'bdd100k_frames'
needs_official = pytest.mark.skipif(
    importlib.util.find_spec('bdd100k') is None, reason='needs the PyPI package bdd100k'
)
needs_fog = needs('road_fog_bdd100k')


def make_label(category, box, label_id='1', **attributes):
    x1, y1, x2, y2 = box
    return {
        'id': label_id,
        'category': category,
        'attributes': attributes,
        'box2d': {'x1': x1, 'y1': y1, 'x2': x2, 'y2': y2},
    }


def make_labels(path, frames):
    write_json(path, frames)
    return str(path)


def random_frames(seed, images=10):
    """Frames with every class, old names, ignored categories, crowds and negatives."""
    rng = np.random.default_rng(seed)
    names = [*CLASSES, 'person', 'bike', 'motor', 'van', 'caravan', 'other person', 'trailer']
    frames = []
    for index in range(images):
        labels = []
        for number in range(int(rng.integers(0, 12))):
            x1, y1 = rng.uniform(0, 900), rng.uniform(0, 500)
            width, height = np.exp(rng.uniform(1, 5.3, 2))
            box = [float(v) for v in (x1, y1, x1 + width, y1 + height)]
            crowd = bool(rng.random() < 0.1)
            labels.append(make_label(str(rng.choice(names)), box, f'{index}-{number}', crowd=crowd))
        frame = {'name': f'{index:03d}.jpg', 'labels': labels}
        frame['attributes'] = {'weather': 'foggy', 'timeofday': 'night', 'scene': 'highway'}
        if index == 1:
            frame['labels'] = None
        frames.append(frame)
    return frames


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


@needs_fog
def test_real_fog_photos_load_in_mmdet_as_ours(tmp_path):
    from mmdet.datasets import CocoDataset

    out = tmp_path / 'coco.json'
    images = FOG / 'images/100k/val'
    args = [str(FOG / 'labels/det_20/det_val.json'), str(out), '--images', str(images), '--clip']
    assert bdd100k_to_coco.main(args) == 0
    with contextlib.redirect_stdout(io.StringIO()):
        assert len(COCO(str(out)).getAnnIds()) == 243
        theirs = CocoDataset(
            ann_file=str(out),
            data_prefix={'img': str(images)},
            metainfo={'classes': CLASSES},
        )
    ours = BDD100KDataset(
        data_root=str(FOG),
        ann_file='labels/det_20/det_val.json',
        data_prefix={'img': 'images/100k/val'},
    )
    assert len(ours) == len(theirs) == 40
    for index in range(40):
        one, other = ours.get_data_info(index), theirs.get_data_info(index)
        for key in ('img_path', 'img_id', 'width', 'height'):
            assert one[key] == other[key]
        for item, same in zip(one['instances'], other['instances'], strict=True):
            assert item['bbox'] == pytest.approx(same['bbox'])
            assert item['bbox_label'] == same['bbox_label']


def official_frames(path):
    """Frames and configuration of the official package, its own name mapping applied."""
    from bdd100k.common.utils import load_bdd100k_config
    from bdd100k.label.to_scalabel import bdd100k_to_scalabel
    from scalabel.label.io import load

    config = load_bdd100k_config('det')
    return bdd100k_to_scalabel(load(str(path)).frames, config), config.scalabel


@needs_official
def test_to_coco_equals_the_official_converter(tmp_path):
    from scalabel.label.to_coco import scalabel2coco_detection

    paths = [make_labels(tmp_path / f'{seed}.json', random_frames(seed)) for seed in range(3)]
    if FRAMES.is_dir():
        paths += [FRAMES / 'detect/labels/annotation.json',
                  *sorted((FRAMES / 'track/labels').glob('*.json'))]  # fmt: skip
    for path in paths:
        theirs = scalabel2coco_detection(*official_frames(path))
        frames, report = load_frames(path)
        ours = bdd100k_to_coco.to_coco(frames, [(1280, 720)] * len(frames), report)
        assert ours['categories'] == theirs['categories']
        for key in ('id', 'height', 'width'):
            assert [i[key] for i in ours['images']] == [i[key] for i in theirs['images']]
        assert len(ours['annotations']) == len(theirs['annotations']) > 0
        for one, other in zip(ours['annotations'], theirs['annotations'], strict=True):
            for key in ('id', 'image_id', 'category_id', 'scalabel_id', 'iscrowd', 'ignore'):
                assert one[key] == other[key]
            np.testing.assert_allclose([*one['bbox'], one['area']],
                                       [*other['bbox'], other['area']])  # fmt: skip


@needs_official
def test_metric_and_files_equal_the_official_evaluation(tmp_path, monkeypatch):
    """Detections of known quality get the same AP here and, through Scalabel files, there."""
    import torch
    from scalabel.eval import detect
    from scalabel.label.io import load

    # pycocotools >= 2.0.9 insists on an entry that the official package does not make
    convert = detect.scalabel2coco_detection
    monkeypatch.setattr(
        detect, 'scalabel2coco_detection', lambda *args: {'info': {}, **convert(*args)}
    )

    labels = make_labels(tmp_path / 'det.json', random_frames(4, images=20))
    for index in range(20):
        (tmp_path / f'{index:03d}.jpg').touch()
    dataset = BDD100KDataset(
        ann_file=labels, data_prefix={'img': str(tmp_path)}, check_images=False,
        image_size=(1280, 720),
    )  # fmt: skip
    metric = BDD100KMetric(outfile_prefix=str(tmp_path / 'val'))
    metric.dataset_meta = dataset.metainfo
    rng = np.random.default_rng(0)
    for info in (dataset.get_data_info(index) for index in range(20)):
        boxes = np.array([item['bbox'] for item in info['instances']]).reshape(-1, 4)
        named = np.array([item['bbox_label'] for item in info['instances']], dtype=int)
        confused = rng.integers(0, 10, len(named))
        moved = boxes + rng.normal(0, 2, boxes.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])  # a detector gives no negative sizes
        pred = {
            'bboxes': torch.tensor(moved),
            'labels': torch.tensor(np.where(rng.random(len(named)) < 0.7, named, confused)),
            'scores': torch.tensor(rng.random(len(named))),
        }
        metric.process({}, [{**info, 'ori_shape': (720, 1280), 'pred_instances': pred}])
    found = metric.evaluate(20)
    paths = [str(tmp_path / name) for name in ('val.bbox.json', 'val.gt.json', 'pred.json')]
    assert coco_to_scalabel.main(paths) == 0
    frames, config = official_frames(labels)
    result = detect.evaluate_det(frames, load(paths[2]).frames, config, nproc=1).summary()
    for ours, theirs in (('mAP', 'AP'), ('mAP_50', 'AP50'), ('mAP_75', 'AP75'), ('mAP_s', 'APs'),
                         ('mAP_m', 'APm'), ('mAP_l', 'APl')):  # fmt: skip
        assert 100 * found[f'bdd/{ours}'] == pytest.approx(result[theirs], abs=1e-6)
