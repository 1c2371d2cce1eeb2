"""Options of the hook, and what it refuses before training."""

import inspect
import warnings

import pytest
import torch
from mmengine.runner import Runner

import mmclarity.rsa.training  # noqa: F401  (registers)
from mmclarity.rsa.analysis import RSASettings
from mmclarity.rsa.training.hook import RSAHook
from tests.rsa.training.hook_runs import LAYERS, config, hook, losses, train


@pytest.mark.parametrize(
    'kwargs,error,match',
    [
        (dict(layers=['network.features.20']), KeyError, 'nearest names'),
        (dict(stimuli='nowhere'), FileNotFoundError, 'nowhere'),
        (dict(areas=dict(V1='gone.npz:V1')), FileNotFoundError, 'gone.npz'),
        (dict(areas=dict(V1=dict(kind='rdm'))), ValueError, 'names no file'),
        (
            dict(layers=dict(names=LAYERS, module='backbone')),
            ValueError,
            "no module 'backbone'; its parts are",
        ),
    ],
)
def test_what_is_wrong_is_said_before_training(data, tmp_path, kwargs, error, match):
    with pytest.raises(error, match=match):
        train(config(data, tmp_path, [hook(data, **kwargs)]))
    assert not losses(tmp_path)[0]


@pytest.mark.parametrize(
    'kwargs,error',
    [
        (dict(output=dict(interval=0)), ValueError),
        (dict(output=dict(figures='all')), ValueError),
        (dict(output=dict(figure='all')), TypeError),
        (dict(areas={}), TypeError),
        (dict(areas=None), TypeError),
        (dict(layers=None), TypeError),
        (dict(stimuli=None), TypeError),
        (dict(stimuli=dict(folder='.', sise=64)), TypeError),
        (dict(layers=dict(names=LAYERS, modules='')), TypeError),
        (dict(settings=dict(metric='l2')), ValueError),
        (dict(settings=dict(method='r')), ValueError),
        (dict(settings=dict(metrics='euclidean')), ValueError),
        (dict(method='r'), ValueError),
        (dict(methods='spearman'), TypeError),
    ],
)
def test_bad_options(data, kwargs, error):
    options = hook(data, **kwargs)
    options.pop('type')
    with pytest.raises(error):
        RSAHook(**options)


def test_one_layer_may_be_a_string(data):
    """Its letters were taken for layers."""
    options = hook(data, layers='network.features.1')
    options.pop('type')
    assert RSAHook(**options).shown.names == ['network.features.1']


def test_flat_options_of_earlier_versions_are_put_into_groups():
    flat = dict(
        stimuli='pictures',
        neural=dict(IT='a.npz:IT', V1=dict(file='b.npz')),
        layers=['a', 'b'],
        manifest='m.csv',
        size=64,
        module='backbone',
        assume_order=True,
        metric='euclidean',
        method='pearson',
        pooling='mean',
        bootstraps=5,
        bootstrap_over='both',
        permutations=6,
        seed=7,
        interval=2,
        by_epoch=False,
        at_start=False,
        baseline=False,
        figures='each',
        batch_size=8,
        out_dir='out',
    )
    new = dict(
        stimuli=dict(folder='pictures', manifest='m.csv', size=64),
        areas=dict(
            IT=dict(file='a.npz:IT', assume_order=True), V1=dict(file='b.npz', assume_order=True)
        ),
        layers=dict(names=['a', 'b'], module='backbone', untrained=False, batch_size=8),
        settings=RSASettings('euclidean', 'pearson', 'mean', 5, 'both', 6, 7),
        output=dict(interval=2, by_epoch=False, at_start=False, figures='each', folder='out'),
    )
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        expected = RSAHook(**new)
    with pytest.warns(DeprecationWarning) as caught:
        got = RSAHook(**flat)
    said = ' '.join(str(item.message) for item in caught)
    assert 'RSAHook: baseline is now layers=dict(untrained=...)' in said and 'areas' in said
    for name in ('source', 'areas_given', 'shown', 'settings', 'output'):
        assert getattr(got, name) == getattr(expected, name), name
    assert len(inspect.signature(RSAHook).parameters) == 6  # five groups, and the old names


def test_an_old_override_goes_over_a_new_config():
    with pytest.warns(DeprecationWarning):
        got = RSAHook(
            dict(folder='a', size=3), dict(V1='a', V4='b'), ['x'], neural=dict(V1='c'), size=5
        )
    assert got.areas_given == dict(V1='c', V4='b') and got.source == dict(folder='a', size=5)


def logged(cfg, caplog):
    """What the hook says while a runner trains."""
    cfg.log_level = 'INFO'
    runner = Runner.from_cfg(cfg)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith('RSA:')], runner


def test_normalisation_is_said_and_can_be_given(data, tmp_path, caplog):
    said, _ = logged(config(data, tmp_path / 'a', [hook(data)], epochs=1), caplog)
    assert 'red first, by mean and deviation 0.45, 0.45, 0.45 and 0.2, 0.2, 0.2' in said[0]
    assert 'as for ImageNet' not in said[0]
    stimuli = dict(hook(data)['stimuli'], mean=(0.0,) * 3, std=(1 / 255,) * 3)
    caplog.clear()
    said, runner = logged(
        config(data, tmp_path / 'b', [hook(data, stimuli=stimuli)], epochs=1), caplog
    )
    hooked = next(h for h in runner.hooks if isinstance(h, RSAHook))
    _, images = next(hooked.stimuli.batches(8))
    assert images.max() > 128 and '0, 0, 0 and 0.003922' in said[0]


def test_an_unknown_normalisation_is_named(caplog, tmp_path):
    from types import SimpleNamespace

    from PIL import Image

    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    options = dict(areas=dict(V1='gone.npz:V1'), layers=LAYERS)
    lines = []
    logger = SimpleNamespace(info=lines.append, warning=lines.append)
    hooked = RSAHook(stimuli=str(tmp_path), **options)
    hooked._read_stimuli(SimpleNamespace(logger=logger), None)
    assert 'as for ImageNet: the data preprocessor of the model does not say how' in lines[0]
    hooked = RSAHook(stimuli=dict(folder=str(tmp_path), mean=(0.5,) * 3, std=(1.0,) * 3), **options)
    hooked._read_stimuli(SimpleNamespace(logger=logger), None)
    assert 'as for ImageNet' not in lines[1]


def test_epochs_of_a_training_that_counts_iterations(data, tmp_path, caplog):
    cfg = config(data, tmp_path, [hook(data)])
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=3)
    cfg.param_scheduler = None
    said, _ = logged(cfg, caplog)
    assert any('give output=dict(by_epoch=False' in line for line in said)


class FullyShardedDataParallel(torch.nn.Linear):
    """Named as torch's."""


@pytest.mark.parametrize('how', ['around', 'within', 'deepspeed'])
def test_spread_parameters_are_refused(data, how):
    from types import SimpleNamespace

    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    if how == 'around':
        model = FullyShardedDataParallel(2, 2)
        model.module = torch.nn.Linear(2, 2)
    elif how == 'within':
        model.append(FullyShardedDataParallel(2, 2))
    else:
        model[0].weight = torch.nn.Parameter(torch.empty(0))
        model[0].weight.ds_id = 0
    options = hook(data)
    options.pop('type')
    with pytest.raises(ValueError, match='spread over processes'):
        RSAHook(**options).before_train(SimpleNamespace(model=model))
