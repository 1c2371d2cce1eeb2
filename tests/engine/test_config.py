import re
import warnings
from datetime import timedelta

import pytest
import torch.distributed as dist
from mmengine.config import Config, ConfigDict

from mmclarity.cli import options as cli_options
from mmclarity.cli import prepare
from mmclarity.cli.show import set_up_show, set_up_tta
from mmclarity.detection import Detector
from mmclarity.detection.trunk_cache.make import build_trunk
from mmclarity.engine.complexity import complexity_of
from mmclarity.engine.config import building, load_config, resolve_data_roots
from mmclarity.engine.distributed import setup_cpu_processes
from mmclarity.errors import UsageError
from mmclarity.rsa.models import networks
from mmclarity.utils.json_files import write_json

CONFIG = """
data_root = 'data/set/'
train_dataloader = dict(batch_size=2, dataset=dict(
    type='Repeat', dataset=dict(type='A', data_root=data_root, ann_file='train.json')))
val_dataloader = dict(dataset=dict(type='Concat', datasets=[
    dict(type='A', data_root=data_root, ann_file='val.json'),
    dict(type='A', data_root='data/settled/', ann_file='val.json')]))
val_evaluator = dict(type='M', ann_file=data_root + 'val.json')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0))
val_cfg = dict()
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'a.py').write_text(CONFIG)
    return str(tmp_path / 'a.py')


def test_data_root_reaches_every_dataset(config):
    cfg = load_config(config, {'data_root': '/new', 'train_dataloader.batch_size': 7})
    assert cfg.train_dataloader.dataset.dataset.data_root == '/new'
    assert cfg.val_dataloader.dataset.datasets[0].data_root == '/new'
    # Another folder whose name begins alike is left alone.
    assert cfg.val_dataloader.dataset.datasets[1].data_root == 'data/settled/'
    assert cfg.val_evaluator.ann_file == '/new/val.json'
    assert cfg.train_dataloader.batch_size == 7


def test_a_root_given_for_one_loader_wins(config):
    cfg = load_config(
        config, {'data_root': '/new', 'train_dataloader.dataset.dataset.data_root': '/mine'}
    )
    assert cfg.train_dataloader.dataset.dataset.data_root == '/mine'
    assert cfg.val_dataloader.dataset.datasets[0].data_root == '/new'


@pytest.mark.parametrize(
    ('option', 'near'),
    [
        ('data_rot', 'data_root'),
        ('optim_wraper.optimizer.lr', 'optim_wrapper'),
        ('train_dataloadr.batch_size', 'train_dataloader'),
        ('load_form', 'load_from'),
    ],
)
def test_a_misspelt_option_is_refused(config, option, near):
    with pytest.raises(UsageError, match=f'{option}: .*did you mean {near!r}'):
        load_config(config, {option: '1'})


def test_what_a_class_takes_is_no_misspelling(tmp_path):
    """``dtype`` is near ``type``, and an option of its own."""
    path = str(tmp_path / 'a.py')
    (tmp_path / 'a.py').write_text(
        "custom_imports = dict(imports=['mmclarity.engine'], allow_failed_imports=False)\n"
        "optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='SGD', lr=1))"
    )
    assert load_config(path, {'optim_wrapper.dtype': 'float16'}).optim_wrapper.dtype == 'float16'
    # mmengine's own wrapper, which knows a dtype, and one that does not
    options = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
    assert load_config(path, options).optim_wrapper.dtype == 'bfloat16'
    with pytest.raises(UsageError, match="dtype: no 'dtype' there; did you mean 'type'"):
        load_config(path, {**options, 'optim_wrapper.type': 'OptimWrapper'})
    for option, near in (('optimiser', 'optimizer'), ('optimizer.lrr', 'lr')):
        with pytest.raises(UsageError, match=f'did you mean {near!r}'):
            load_config(path, {f'optim_wrapper.{option}': 'float16'})


def test_options_below_nothing_and_below_a_number(tmp_path):
    """Both ended in mmengine's traceback; the first as with a head whose attention is None."""
    path = str(tmp_path / 'a.py')
    (tmp_path / 'a.py').write_text(
        "model = dict(heads=[dict(attention=None, classes=3), dict(kind='x')], neck=None)"
    )
    options = {'model.heads.0.attention.type': 'A', 'model.heads.0.attention.heads': 4}
    cfg = load_config(path, {**options, 'model.neck.norm.type': 'BN', 'model.heads.1.a.b': 1})
    assert cfg.model.heads[0] == dict(attention=dict(type='A', heads=4), classes=3)
    assert cfg.model.neck == dict(norm=dict(type='BN')) and cfg.model.heads[1].a == dict(b=1)
    for option in ('model.heads.0.classes.x', 'model.heads.0.classes.x.y', 'model.heads.1.kind.x'):
        with pytest.raises(UsageError, match=f'--cfg-options {option}: before .* there is nothing'):
            load_config(path, {option: 1})


