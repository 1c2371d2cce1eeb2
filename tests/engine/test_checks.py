"""What is wrong with a config is told before training, with what was meant."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from mmclarity.cli import options, train
from mmclarity.cli.prepare import save_whole
from mmclarity.engine.checks import check_config, close_to
from mmclarity.engine.config import load_config, resolve_data_roots
from mmclarity.engine.distributed import is_first
from mmclarity.engine.work_dir import WorkDirLock
from mmclarity.errors import CheckpointError, UsageError
from mmclarity.utils.places import REPO
from tests.engine.toy_parts import write_config


def start(tmp_path, monkeypatch, *settings, extra=''):
    """The toy training's command line, in this process; nothing may be trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('mmengine.runner.EpochBasedTrainLoop.run_epoch', lambda self: 1 / 0)
    args = [write_config(tmp_path, extra), '--work-dir', str(tmp_path / 'work')]
    args += ['--cfg-options', *settings] if settings else []
    train.train(options.train_parser().parse_args(args))


@pytest.mark.parametrize(
    ('setting', 'words'),
    [
        ('train_cfg.max_epoch=12', ['train_cfg.max_epoch', "did you mean 'max_epochs'"]),
        ('train_cfg.val_interval=0', ['train_cfg.val_interval', '1 or more', 'val_cfg']),
        ('train_dataloader.dataset.type=ToyImage', ["no 'ToyImage'", "did you mean 'ToyImages'"]),
        ('val_evaluator.type=ToyMetrics', ["no 'ToyMetrics'", "did you mean 'ToyMetric'"]),
        ('param_scheduler.0.type=Cosine', ["param_scheduler[0].type: there is no 'Cosine'"]),
        ('val_dataloader.sampler.type=DefaultSamplr', ["did you mean 'DefaultSampler'"]),
        ('model.type=ToyModell', ["did you mean 'ToyModel'"]),
        ('train_cfg.by_epoch=false_', ['by_epoch: must be True or False']),
        ('train_dataloader.dataset.quite_other=1', ['quite_other']),
        ('train_cfg.val_interval=1.5', ['train_cfg.val_interval', 'whole number']),
        ('train_cfg.max_epochs=-1', ['train_cfg.max_epochs must be a whole number']),
        ('train_dataloader.batchsize=2', ["did you mean 'batch_size'"]),
        ('train_dataloader.batch_size=0', ['train_dataloader.batch_size', '1 or more']),
        ('train_dataloader.num_worker=2', ["did you mean 'num_workers'"]),
        ('train_dataloader.dataset.lenght=3', ["did you mean 'length'"]),
        ('train_dataloader.sampler.shufle=True', ["did you mean 'shuffle'"]),
        ('batchsize=2', ["did you mean 'train_dataloader.batch_size'"]),
        ('lr=abc', ["did you mean 'optim_wrapper.optimizer.lr'"]),
        ('optim_wrapper.optimizer.lr=abc', ['optim_wrapper.optimizer.lr', 'number']),
        ('optim_wrapper.optimizer.lr=-1', ['optim_wrapper.optimizer.lr', '0 or more']),
        ('optim_wrapper.optimizer.weight_deca=0.1', ["did you mean 'weight_decay'"]),
        ('optim_wrapper.optimiser.lr=1', ["did you mean 'optimizer'"]),
        ('model.nois=False', ["model: ToyModel has no 'nois'", "'noise'"]),
        ('default_hooks.checkpoint.intervall=2', ["did you mean 'interval'"]),
        ('default_hooks.checkpont.interval=2', ["did you mean 'checkpoint'"]),
        ('default_hooks.checkpoint.interval=0', ['default_hooks.checkpoint.interval']),
        ('default_hooks.checkpoint.save_best=bbox_mAP', ['bbox_mAP', 'toy/...']),
        ('val_evaluator.prefixx=a', ["val_evaluator: ToyMetric has no 'prefixx'"]),
        ('val_evaluator=None', ['val_cfg, val_dataloader and val_evaluator go together']),
        ('param_scheduler.0.T_maxx=3', ["did you mean 'T_max'"]),
        ('param_scheduler.0.milestone=[1]', ["CosineAnnealingLR has no 'milestone'", 'T_max']),
        ('param_scheduler.7.T_max=3', ['list of 1']),
        ('param_scheduler.one.T_max=3', ['list of 1']),
        ('param_scheduler.T_max=3', ['list of 1']),
        ('param_scheduler=5', ['param_scheduler must be a list or dict']),
        ('model=5', ['model must be a dict']),
        ('default_hooks=3', ['default_hooks must be a dict']),
        ('optim_wrapper.clip_grad.max_nrm=3', ["did you mean 'max_norm'"]),
        ('optim_wrapper.clip_grad=3', ['clip_grad must be a dict']),
        ('optim_wrapper.paramwise_cfg.bias_lr_mul=2', ["did you mean 'bias_lr_mult'"]),
        ('optim_wrapper.accumulative_counts=0', ['cannot be built', 'accumulative_counts']),
        ('optim_wrapper.optimizer.betas=3', ['cannot be built']),
        ('visualizer.type=DetVisualizer', ['DetVisualizer']),
        ('visualizer.vis_backends=[TensorbordVisBackend]', ['TensorbordVisBackend']),
        ('log_processor.windw=5', ['windw']),
        ('custom_hooks=[EMAHok]', ['EMAHok']),
        ('val_cfg.type=ValLop', ['ValLop']),
        ('val_cfg.fp=1', ['fp']),
        ('env_cfg.mp_cfg.mp_start_method=forks', ['forks']),
        ('train_dataloader=None', ['train_dataloader']),
        ('randomness.sed=5', ['sed']),
        ('train_dataloader.dataset.ann_file=[a.json,b.json]', ['ann_file is a list of 2']),
        ('model.init_cfg.type=Pretrained', None),
    ],
)
def test_before_training(tmp_path, monkeypatch, setting, words):
    if words is None:
        settings, words = [setting, 'model.init_cfg.checkpoint=gone.pth'], [
            'model.init_cfg.checkpoint', 'not found: gone.pth']  # fmt: skip
    else:
        settings = [setting]
    if 'save_best' in setting:
        settings.append('default_hooks.checkpoint.rule=greater')
    with pytest.raises(UsageError) as caught:
        start(tmp_path, monkeypatch, *settings)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_of_mmengine_without_a_gpu(tmp_path, monkeypatch):
    """Said was that it trains on gpu, npu, mlu or musa only, and not what a CPU takes."""
    option = 'optim_wrapper.type=AmpOptimWrapper'
    with pytest.raises(UsageError, match='on a GPU only.*--amp.*type=AutocastOptimWrapper'):
        start(tmp_path, monkeypatch, option)
    with pytest.raises(ZeroDivisionError):  # of run_epoch: training has begun
        start(tmp_path, monkeypatch, 'optim_wrapper.type=AutocastOptimWrapper')


