"""Variables of a config that are set on the command line reach what was made from them."""

import pytest

from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError

CONFIG = """
data_root = 'data/set/'
images = data_root + 'images'
areas = dict(V1=data_root + 'v1.npz:a', V4=data_root + 'v4.npz:b')
vis_backends = [dict(type='LocalVisBackend')]
pipeline = [dict(type='Load'), dict(type='Resize', scale=(8, 8))]
size = (8, 8)
max_epochs = 12
kind = 'A'
train_dataloader = dict(dataset=dict(type=kind, data_root=data_root, pipeline=pipeline))
val_dataloader = dict(dataset=dict(type='B', data_root='data/settled/', pipeline=pipeline))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [dict(type='Cosine', T_max=max_epochs)]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
custom_hooks = [dict(type='Hook', areas=areas, stimuli=images), dict(type='Other', size=size)]
unused = 3
"""


@pytest.fixture
def load(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text(CONFIG)
    return lambda **options: load_config(
        str(path), {k.replace('__', '.'): v for k, v in options.items()}
    )


def test_a_folder_reaches_paths_below_it_and_other_variables(load):
    cfg = load(data_root='/new')
    assert cfg.train_dataloader.dataset.data_root == '/new'
    assert cfg.val_dataloader.dataset.data_root == 'data/settled/'
    assert cfg.custom_hooks[0].areas == dict(V1='/new/v1.npz:a', V4='/new/v4.npz:b')
    assert cfg.custom_hooks[0].stimuli == cfg.images == '/new/images'
    assert load(images='/mine').custom_hooks[0].stimuli == '/mine'


def test_part_of_a_dict_reaches_its_copies(load):
    cfg = load(areas__V4='mine.npz:x')
    assert cfg.custom_hooks[0].areas == dict(V1='data/set/v1.npz:a', V4='mine.npz:x')
    cfg = load(areas__V4='mine.npz:x', data_root='/new/')
    assert cfg.custom_hooks[0].areas == dict(V1='/new/v1.npz:a', V4='mine.npz:x')


def test_a_list_reaches_every_copy_and_a_setting_wins(load):
    cfg = load(pipeline__1__scale=(4, 4))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader.dataset.pipeline[1].scale == (4, 4)
    cfg = load(pipeline=[dict(type='X')], val_dataloader__dataset__pipeline=[dict(type='Y')])
    assert cfg.train_dataloader.dataset.pipeline[0].type == 'X'
    assert cfg.val_dataloader.dataset.pipeline[0].type == 'Y'


@pytest.mark.parametrize('name', ['vis_backends', 'visualizer__vis_backends'])
@pytest.mark.parametrize('value', ['T', ['L', 'T'], [dict(type='T', save_dir='x')]], ids=str)
def test_backends_by_name(load, name, value):
    expected = {'T': [dict(type='T')]}.get(str(value))
    if value == ['L', 'T']:
        expected = [dict(type='L'), dict(type='T')]
    assert load(**{name: value}).visualizer.vis_backends == (expected or value)


@pytest.mark.parametrize(
    ('options', 'places'),
    [
        (
            dict(max_epochs=3),
            'train_cfg.max_epochs, train_cfg.val_interval, param_scheduler.0.T_max',
        ),
        (dict(kind='C'), 'train_dataloader.dataset.type'),
        (dict(size=(4, 4)), 'custom_hooks.1.size'),
    ],
    ids=str,
)
def test_numbers_and_words_are_refused_with_what_was_made_from_them(load, options, places):
    with pytest.raises(UsageError, match=f'already used .*Set what was made from it: .*{places}'):
        load(**options)


def test_what_nothing_was_made_from_may_be_set(load):
    assert load(unused=4).unused == 4
    assert load(max_epochs=12).train_cfg.max_epochs == 12  # as it is


def test_a_dict_in_the_place_of_a_list_of_heads_shows_the_loop(tmp_path):
    path = tmp_path / 'cascade.py'
    path.write_text(
        "_base_ = 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'\n"
        "model = dict(roi_head=dict(type='RegionAttentionRoIHead', bbox_head=dict("
        "type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda'))))\n"
    )
    with pytest.raises(UsageError, match='(?s)bbox_head.*for stage in stages.*CascadeRegion'):
        load_config(str(path))
    path.write_text("_base_ = 'mmdet::_base_/default_runtime.py'\nvis_backends = dict(type='X')\n")
    with pytest.raises(UsageError, match='vis_backends is a dict here and a list in its base'):
        load_config(str(path))