def test_new_options_are_taken(config):
    cfg = load_config(config, {'load_from': 'a.pth', 'randomness.seed': 3, 'my_own': 1})
    assert cfg.load_from == 'a.pth' and cfg.randomness.seed == 3 and cfg.my_own == 1


def test_the_home_directory_is_expanded(config, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'train.json').touch()
    cfg = load_config(config, {'data_root': '~/mine'})
    resolve_data_roots(cfg, ('train_dataloader',))
    assert cfg.train_dataloader.dataset.dataset.data_root == f'{tmp_path}/mine/'


def test_missing_data_is_named(config, tmp_path):
    with pytest.raises(UsageError, match='train_dataloader: data root not found: data/set'):
        resolve_data_roots(load_config(config), ('train_dataloader',))
    (tmp_path / 'labels').mkdir()
    cfg = load_config(config, {'data_root': str(tmp_path)})
    message = 'annotations not found: .*train.json.*holds: a.py, labels'
    with pytest.raises(UsageError, match=message):
        resolve_data_roots(cfg, ('train_dataloader',))
    (tmp_path / 'train.json').write_text('[]')
    resolve_data_roots(cfg, ('train_dataloader',))
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.data_prefix = dict(img='images/')
    with pytest.raises(UsageError, match='folder of images not found: .*images.*data_prefix.img'):
        resolve_data_roots(cfg, ('train_dataloader',))
    dataset.data_prefix = dict(img='labels')
    resolve_data_roots(cfg, ('train_dataloader',))


def test_the_option_that_is_told_reaches_the_missing_data(config, tmp_path):
    """A data set with a root of its own does not follow the variable of the config."""
    (tmp_path / 'val.json').touch()
    options = {'data_root': str(tmp_path)}
    with pytest.raises(UsageError, match='data/settled') as told:
        resolve_data_roots(load_config(config, options), ('val_dataloader',))
    option = re.search(r'--cfg-options (\S+)=PATH', str(told.value))[1]
    assert option == 'val_dataloader.dataset.datasets.1.data_root'
    resolve_data_roots(load_config(config, options | {option: str(tmp_path)}), ('val_dataloader',))


def test_a_base_that_is_not_there_is_named(tmp_path):
    (tmp_path / 'plain.py').touch()
    child = tmp_path / 'child.py'
    child.write_text("_base_ = './plian.py'\n")
    with pytest.raises(UsageError, match=r'child.py: its _base_ .*plian.py.*did you mean plain.py'):
        load_config(str(child))


def test_remote_data_is_not_looked_for(config):
    cfg = load_config(config, {'data_root': 's3://bucket/set/'})
    resolve_data_roots(cfg, ('train_dataloader',))


def parse(*args):
    return cli_options.train_parser().parse_args(args)


def test_flags_of_mmdet_and_mmagic():
    args = parse(
        'a.py',
        '--resume',
        '--amp',
        '--auto-scale-lr',
        '--cfg-options',
        'a.b=1',
        'c=[1,2]',
        '--launcher',
        'pytorch',
        '--local-rank',
        '1',
    )
    assert args.resume == 'auto' and args.cfg_options == {'a.b': 1, 'c': [1, 2]}
    assert args.local_rank == parse('a.py', '--local_rank', '1').local_rank == 1
    assert parse('a.py', '--resume', 'b.pth').resume == 'b.pth'
    assert parse('a.py').resume is None
    args = cli_options.test_parser().parse_args(
        [
            'a.py',
            'b.pth',
            '--tta',
            '--show-dir',
            'x',
            '--out',
            'o.pkl',
            '--show',
            '--wait-time',
            '0.5',
        ]
    )
    assert (args.checkpoint, args.tta, args.wait_time) == ('b.pth', True, 0.5)


