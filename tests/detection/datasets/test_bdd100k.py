"""BDD100KDataset: every layout it reads, and every message it gives."""

import logging
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS

from mmclarity.detection.datasets import BDD100KDataset
from mmclarity.detection.datasets.scalabel import CLASSES, Label, ParseReport, fit_box, load_frames
from mmclarity.utils.json_files import LabelFileError, write_json
from tests.detection.datasets.bdd100k_frames import (
    HEIGHT,
    WIDTH,
    infos,
    make_frame,
    make_label,
    make_root,
)
from tests.real_data import DATA, needs

FOG, FRAMES = DATA / 'road_fog_bdd100k', DATA / 'bdd100k_frames'


@pytest.fixture
def warnings(monkeypatch):
    """Collects the data set's warnings."""
    from mmclarity.detection.datasets import bdd100k

    found = []

    def record(text, logger=None, level=logging.INFO):
        found.append((level, text))

    monkeypatch.setattr(bdd100k, 'print_log', record)
    return found


def test_det20_frame_in_full(tmp_path):
    args = make_root(tmp_path, [make_frame('a.jpg', make_label('car', (1, 2, 10.5, 20)))])
    dataset = DATASETS.build({'type': 'BDD100KDataset', **args})
    assert dataset.metainfo['classes'] == (
        'pedestrian', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
        'traffic light', 'traffic sign',
    )  # fmt: skip
    assert len(dataset.metainfo['palette']) == 10
    info = dataset.get_data_info(0)
    assert (info['width'], info['height'], info['img_id']) == (WIDTH, HEIGHT, 1)
    assert Path(info['img_path']) == tmp_path / 'images/100k/train/a.jpg'
    assert [info[key] for key in ('weather', 'timeofday', 'scene')] == [
        'foggy', 'dawn/dusk', 'city street',
    ]  # fmt: skip
    assert info['instances'] == [
        {
            'bbox': [1.0, 2.0, 11.5, 21.0],  # the last pixel belongs to a Scalabel box
            'bbox_label': 2,
            'ignore_flag': 0,
            'attributes': {'occluded': True, 'truncated': False},
            'label_id': '7',
        }
    ]


def test_old_names_and_ignored_categories(tmp_path, warnings):
    names = ['person', 'bike', 'motor', 'caravan', 'van', 'other person', 'other vehicle',
             'trailer', 'rider']  # fmt: skip
    labels = [make_label(name) for name in names]
    labels.append(make_label('car', crowd=True))
    labels.append(make_label('bus', ignored=True))
    instances = BDD100KDataset(**make_root(tmp_path, [make_frame('a.jpg', *labels)])).get_data_info(
        0
    )['instances']
    found = [(CLASSES[item['bbox_label']], item['ignore_flag']) for item in instances]
    assert found == [
        ('pedestrian', 0), ('bicycle', 0), ('motorcycle', 0), ('car', 0), ('car', 0),
        ('pedestrian', 1), ('car', 1), ('truck', 1), ('rider', 0), ('car', 1), ('bus', 1),
    ]  # fmt: skip
    assert not warnings


def test_everything_skipped_is_counted_in_one_warning(tmp_path, warnings):
    lane = {'id': 3, 'category': 'lane', 'poly2d': [], 'box2d': None}
    frames = [
        make_frame('a.jpg', make_label('car'), lane, {**lane, 'category': 'drivable area'}),
        make_frame('b.jpg', lane, make_label('car', (9, 9, 3, 3)), {'category': 'bus', 'id': 1}),
        make_frame('c.jpg', make_label('car', (-9, 5, 200, 20)), make_label('car', (70, 5, 90, 9))),
    ]
    dataset = BDD100KDataset(**make_root(tmp_path, frames))
    assert [len(info['instances']) for info in infos(dataset)] == [1, 0, 1]
    assert dataset.get_data_info(2)['instances'][0]['bbox'] == [0.0, 5.0, 64.0, 21.0]
    ((level, text),) = warnings
    assert level == logging.WARNING
    for part in (
        "3 labels of unknown categories skipped ('lane': 2, 'drivable area': 1)",
        '1 labels without box2d', '1 boxes of no area', '1 boxes wholly outside',
        '1 boxes reaching more than 1 px', 'det_train.json', 'mend or delete these labels',
        'label 2 (id 1))', "label id '", 'no area skipped (first: ',
    ):  # fmt: skip
        assert part in text