def test_a_scheduler_that_fails_at_its_second_step(tmp_path, monkeypatch):
    steps = "param_scheduler = [dict(type='StepLR', step_size=0)]"
    with pytest.raises(UsageError, match=r'toy\.py: cannot be built: .*zero'):
        start(tmp_path, monkeypatch, extra=steps)


def test_what_is_right_passes(tmp_path, monkeypatch):
    with pytest.raises(ZeroDivisionError):  # of run_epoch: training has begun
        start(
            tmp_path,
            monkeypatch,
            'default_hooks.checkpoint.save_best=toy/mean',
            'default_hooks.checkpoint.rule=greater',
        )
    WorkDirLock(tmp_path / 'work').release()


@pytest.mark.parametrize(
    ('setting', 'words'),
    [
        ('model.backbone.frozen_stage=1', ["'frozen_stage'", "did you mean 'frozen_stages'"]),
        ('model.roi_head.bbox_head.fc_out_chanels=64', ["did you mean 'fc_out_channels'"]),
        ('model.neck.num_out=4', ["did you mean 'num_outs'"]),
        ('model.train_cfg.rcnn.assigner.pos_iou_th=0.6', ["did you mean 'pos_iou_thr'"]),
        ('val_evaluator.metric=bbox', ["BDD100KMetric has no 'metric'"]),
        ('train_dataloader.dataset.filter_config=1', ["did you mean 'filter_cfg'"]),
    ],
)
def test_misspelt_keys_of_mmdets_and_our_parts(setting, words):
    import mmclarity.detection  # noqa: F401

    pytest.importorskip('mmdet')
    key, _, value = setting.rpartition('=')
    cfg = load_config(str(REPO / 'configs' / 'lambda_frcnn_bdd100k.py'))
    cfg.merge_from_dict({key: value})
    with pytest.raises(UsageError) as caught:
        check_config(cfg)
    for word in words:
        assert word in str(caught.value)


def test_a_part_of_another_base_is_no_misspelling():
    import mmclarity.detection  # noqa: F401

    cfg = load_config('lambda_frcnn_murky.py')
    cfg.model.roi_head.mask_iou_head = dict(type='MaskIoUHead')  # the RoI head refuses it by name
    check_config(cfg)


@pytest.mark.parametrize('name', sorted(path.stem for path in (REPO / 'configs').glob('*.py')))
def test_our_own_configs_pass(name, monkeypatch):
    monkeypatch.setattr('mmclarity.engine.checks._check_starts', lambda *args, **kwargs: None)
    check_config(load_config(str(REPO / 'configs' / f'{name}.py')))