def test_amp_on_each_device(config, monkeypatch):
    monkeypatch.setattr(prepare, 'get_device', lambda: 'cuda')
    cfg = load_config(config)
    prepare.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and 'custom_hooks' not in cfg
    cfg = load_config(config)
    prepare.enable_amp(cfg, train=False)
    assert cfg.custom_hooks == [dict(type='MixedPrecisionHook', evaluation=True)]
    monkeypatch.setattr(prepare, 'get_device', lambda: 'cpu')
    cfg = load_config(config)
    prepare.enable_amp(cfg)
    prepare.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    assert cfg.custom_hooks == [dict(type='MixedPrecisionHook', evaluation=True)]


def test_amp_reaches_each_network_of_a_gan(monkeypatch):
    monkeypatch.setattr(prepare, 'get_device', lambda: 'cpu')
    cfg = Config(
        dict(
            optim_wrapper=dict(
                constructor='MultiOptimWrapperConstructor',
                generator=dict(optimizer=dict(type='Adam')),
                discriminator=dict(type='OptimWrapper', optimizer=dict(type='Adam')),
            )
        )
    )
    prepare.enable_amp(cfg)
    assert cfg.optim_wrapper.generator.type == 'AutocastOptimWrapper'
    assert cfg.optim_wrapper.discriminator.type == 'AutocastOptimWrapper'
    cfg.optim_wrapper = ConfigDict(type='DeepSpeedOptimWrapper', optimizer=dict(type='Adam'))
    with pytest.raises(UsageError, match='DeepSpeedOptimWrapper'):
        prepare.enable_amp(cfg)


def test_launcher_without_its_environment(monkeypatch):
    monkeypatch.setattr('mmclarity.engine.distributed.get_device', lambda: 'cpu')
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    setup_cpu_processes(Config(dict(launcher='none')))
    for launcher, remedy in (('pytorch', 'dist_train.sh'), ('slurm', 'slurm_train.sh')):
        with pytest.raises(UsageError, match=remedy):
            setup_cpu_processes(Config(dict(launcher=launcher)))


@pytest.mark.parametrize('timeout', [7200, None, 'long', -1])
def test_processes_wait_as_long_as_the_config_says(monkeypatch, timeout):
    """For the first, which evaluates and analyses alone; half an hour by default."""
    monkeypatch.setattr('mmclarity.engine.distributed.get_device', lambda: 'cpu')
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'OMP_NUM_THREADS'):
        monkeypatch.setenv(name, '1')
    begun = []
    monkeypatch.setattr(dist, 'init_process_group', lambda **options: begun.append(options))
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict(timeout=timeout))))
    if timeout in ('long', -1):
        with pytest.raises(UsageError, match='timeout must be a number of seconds'):
            setup_cpu_processes(cfg)
        return
    setup_cpu_processes(cfg)
    waiting = dict(timeout=timedelta(hours=2)) if timeout else {}
    assert begun == [dict(backend='gloo', **waiting)]


def test_test_time_augmentation_flips_before_packing():
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='PackDetInputs', meta_keys=('img_id', 'weather')),
    ]
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=dict(type='FasterRCNN'),
            test_dataloader=dict(dataset=dict(type='A', pipeline=pipeline)),
        )
    )
    set_up_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'FasterRCNN'
    load, augment = cfg.test_dataloader.dataset.pipeline
    flips, (pack,) = augment.transforms
    assert load.type == 'LoadImageFromFile' and [flip.prob for flip in flips] == [1.0, 0.0]
    assert tuple(pack.meta_keys) == ('img_id', 'weather', 'flip', 'flip_direction')
    with pytest.raises(UsageError, match='tta_model'):
        set_up_tta(Config(dict(default_scope='mmagic')))