def test_box_within_a_pixel_of_the_border_is_clipped_silently():
    report = ParseReport()
    label = Label('1', 'car', (-0.5, 0, 64.0, 47.9), False, {})
    assert fit_box(label, (64, 48), report) == (0.0, 0.0, 64.0, 48.0)
    one_pixel = Label('1', 'car', (3, 3, 3, 3), False, {})
    assert fit_box(one_pixel, (64, 48), report) == (3, 3, 4, 4)
    assert report.summary() is None


def test_negatives_are_kept_or_filtered(tmp_path):
    missing = make_frame('b.jpg')
    del missing['labels']
    null = {**make_frame('c.jpg'), 'labels': None, 'attributes': None}
    frames = [make_frame('a.jpg', make_label('car')), missing, null, make_frame('d.jpg')]
    args = make_root(tmp_path, frames)
    assert len(BDD100KDataset(**args)) == 4
    assert BDD100KDataset(**args).get_data_info(2)['weather'] == 'undefined'
    kept = BDD100KDataset(**args, filter_cfg={'filter_empty_gt': True})
    assert [info['img_id'] for info in infos(kept)] == [1]
    assert len(BDD100KDataset(**args, filter_cfg={'filter_empty_gt': True}, test_mode=True)) == 4
    with pytest.raises(ValueError, match='leaves none of 4 images'):
        BDD100KDataset(**args, filter_cfg={'min_size': 49})
    with pytest.raises(ValueError, match='filter_empty'):
        BDD100KDataset(**args, filter_cfg={'filter_empty': True})


def test_images_are_left_out_by_name(tmp_path):
    """The others keep their numbers; what is left out need not even be there."""
    frames = [make_frame(f'{name}.jpg', make_label('car')) for name in 'abcd']
    arguments = make_root(tmp_path, frames)
    everything = BDD100KDataset(**arguments)
    (tmp_path / 'images/100k/train/b.jpg').unlink()
    dataset = BDD100KDataset(**arguments, left_out=['b.jpg', 'd.jpg'])
    assert [info['img_id'] for info in infos(dataset)] == [1, 3]
    expected = [infos(everything)[place] for place in (0, 2)]
    assert [info | dict(sample_idx=0) for info in infos(dataset)] == [
        info | dict(sample_idx=0) for info in expected
    ]
    with pytest.raises(ValueError, match=r"has no image 'e.jpg'; did you mean '[a-d].jpg'"):
        BDD100KDataset(**arguments, left_out=['e.jpg', 'b.jpg'])
    with pytest.raises(ValueError, match='names all 4 images'):
        BDD100KDataset(**arguments, left_out=['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'])
    with pytest.raises(ValueError, match='list of names'):
        BDD100KDataset(**arguments, left_out='a.jpg')


def test_layouts_agree(tmp_path):
    frames = [make_frame('a.jpg', make_label('car'), make_label('bus', label_id='8')),
              make_frame('b.jpg')]  # fmt: skip
    args = make_root(tmp_path, frames)
    old = [make_frame('a.jpg', make_label('van'), make_label('bus', label_id='8')), frames[1]]
    for frame in old:
        frame = dict(frame, name=Path(frame['name']).stem)
        frame['frames'] = [{'timestamp': 1, 'objects': frame.pop('labels')}]
        write_json(tmp_path / 'labels/100k/train' / f'{frame["name"]}.json', frame)
    write_json(tmp_path / 'labels/dataset.json', {'frames': frames, 'config': None})
    write_json(tmp_path / 'bdd100k_labels_images_train.json', old)
    expected = infos(BDD100KDataset(**args))
    for ann_file in (
        'labels/100k/train',
        'labels/dataset.json',
        'bdd100k_labels_images_train.json',
    ):
        assert infos(BDD100KDataset(**{**args, 'ann_file': ann_file})) == expected