@pytest.mark.parametrize(
    'given',
    [
        dict(checkpoint=dict(type='CheckpointHook', interval=3)),
        dict(checkpoint=dict(type='mmengine.CheckpointHook', interval=3)),
        dict(checkpoint=dict(type='mmdet.CheckpointHook', interval=3)),
        dict(checkpoint=dict(type=CheckpointHook, interval=3)),
        dict(checkpoint=dict(type='AtomicCheckpointHook', interval=3)),
    ],
)
def test_checkpoints_are_written_whole_however_the_hook_is_named(given):
    cfg = Config(dict(default_hooks=given))
    save_whole(cfg)
    assert cfg.default_hooks.checkpoint == dict(type='AtomicCheckpointHook', interval=3)


def test_checkpoints_are_written_whole_by_default_hooks_and_custom_ones():
    cfg = Config(dict(custom_hooks=[dict(type='mmengine.CheckpointHook', interval=2)]))
    save_whole(cfg)
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert cfg.custom_hooks[0].type == 'AtomicCheckpointHook'
    off = Config(dict(default_hooks=dict(checkpoint=None)))
    save_whole(off)
    assert off.default_hooks.checkpoint is None


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    with (
        WorkDirLock(tmp_path / 'work'),
        pytest.raises(UsageError, match='another training writes there .process'),
    ):
        start(tmp_path, monkeypatch)


def test_the_first_process_of_a_training_has_the_folder_for_all(monkeypatch):
    """What two processes do indeed: tests/engine/test_distributed.py."""
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    monkeypatch.setenv('RANK', '1')
    assert not is_first('pytorch')
    assert is_first('none')  # it does not know of the others: the lock will tell
    monkeypatch.setenv('RANK', '0')
    assert is_first('pytorch')


def test_a_best_without_validation(tmp_path, monkeypatch):
    nothing = '\nval_cfg = val_dataloader = val_evaluator = None\n'
    with pytest.raises(UsageError, match="save_best='a' needs a validation"):
        start(tmp_path, monkeypatch, 'default_hooks.checkpoint.save_best=a', extra=nothing)


def test_an_address_without_a_network(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError('Name or service not known')

    monkeypatch.setattr('mmengine.runner.checkpoint.load_url', fail)
    with pytest.raises(CheckpointError, match=r'https://example.org/a.pth cannot be fetched'):
        start(tmp_path, monkeypatch, 'load_from=https://example.org/a.pth')


def test_groups_have_to_come_through_the_pipeline():
    cfg = load_config('lambda_frcnn_murky.py', {'val_evaluator.by': ['timeofdy']})
    with pytest.raises(UsageError, match=r"val_evaluator\.by names 'timeofdy'.*meta_keys"):
        check_config(cfg)
    cfg = load_config('lambda_frcnn_murky.py', {'test_evaluator.by': 'scene'})
    with pytest.raises(UsageError, match=r'test_evaluator\.by must be a list'):
        check_config(cfg)


@pytest.mark.parametrize('path', sorted((REPO / 'configs').glob('*.py')), ids=lambda p: p.stem)
def test_shipped_configs_pass(path, monkeypatch):
    monkeypatch.setattr('mmclarity.utils.checkpoints.fetch', lambda address: {})
    cfg = load_config(str(path))
    if not cfg.get('load_from'):
        check_config(cfg)


def test_files_that_are_no_configs(tmp_path):
    for text, words in [
        ('model = dict(', r'a\.py, line 1: cannot be read: SyntaxError'),
        ('a = b', r"a\.py: cannot be read: NameError: name 'b'"),
        ("_base_ = './none.py'", r'a\.py: its _base_ .*none\.py is not there'),
        ('\0', r'a\.py'),
    ]:
        (tmp_path / 'a.py').write_text(text)
        with pytest.raises(UsageError, match=words):
            load_config(str(tmp_path / 'a.py'))


def test_what_cannot_be_built_is_one_message(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r'toy\.py: cannot be built: .*NoSuchModel'):
        start(tmp_path, monkeypatch, 'model.type=NoSuchModel')


@pytest.mark.parametrize(
    ('name', 'meant'), [('batchsize', 'batch_size'), ('BatchSize', 'batch_size'), ('zzz', None)]
)
def test_close_to(name, meant):
    assert close_to(name, ['batch_size', 'num_workers']) == meant


def test_lists_of_labels_are_refused_in_words(tmp_path):
    dataset = dict(type='A', data_root=str(tmp_path), ann_file=['a.json', 'b.json'])
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    with pytest.raises(UsageError, match="list of 2 files.*'ConcatDataset'"):
        resolve_data_roots(cfg, ('train_dataloader',))