def test_show_needs_a_hook():
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='DetVisualizationHook'))))
    set_up_show(cfg, show=False, show_dir='painted', wait_time=1)
    assert cfg.default_hooks.visualization == dict(
        type='mmdet.ApartVisualizationHook', draw=True, test_out_dir='painted'
    )
    with pytest.raises(UsageError, match='default_hooks.visualization'):
        set_up_show(Config(dict(default_hooks=dict())), True, None, 1)


@pytest.mark.parametrize('variable', ['WORLD_SIZE', 'SLURM_NTASKS'])
def test_pictures_of_several_processes_are_not_all(monkeypatch, variable):
    """Visualizers of OpenMMLab paint in the first process only."""
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='DetVisualizationHook'))))
    monkeypatch.setenv(variable, '4')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        set_up_show(cfg, show=False, show_dir='painted', wait_time=1)  # one, within such a job
    cfg.launcher = 'pytorch'
    with pytest.warns(UserWarning, match='in 4 processes only .* one in 4; .* one process'):
        set_up_show(cfg, show=False, show_dir='painted', wait_time=1)


def test_backends_by_name_where_the_config_has_no_variable(tmp_path):
    (tmp_path / 'a.py').write_text(
        "visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])"
    )
    cfg = load_config(str(tmp_path / 'a.py'), {'vis_backends': 'TensorboardVisBackend'})
    assert cfg.visualizer.vis_backends == [dict(type='TensorboardVisBackend')]


SNIPPET = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
{imports}
head = dict(type='RegionAttentionBBoxHead', attention=dict(type='RegionLambda', {option}))
model = dict(roi_head=dict(type='RegionAttentionRoIHead', bbox_head=head))
"""
IMPORTS = "custom_imports = dict(imports=['mmclarity.detection'], allow_failed_imports=False)"


@pytest.mark.parametrize('build', ['size', 'detect', 'rsa', 'trunk'])
def test_whoever_builds_a_config_names_it_and_the_wrong_option(build, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(SNIPPET.format(imports=IMPORTS, option='heads=4'))
    run = {
        'size': lambda: complexity_of(load_config(str(config)), (64, 64)),
        'detect': lambda: Detector(str(config), 'shipped', 'cpu'),
        'rsa': lambda: networks.load(str(config), 'none'),
        'trunk': lambda: build_trunk(load_config(str(config)), 'none.pth'),
    }[build]
    with pytest.raises(UsageError, match=r"mine\.py: cannot be built: .*argument 'heads'"):
        run()


def test_a_data_set_without_an_image_says_so(tmp_path):
    from mmdet.datasets import CocoDataset

    labels = tmp_path / 'a.json'
    image = dict(id=1, file_name='a.jpg', width=9, height=9)
    categories = [dict(id=1, name='fish')]
    write_json(labels, dict(images=[image], annotations=[], categories=categories))
    given = dict(ann_file=str(labels), metainfo=dict(classes=('fish',)), data_prefix=dict(img=''))
    with building(Config()):
        assert len(CocoDataset(**given)) == 1
    match = 'left without an image: .*filter_empty_gt'
    with pytest.raises(UsageError, match=match), building(Config()):
        CocoDataset(**given, filter_cfg=dict(filter_empty_gt=True))


def test_a_class_that_nobody_registered_says_what_to_import():
    text = 'X is not in the mmdet::model registry.'
    with (
        pytest.raises(UsageError, match=r"^the config: .*imports=\['mmclarity\.detection'\]"),
        building(Config(dict(model=dict(type='X')))),
    ):
        raise KeyError(text)
    told = Config(dict(custom_imports=dict(imports=['mmclarity.detection'])))
    with pytest.raises(UsageError, match=r'registry\. \(MMCLARITY_TRACEBACK'), building(told):
        raise KeyError(text)


@pytest.mark.parametrize('error', [UsageError('a'), FileNotFoundError('b'), RuntimeError('c')])
def test_what_says_enough_or_is_a_fault_stays_as_it_is(error):
    with pytest.raises(type(error)) as caught, building(Config()):
        raise error
    assert caught.value is error