def test_a_data_set_tells_the_size_of_all_its_images(tmp_path):
    frames = [make_frame('a.jpg'), dict(make_frame('b.jpg'), size=dict(width=64, height=48))]
    config = {'imageSize': {'width': 1280, 'height': 720}, 'categories': [{'name': 'car'}]}
    write_json(tmp_path / 'all.json', {'frames': frames, 'groups': None, 'config': config})
    assert [frame.size for frame in load_frames(tmp_path / 'all.json')[0]] == [
        (1280, 720),
        (64, 48),
    ]


def test_old_layout_without_objects_is_a_negative(tmp_path):
    for number, inner in enumerate(([], None, [{'timestamp': 1}])):
        write_json(tmp_path / f'{number}.json', {'name': f'n{number}', 'frames': inner})
    frames, report = load_frames(tmp_path)
    assert [frame.name for frame in frames] == ['n0.jpg', 'n1.jpg', 'n2.jpg']
    assert report.negatives == 3


def test_clips_keep_their_images_in_folders(tmp_path):
    frame = {**make_frame('a.jpg', make_label('car')), 'videoName': 'clip'}
    args = make_root(tmp_path, [frame])
    folder = tmp_path / 'images/100k/train'
    assert Path(BDD100KDataset(**args).get_data_info(0)['img_path']) == folder / 'a.jpg'
    (folder / 'clip').mkdir()
    (folder / 'a.jpg').rename(folder / 'clip/a.jpg')
    assert Path(BDD100KDataset(**args).get_data_info(0)['img_path']) == folder / 'clip/a.jpg'


def test_class_subset_takes_its_palette_along(tmp_path, warnings):
    frames = [make_frame('a.jpg', make_label('car'), make_label('bus'), make_label('trailer'))]
    args = make_root(tmp_path, frames)
    dataset = BDD100KDataset(**args, metainfo={'classes': ['bus', 'car']})
    assert [item['bbox_label'] for item in dataset.get_data_info(0)['instances']] == [1, 0]
    assert dataset.metainfo['palette'] == [(0, 60, 100), (0, 0, 142)]
    assert not warnings  # the others were left out because this was asked for


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (['cars'], "did you mean 'car'"),
        (['person'], "did you mean 'pedestrian'"),
        ('car', r"write \('car', \)"),
        (['car', 'car'], 'twice'),
        ([], 'empty'),
    ],
)
def test_class_lists_that_do_not_match(tmp_path, classes, message):
    args = make_root(tmp_path, [make_frame('a.jpg', make_label('car'))])
    with pytest.raises(ValueError, match=message):
        BDD100KDataset(**args, metainfo={'classes': classes})


def test_metainfo_string_is_no_file_name(tmp_path, monkeypatch):
    args = make_root(tmp_path, [make_frame('a.jpg', make_label('car'))])
    (tmp_path / 'bdd100k').mkdir()
    (tmp_path / 'note').write_text('content')
    monkeypatch.chdir(tmp_path)
    dataset = BDD100KDataset(**args, metainfo={'dataset_type': 'bdd100k', 'info': 'note'})
    assert dataset.metainfo['dataset_type'] == 'bdd100k'
    assert dataset.metainfo['info'] == 'note'


