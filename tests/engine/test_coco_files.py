"""COCO files that mmdet could not read, or of which it would lose boxes without a word."""

import copy
import json
import warnings

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmclarity.engine.coco_classes import check_coco_classes
from mmclarity.errors import UsageError
from mmclarity.utils.json_files import LabelFileError

pytest.importorskip('mmdet')


@pytest.fixture
def good(tmp_path):
    """Three pictures, one without a box, and a crowd."""
    (tmp_path / 'train').mkdir()
    images = [dict(id=i, file_name=f'{i}.png', width=64, height=48) for i in (1, 2, 3)]
    for image in images:
        Image.new('RGB', (64, 48)).save(tmp_path / 'train' / image['file_name'])
    boxes = [[30, 20, 30, 20], [40, 10, 20, 30], [0, 0, 64, 48], [33, 25, 30, 20]]
    annotations = [
        dict(id=i, image_id=1 + i % 2, category_id=1, bbox=box, area=600, iscrowd=int(i == 2))
        for i, box in enumerate(boxes)
    ]
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name='a'), dict(id=2, name='b')],
    )


def check(folder, content, **more):
    (folder / 'train.json').write_text(json.dumps(content))
    dataset = dict(type='CocoDataset', data_root=f'{folder}/', ann_file='train.json')
    dataset.update(metainfo=dict(classes=('a', 'b')), data_prefix=dict(img='train/'))
    dataset.update(more)
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    check_coco_classes(cfg, ['train_dataloader'])


def built(folder, content):
    """How many objects mmdet makes of a file."""
    from mmdet.datasets import CocoDataset

    (folder / 'train.json').write_text(json.dumps(content))
    given = dict(data_prefix=dict(img=''), metainfo=dict(classes=('a', 'b')))
    data = CocoDataset(ann_file=f'{folder}/train.json', test_mode=True, **given)
    return sum(len(data.get_data_info(i)['instances']) for i in range(len(data)))


def test_crowds_and_images_without_boxes_pass(tmp_path, good):
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        check(tmp_path, good)
        texts = copy.deepcopy(good)  # ids that are texts, everywhere
        for image in texts['images']:
            image['id'] = str(image['id'])
        for item in texts['annotations']:
            item.update(id=str(item['id']), image_id=str(item['image_id']))
        check(tmp_path, texts)
        of_all('annotations', 'image_id', float)(good)  # as pandas writes them
        check(tmp_path, good)
    assert built(tmp_path, good) == built(tmp_path, texts) == 4


def of_all(name, key, change):
    def changed(content):
        for item in content[name]:
            item[key] = change(item[key])

    return changed


def of_one(name, index, key, value):
    def changed(content):
        if value is ...:
            del content[name][index][key]
        else:
            content[name][index][key] = value

    return changed


