"""A COCO metric that reads other labels than those of the images it judges is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmclarity.engine.coco_metrics import check_coco_metrics
from mmclarity.engine.hooks.evaluation import EvaluationCheckHook
from mmclarity.errors import UsageError

pytest.importorskip('mmdet')
NAMES = ('fish', 'shark')


def write(folder, name='val.json', images=(1, 2), names=NAMES, ids=(1, 2), files='{}.jpg'):
    """Labels with one box of each class on each image."""
    content = dict(
        images=[dict(id=i, file_name=files.format(i), width=20, height=20) for i in images],
        categories=[dict(id=i, name=one) for i, one in zip(ids, names)],
        annotations=[
            dict(id=10 * i + k, image_id=i, category_id=k, bbox=[k, k, 9, 9], area=81, iscrowd=0)
            for i in images
            for k in ids
        ],
    )
    (folder / name).write_text(json.dumps(content))
    return f'{folder}/{name}'


def dataset(folder, name='val.json', **more):
    given = dict(data_prefix=dict(img=''), metainfo=dict(classes=NAMES), test_mode=True)
    return dict(type='CocoDataset', data_root=f'{folder}/', ann_file=name, **given, **more)


def config(folder, sets=None, pipeline=None, **metric):
    one = sets or dataset(folder)
    one.update(pipeline=pipeline) if pipeline else None
    return Config(
        dict(
            default_scope='mmdet',
            val_dataloader=dict(dataset=one),
            val_evaluator=[dict(type='CocoMetric', **metric)],
        )
    )


def check(*args, **kwargs):
    cfg = config(*args, **kwargs)
    check_coco_metrics(cfg, ['train_dataloader', 'val_dataloader'])
    return cfg


def test_what_mmdet_makes_of_another_file(tmp_path):
    """The reason for all this: detections that are all right have an AP of 0, in silence."""
    import torch
    from mmdet.evaluation import CocoMetric

    found = {}
    for name, order in (('val.json', NAMES), ('other.json', NAMES[::-1])):
        metric = CocoMetric(ann_file=write(tmp_path, name, names=order))
        metric.dataset_meta = dict(classes=NAMES)
        labels = torch.tensor([NAMES.index(one) for one in order])
        for image in (1, 2):
            boxes = torch.tensor([[k, k, k + 9.0, k + 9] for k in (1, 2)])
            pred = dict(bboxes=boxes, scores=torch.ones(2), labels=labels)
            sample = dict(img_id=image, ori_shape=(20, 20), pred_instances=pred)
            metric.process({}, [sample])
        found[name] = metric.evaluate(2)['coco/bbox_mAP_75']
    assert found == {'val.json': 1.0, 'other.json': 0.0}
    with pytest.raises(UsageError, match='categories shark, fish, not the classes fish, shark'):
        check(tmp_path, ann_file=f'{tmp_path}/other.json')


def test_the_same_file_under_another_name_is_the_same(tmp_path, monkeypatch):
    write(tmp_path)
    (tmp_path / 'link.json').symlink_to(tmp_path / 'val.json')
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ('link.json', './val.json', f'{tmp_path}/val.json'):
        assert check(tmp_path, ann_file=name).val_evaluator[0].ann_file == name
    assert (
        check(tmp_path, ann_file='~/val.json').val_evaluator[0].ann_file == f'{tmp_path}/val.json'
    )


def test_corrected_labels_of_the_same_images_are_another_file(tmp_path):
    write(tmp_path)
    check(tmp_path, ann_file=write(tmp_path, 'better.json', ids=(7, 9), files='deeper/{}.jpg'))


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (dict(images=(1, 3)), 'image 2, 2.jpg of .*val.json, is not there. Give it the same file'),
        (dict(files='{}.png'), 'image 1, 1.jpg of .*val.json, is 1.png there'),
        (dict(images=(1, 2, 3)), 'has 1 images with objects that the data set has not'),
        (
            dict(names=('fish', 'sharks')),
            'the categories fish, sharks, not the classes fish, shark',
        ),
    ],
)
def test_files_of_other_images_or_classes(tmp_path, other, message):
    write(tmp_path)
    with pytest.raises(UsageError, match=rf'val_evaluator\[0\]: .*{message}'):
        check(tmp_path, ann_file=write(tmp_path, 'other.json', **other))


def test_a_file_that_is_not_there(tmp_path):
    write(tmp_path)
    match = rf'ann_file not found: coco/val.json .*judges has {tmp_path}/val.json.*evaluator.0.ann_'
    with pytest.raises(UsageError, match=match):
        check(tmp_path, ann_file='coco/val.json')


def test_several_data_sets_need_one_file_of_all_their_images(tmp_path):
    write(tmp_path)
    write(tmp_path, 'more.json', images=(3, 4))
    both = [dataset(tmp_path), dataset(tmp_path, 'more.json')]
    sets = dict(type='ConcatDataset', datasets=both)
    check(tmp_path, sets, ann_file=write(tmp_path, 'all.json', images=(1, 2, 3, 4)))
    with pytest.raises(UsageError, match='image 3, 3.jpg .* one file of the images of all'):
        check(tmp_path, sets, ann_file=f'{tmp_path}/val.json')
    write(tmp_path, 'more.json', images=(2, 3))
    with pytest.raises(UsageError, match='image 2, 2.jpg, is in two of the data sets'):
        check(tmp_path, sets, ann_file=f'{tmp_path}/all.json')


def test_no_file_needs_labels_in_the_samples(tmp_path):
    """mmdet ends with an AssertionError, after the first epoch."""
    write(tmp_path)
    steps = [dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'instances'))]
    check(tmp_path, pipeline=steps)
    steps = [dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape'))]
    with pytest.raises(UsageError, match=rf'no labels to judge by; .*ann_file={tmp_path}/val.json'):
        check(tmp_path, pipeline=steps)


@pytest.mark.parametrize('indices, images', [(2, (1, 2)), ([2, 0], (1, 3))])
def test_objects_of_images_that_indices_leave_out_are_not_missed(tmp_path, indices, images):
    """All that is there is found rightly; mmdet would count the objects of the whole file."""
    from mmdet.registry import DATASETS, METRICS

    file = write(tmp_path, images=(1, 2, 3))
    data = DATASETS.build(dataset(tmp_path, indices=indices, pipeline=[]))
    metric = METRICS.build(dict(type='CocoMetric', ann_file=file))
    metric.dataset_meta = data.metainfo
    loader, judge = SimpleNamespace(dataset=data), SimpleNamespace(metrics=[metric])
    EvaluationCheckHook().before_test(SimpleNamespace(test_dataloader=loader, test_evaluator=judge))
    for image in images:
        found = dict(
            bboxes=torch.tensor([[1.0, 1, 10, 10], [2, 2, 11, 11]]),
            scores=torch.tensor([0.9, 0.8]),
            labels=torch.tensor([0, 1]),
        )
        metric.process({}, [dict(img_id=image, ori_shape=(20, 20), pred_instances=found)])
    assert metric.evaluate(len(images))['coco/bbox_mAP'] == pytest.approx(1, abs=1e-3)


def test_other_metrics_and_data_sets_are_left_alone(tmp_path):
    other = dict(type='BDD100KDataset', data_root=f'{tmp_path}/', ann_file='x', pipeline=[])
    write(tmp_path)
    check(tmp_path, other, ann_file=f'{tmp_path}/val.json')
    cfg = config(tmp_path)
    cfg.val_evaluator = dict(type='VOCMetric')
    check_coco_metrics(cfg, ['val_dataloader'])