def test_missing_folders_name_what_is_there(tmp_path):
    args = make_root(tmp_path, [make_frame('a.jpg', make_label('car'))])
    with pytest.raises(FileNotFoundError, match='nowhere.*--cfg-options data_root='):
        BDD100KDataset(**{**args, 'data_root': str(tmp_path / 'nowhere')})
    with pytest.raises(FileNotFoundError, match="found instead: .'labels/det_20/det_train.json'"):
        BDD100KDataset(**{**args, 'ann_file': 'labels/train.json'})
    with pytest.raises(FileNotFoundError, match=r"img'.*does not exist.*holds \['images', 'labels"):
        BDD100KDataset(**{**args, 'data_prefix': {'img': 'img'}})
    with pytest.raises(FileNotFoundError, match='image folder'):
        BDD100KDataset(**{**args, 'data_prefix': {'img_path': 'images'}})


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'the file is empty'),
        ('[{"name": "a.jpg", "labels": [', r'cut off.*line 1, column 31 \(character 30 of 30\)'),
        ('[{"name": "a.j', r'cut off: Unterminated string.*line 1, column 11'),
        ('[\n{"name" "a.jpg"}]', r'not valid JSON.*line 2, column 9'),
        ('[]', 'no frames'),
        ('[3]', r'frame 0: a frame must be an object'),
        ('[{"labels": []}]', r"frame 0.*keys \['labels'\]"),
        ('{"images": [], "annotations": []}', 'COCO JSON'),
        ('{"a": 1}', r"unknown layout \(an object with keys \['a'\]\)"),
        ('[{"name": "a.jpg", "labels": {}}]', r'frame 0 \(\'a.jpg\'\): "labels" must be'),
        ('[{"name": "a.jpg", "labels": [1]}]', r'frame 0 \(\'a.jpg\'\), label 0: a label must be'),
        ('[{"name": "a.jpg", "size": {"width": 0, "height": 5}}]', 'positive integers'),
        ('{"name": "a", "frames": [{}, {}]}', "2 frames for one image 'a'"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / 'labels.json'
    path.write_text(content)
    with pytest.raises(LabelFileError, match=message) as error:
        load_frames(path)
    assert str(path) in str(error.value)


def test_binary_labels_and_empty_folder(tmp_path):
    (tmp_path / 'zip.json').write_bytes(b'PK\x03\x04\xff\xfe')
    with pytest.raises(LabelFileError, match='byte 4 is not text'):
        load_frames(tmp_path / 'zip.json')
    (tmp_path / 'none').mkdir()
    with pytest.raises(LabelFileError, match='holds no'):
        load_frames(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match='absent'):
        load_frames(tmp_path / 'absent')


@pytest.mark.parametrize('value', [float('nan'), float('inf'), None, '12', True, 10**400])
def test_coordinate_that_is_no_number(tmp_path, value):
    frames = [make_frame('a.jpg'), make_frame('b.jpg', make_label('car', (1, 2, value, 9), 'x9'))]
    with pytest.raises(LabelFileError) as error:
        BDD100KDataset(**make_root(tmp_path, frames))
    for part in ('det_train.json', 'frame 1', "'b.jpg'", 'label 0', "id 'x9'", '"x2"', 'delete'):
        assert part in str(error.value)


def test_labels_of_another_task(tmp_path):
    path = tmp_path / 'drivable.json'
    write_json(path, [make_frame('a.jpg', make_label('direct'), make_label('alternative'))])
    with pytest.raises(LabelFileError, match=r"'alternative', 'direct'.*read from COCO JSON"):
        load_frames(path)


@pytest.mark.parametrize('attribute', ['crowd', 'Crowd', 'CROWD', 'ignored', 'Ignored'])
def test_attributes_with_capitals_count(tmp_path, attribute):
    labels = [make_label('car', **{attribute: True}), make_label('bus')]
    labels[1]['attributes'] = {'Occluded': True, 'Truncated': True, 'trafficLightColor': 'NA'}
    frame = make_frame('a.jpg', *labels)
    frame['attributes'] = {'Weather': 'rainy', 'scene': 'tunnel'}
    info = BDD100KDataset(**make_root(tmp_path, [frame])).get_data_info(0)
    assert [item['ignore_flag'] for item in info['instances']] == [1, 0]
    assert info['instances'][1]['attributes'] == {
        'occluded': True,
        'truncated': True,
        'trafficLightColor': 'NA',
    }
    assert (info['weather'], info['scene'], info['timeofday']) == ('rainy', 'tunnel', 'undefined')


@pytest.mark.parametrize('values', [(True, False), (False, True)])
def test_of_two_spellings_the_true_one_wins(tmp_path, values):
    label = make_label('car')
    label['attributes'] = dict(zip(('crowd', 'Crowd'), values))
    args = make_root(tmp_path, [make_frame('a.jpg', label, make_label('bus'))])
    assert BDD100KDataset(**args).get_data_info(0)['instances'][0]['ignore_flag'] == 1


def test_a_frame_listed_again_is_used_once_and_said(tmp_path, warnings):
    frames = [make_frame(name, make_label('car')) for name in ('a.jpg', 'b.jpg', 'a.jpg')]
    dataset = BDD100KDataset(**make_root(tmp_path, frames), test_mode=True)
    assert [Path(info['img_path']).name for info in infos(dataset)] == ['a.jpg', 'b.jpg']
    assert 'listed again, each used once' in warnings[0][1] and 'frame 2' in warnings[0][1]
    frames[2] = make_frame('a.jpg', make_label('bus'))
    with pytest.raises(LabelFileError, match='frame 2 .*with other labels, at .*frame 0'):
        BDD100KDataset(**make_root(tmp_path, frames))


@pytest.mark.parametrize('test_mode', [False, True])
def test_a_set_without_a_single_object_is_refused_unless_asked(tmp_path, test_mode):
    frames = [make_frame('a.jpg'), make_frame('b.jpg', make_label('trailer'))]
    args = make_root(tmp_path, frames)
    with pytest.raises(LabelFileError, match='none of 2 images has an object.*allow_no_objects'):
        BDD100KDataset(**args, test_mode=test_mode)
    assert len(BDD100KDataset(**args, test_mode=test_mode, allow_no_objects=True)) == 2
    args = make_root(tmp_path, [make_frame('a.jpg', make_label('car'))])
    with pytest.raises(LabelFileError, match='object of the classes train that'):
        BDD100KDataset(**args, metainfo={'classes': ('train',)})


@needs('road_fog_bdd100k')
def test_real_fog_photos(warnings):
    counts = {}
    for split, images, boxes in (('train', 161, 895), ('val', 40, 243)):
        dataset = BDD100KDataset(
            data_root=str(FOG),
            ann_file=f'labels/det_20/det_{split}.json',
            data_prefix={'img': f'images/100k/{split}'},
        )
        found = infos(dataset)
        assert len(found) == images
        assert sum(len(info['instances']) for info in found) == boxes
        assert {info['weather'] for info in found} == {'foggy'}
        for info in found:
            for item in info['instances']:
                counts[CLASSES[item['bbox_label']]] = True
                x1, y1, x2, y2 = item['bbox']
                assert 0 <= x1 < x2 <= info['width'] and 0 <= y1 < y2 <= info['height']
    assert set(counts) == {'pedestrian', 'car', 'truck', 'bus', 'motorcycle', 'bicycle'}
    assert not warnings


@needs('bdd100k_frames')
def test_real_bdd100k_frames(warnings):
    detect = BDD100KDataset(
        data_root=str(FRAMES / 'detect'),
        ann_file='labels/annotation.json',
        data_prefix={'img': 'images'},
        image_size=(1280, 720),
    )
    (info,) = infos(detect)
    assert (info['timeofday'], info['scene']) == ('dawn/dusk', 'city street')
    np.testing.assert_allclose(
        info['instances'][0]['bbox'], [624.253824, 290.023202, 636.516861, 303.412543]
    )
    track = BDD100KDataset(
        data_root=str(FRAMES / 'track'), ann_file='labels', data_prefix={'img': 'images'}
    )
    assert len(track) == 12 and track.get_data_info(0)['weather'] == 'undefined'
    assert not warnings