@pytest.mark.parametrize(
    ('change', 'why'),
    [
        (of_all('annotations', 'image_id', str), r"annotations\[0\]: image_id is '1', .* is 1"),
        (of_all('categories', 'id', str), r"category_id is 1, .*\"categories\" is '1'"),
        (of_one('images', 1, 'id', 1), 'two images have the id 1: 1.png and 2.png'),
        (of_one('images', 1, 'width', ...), r'images\[1\] \(2.png\): width is missing'),
        (of_one('images', 0, 'height', 0), r'images\[0\] \(1.png\): height is 0'),
        (
            of_one('images', 2, 'file_name', 'gone.png'),
            r'1 of 3 images are missing in .*: gone.png',
        ),
        (of_all('images', 'width', lambda w: 2 * w), '1.png is 64 x 48 pixels, .* 128 x 48: its b'),
        (of_one('annotations', 2, 'id', 1), r'annotations\[2\]: two annotations have the id 1'),
        (of_one('annotations', 2, 'area', ...), r'annotations\[2\] \(id 2\) has no area: .*height'),
        (of_one('annotations', 2, 'bbox', ...), r'annotations\[2\] \(id 2\) has no bbox'),
        (of_one('annotations', 2, 'id', ...), r'annotations\[2\] \(id None\) has no id'),
        (of_one('annotations', 1, 'bbox', [1, 2, 3]), r'annotations\[1\] .*bbox \[1, 2, 3\]'),
        (of_one('annotations', 1, 'bbox', ['1', 2, 3, 4]), r"bbox \['1', 2, 3, 4\]"),
        (of_one('annotations', 1, 'bbox', [float('nan'), 2, 3, 4]), r'bbox \[nan, 2, 3, 4\]'),
        (of_one('annotations', 1, 'category_id', 9), 'category_id 9 is none of the categories'),
        (of_all('annotations', 'image_id', lambda i: i + 10), 'no annotation belongs to an image'),
        (of_all('annotations', 'bbox', lambda b: [v / 64 for v in b]), 'fractions of the image'),
        (
            of_all('annotations', 'bbox', lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
            '3 of 4 boxes reach out .*x, y, width, height',
        ),
        (lambda content: content.update(images={}), '"images" must be a list of objects'),
    ],
)
def test_what_mmdet_could_not_use_is_named(tmp_path, good, change, why):
    change(good)
    with pytest.raises(LabelFileError, match=r'train_dataloader.dataset: .*train.json: .*' + why):
        check(tmp_path, good)


@pytest.mark.parametrize(
    ('change', 'why'),
    [
        (
            of_one('annotations', 1, 'bbox', [9, 9, 0, 5]),
            r'1 of 4 .* less .*bbox \[9',
        ),
        (of_one('annotations', 1, 'bbox', [9, 9, -5, 5]), '1 of 4 annotations are less than'),
        (of_one('annotations', 1, 'bbox', [90, 9, 5, 5]), 'or outside of their image'),
        (of_one('annotations', 1, 'image_id', 77), '1 of 4 annotations belong to no image'),
    ],
)
def test_what_mmdet_passes_over_is_told(tmp_path, good, change, why):
    change(good)
    with pytest.warns(UserWarning, match=why):
        check(tmp_path, good)
    assert built(tmp_path, good) == 3


def test_the_folder_of_the_images_is_asked_for(tmp_path, good):
    """mmdet ends with KeyError: 'img'."""
    (tmp_path / 'train.json').write_text(json.dumps(good))
    dataset = dict(type='CocoDataset', data_root=f'{tmp_path}/', ann_file='train.json')
    dataset.update(metainfo=dict(classes=('a', 'b')))
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    with pytest.raises(UsageError, match=r"train_dataloader.dataset: .*data_prefix=dict\(img='"):
        check_coco_classes(cfg, ['train_dataloader'])


def test_pictures_that_are_turned_since_they_were_labelled(tmp_path, good):
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.new('RGB', (64, 48)).save(tmp_path / 'train/1.png', exif=tag)
    with pytest.raises(LabelFileError, match=r'1.png is 48 x 64 pixels as its EXIF tag turns it'):
        check(tmp_path, good)


def test_boxes_of_smaller_images_are_told(tmp_path):
    """Images made larger, and width and height with them; the boxes were forgotten."""
    rng = np.random.default_rng(0)
    sides, middle = rng.uniform(4, 20, (240, 2)), rng.uniform(0, 1, (240, 2)) * (160, 90)
    first, last = (middle - sides).clip(0), (middle + sides).clip(max=(160, 90))
    content = dict(
        images=[dict(id=1, file_name='1.png', width=320, height=180)],
        categories=[dict(id=1, name='a'), dict(id=2, name='b')],
        annotations=[
            dict(id=i, image_id=1, category_id=1, bbox=[*a, *(b - a)], area=40, iscrowd=0)
            for i, (a, b) in enumerate(zip(first, last))
        ],
    )
    (tmp_path / 'train').mkdir()
    for size in ((320, 180), (160, 90)):
        Image.new('RGB', size).save(tmp_path / 'train/1.png')
        content['images'][0].update(width=size[0], height=size[1])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            check(tmp_path, content)
        said = [str(one.message) for one in told]
        if size == (320, 180):
            assert len(said) == 1 and 'upper left 160 x 90 pixels' in said[0]
            assert 'train.json' in said[0] and '320 x 180' in said[0]
        else:
            assert not said


def test_annotations_without_a_mask_where_masks_are_read(good, tmp_path):
    """They ended in a KeyError of mmdet, which named neither the file nor the annotation."""
    masks = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    square = [[30, 20, 50, 20, 50, 40]]
    for item in good['annotations']:
        item['segmentation'] = square
    good['annotations'][3]['segmentation'] = []
    check(tmp_path, good)
    with pytest.raises(LabelFileError, match=r'1 of 4 annotations have no segm.*first: id 3\)'):
        check(tmp_path, good, pipeline=masks)
    good['annotations'][3].update(category_id=2)  # of no class: mmdet does not look at it
    check(tmp_path, good, pipeline=masks, metainfo=dict(classes=('a',)))
    good['annotations'][3].update(category_id=1, segmentation=square)
    check(tmp_path, good, pipeline=masks)
