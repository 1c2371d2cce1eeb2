"""Classes that do not agree with the categories of a COCO file are refused; mmdet says nothing."""

import json

import pytest
from mmengine.config import Config

from mmclarity.engine.coco_classes import check_coco_classes
from mmclarity.errors import UsageError

pytest.importorskip('mmdet')
NAMES = ('fish', 'shark', 'starfish')


def check(tmp_path, metainfo, content=None, **wrapper):
    """Of a data set whose file has the three categories, or another content."""
    if content is None:
        categories = [dict(id=7 - i, name=name) for i, name in enumerate(NAMES)]
        content = json.dumps(dict(images=[], annotations=[], categories=categories))
    (tmp_path / 'train.json').write_text(content)
    dataset = dict(type='CocoDataset', data_root=f'{tmp_path}/', ann_file='train.json')
    dataset.update(data_prefix=dict(img=''))
    dataset.update(metainfo=metainfo) if metainfo is not None else None
    loader = dict(dataset=dict(wrapper, dataset=dataset) if wrapper else dataset)
    cfg = Config(dict(default_scope='mmdet', train_dataloader=loader))
    check_coco_classes(cfg, ['train_dataloader', 'val_dataloader'])


@pytest.mark.parametrize('classes', [NAMES, ('fish', 'starfish'), list(NAMES)])
def test_all_classes_or_some_in_the_order_of_the_file(tmp_path, classes):
    check(tmp_path, dict(classes=classes))


def test_what_mmdet_would_make_of_another_order(tmp_path):
    """The reason for all this: the second class is learnt under the name of the first."""
    from mmdet.datasets import CocoDataset

    images = [dict(id=1, file_name='a.jpg', width=9, height=9)]
    box = dict(id=1, image_id=1, category_id=7, bbox=[0, 0, 5, 5], area=25, iscrowd=0)
    categories = [dict(id=7, name='fish'), dict(id=6, name='shark')]
    content = json.dumps(dict(images=images, annotations=[box], categories=categories))
    (tmp_path / 'a.json').write_text(content)
    classes = ('shark', 'fish')
    given = dict(ann_file=f'{tmp_path}/a.json', data_prefix=dict(img=''))
    built = CocoDataset(metainfo=dict(classes=classes), **given)
    assert classes[built[0]['instances'][0]['bbox_label']] == 'shark'  # and it is a fish
    with pytest.raises(UsageError, match='another order'):
        check(tmp_path, dict(classes=classes), content)


@pytest.mark.parametrize(
    ('metainfo', 'message'),
    [
        (dict(classes=('shark', 'fish', 'starfish')), r"order.*classes=\('fish', 'shark', 's"),
        (dict(classes=('fish', 'shark', 'starfihs')), "'starfihs'.*did you mean 'starfish'"),
        (dict(classes=('fish', 'shark', 'whale')), "'whale'.*it has fish, shark, starfish"),
        (None, r"CocoDataset's 80: person.*metainfo=dict\(classes=\('fish', 'shark', 'starfish'\)"),
        (dict(CLASSES=NAMES), 'CLASSES is not read: write it small'),
        (dict(classes='fish'), r"a comma: classes=\('fish',\)"),
    ],
)
@pytest.mark.parametrize('wrapped', [False, True])
def test_what_is_refused(tmp_path, metainfo, message, wrapped):
    place = r'train_dataloader\.dataset' + (r'\.dataset' if wrapped else '')
    wrapper = dict(type='RepeatDataset', times=2) if wrapped else {}
    with pytest.raises(UsageError, match=rf'(?s)^{place}: .*train\.json.*{message}'):
        check(tmp_path, metainfo, **wrapper)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('hello', 'not valid JSON'),
        ('', 'empty'),
        ('[]', 'is no COCO data set'),
        ('{"images": [], "categories": []}', 'is no COCO data set'),
        ('{"images": [], "annotations": [], "categories": ["fish"]}', 'a category must have'),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "fish"}, '
            '{"id": 2, "name": "fish"}]}',
            "two categories have the name 'fish'",
        ),
    ],
)
def test_a_file_that_is_none(tmp_path, content, message):
    with pytest.raises(UsageError, match=rf'train\.json: .*{message}'):
        check(tmp_path, dict(classes=NAMES), content)


def test_names_in_a_file_and_other_kinds_of_data_are_left_alone(tmp_path):
    (tmp_path / 'names.txt').write_text('whale\n')
    check(tmp_path, dict(classes=f'{tmp_path}/names.txt'))
    cfg = dict(type='BDD100KDataset', data_root=f'{tmp_path}/', ann_file='names.txt')
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=cfg)))
    check_coco_classes(cfg, ['train_dataloader'])
