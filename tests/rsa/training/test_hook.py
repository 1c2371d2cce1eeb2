"""The hook in real, small trainings."""

import csv

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import mmclarity.rsa.training  # noqa: F401  (registers)
from mmclarity.rsa.analysis import RSASettings
from mmclarity.rsa.report import tables as report
from mmclarity.rsa.training.hook import RSAHook
from mmclarity.synthetic.surfaces import make_surfaces
from tests import running
from tests.rsa.training.hook_runs import LAYERS, config, hook, losses, train
from tests.running import REPO
from tools.analysis_tools.curves import read_run


def test_losses_are_the_same_with_and_without(data, tmp_path):
    plain = train(config(data, tmp_path / 'plain'))
    hooked = train(config(data, tmp_path / 'hooked', [hook(data)]))
    expected, _ = losses(tmp_path / 'plain')
    got, lines = losses(tmp_path / 'hooked')
    assert got == expected and len(got) == 8
    for a, b in zip(plain.model.state_dict().values(), hooked.model.state_dict().values()):
        assert torch.equal(a, b)
    # Scalars of three analyses went to the visualisation backend.
    found = [line for line in lines if 'rsa/V1/network.features.1' in line]
    assert [line['step'] for line in found] == [0, 1, 2]


def test_files_hold_what_was_found(data, tmp_path):
    runner = train(
        config(data, tmp_path, [hook(data, output={}, settings=dict(permutations=9))], epochs=1)
    )
    folder = tmp_path / 'rsa'
    result = report.load_npz(folder / 'epoch_1.npz')
    assert result.layers == ['network.features.1'] + [f'network.classifier.{i}' for i in range(7)]
    assert len(result.ids) == 8 and result.rdms.shape == (8, 28)
    assert result.untrained_scores.shape == result.p.shape == (8, 1)
    assert result.meta['epoch'] == 1 and result.ceilings['V1'].lower is None
    with open(folder / 'scores.csv') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 8 and {row['epoch'] for row in rows} == {'0', '1'}
    assert float(rows[8]['score']) == pytest.approx(result.scores[0, 0], rel=1e-4)
    assert rows[0]['ceiling_lower'] == 'N/A'
    for name in ('heat_map', 'layer_curves', 'epoch_curves', 'rdm_grid', 'mds'):
        assert (folder / f'{name}.png').stat().st_size > 5000
    # The twin is untrained: it is the same before and after.
    before = report.load_npz(folder / 'epoch_0.npz')
    np.testing.assert_array_equal(before.untrained_scores, result.untrained_scores)
    assert not np.array_equal(before.scores, result.scores)
    assert runner.model.training is False or runner.iter == 4


def test_shuffled_recordings_are_realigned_and_other_ids_refused(data, tmp_path):
    with np.load(data / 'v1.npz') as file:
        responses, ids = file['complex'], file['ids']
    order = np.random.default_rng(0).permutation(len(ids))
    np.savez(tmp_path / 'shuffled.npz', v1=responses[order], ids=ids[order])
    np.savez(tmp_path / 'other.npz', v1=responses, ids=[f'x{i}' for i in ids])
    np.savez(tmp_path / 'silent.npz', v1=responses)
    areas = dict(V1=f'{data}/v1.npz:complex', shuffled=f'{tmp_path}/shuffled.npz:v1')
    train(config(data, tmp_path / 'a', [hook(data, areas=areas)], epochs=1))
    scores = report.load_npz(tmp_path / 'a' / 'rsa' / 'epoch_1.npz').scores
    np.testing.assert_allclose(scores[:, 0], scores[:, 1])
    for name, match in (('other', 'no id in common'), ('silent', 'which stimulus is which')):
        bad = hook(data, areas=dict(V1=f'{tmp_path}/{name}.npz:v1'))
        with pytest.raises(ValueError, match=match):
            train(config(data, tmp_path / name, [bad]))


@pytest.mark.parametrize('error', [ValueError, RuntimeError, OSError])
def test_a_failed_measurement_does_not_end_the_training(data, tmp_path, monkeypatch, error):
    cfg = config(data, tmp_path, [hook(data)])
    runner = Runner.from_cfg(cfg)
    warned = []
    monkeypatch.setattr(runner.logger, 'warning', lambda text, *a, **k: warned.append(str(text)))
    original = RSAHook._analyse

    def analyse(self, runner, step):
        if step == 1:
            raise error("layer 'network.features.1' fails")
        original(self, runner, step)

    monkeypatch.setattr(RSAHook, '_analyse', analyse)
    runner.train()
    assert any('RSA at epoch 1 left out' in text for text in warned)
    assert (tmp_path / 'rsa' / 'epoch_2.npz').is_file()
    assert not (tmp_path / 'rsa' / 'epoch_1.npz').exists()


def test_by_iteration_and_resumed(data, tmp_path):
    options = hook(data, output=dict(by_epoch=False, interval=3, figures='none'))
    train(config(data, tmp_path, [options], epochs=1))
    found = sorted(p.name for p in (tmp_path / 'rsa').glob('*.npz'))
    assert found == ['iter_0.npz', 'iter_3.npz', 'iter_4.npz']  # and of the trained network
    runner = train(config(data, tmp_path, [options], epochs=2), resume=True)
    hooked = next(h for h in runner.hooks if isinstance(h, RSAHook))
    assert sorted(hooked.results) == [0, 3, 4, 6, 8]
    # Memory does not grow with training: what is old is in its file.
    sizes = {step: result.rdms.size for step, result in hooked.results.items()}
    assert sizes == {0: 0, 3: 0, 4: 0, 6: 0, 8: 8 * 28}
    assert hooked.results[0].untrained_rdms is None and not hooked.results[3].area_rdms
    assert report.load_npz(tmp_path / 'rsa' / 'iter_3.npz').rdms.shape == (8, 28)


def test_curves_of_iterations_stand_at_iterations(data, tmp_path):
    """The second iteration was drawn at the end of the second epoch."""
    options = hook(data, output=dict(by_epoch=False, interval=2, figures='none'))
    train(config(data, tmp_path, [options], epochs=2))
    places, _ = read_run(tmp_path)['rsa/V1/network.features.1']
    assert places.tolist() == [0, 2, 4, 6, 8]


def test_a_finished_run_that_is_resumed_is_drawn_again(data, tmp_path):
    """The last analysis is that of most iterations, however the files sort."""
    output = dict(by_epoch=False, interval=2, figures='end')
    train(config(data, tmp_path, [hook(data, output=output)], epochs=3))
    assert (tmp_path / 'rsa' / 'iter_12.npz').is_file()
    figure = tmp_path / 'rsa' / 'rdm_grid.png'
    figure.unlink()
    cfg = config(data, tmp_path, [hook(data, output=output)], epochs=3)
    runner = train(cfg, resume=True)
    hooked = next(h for h in runner.hooks if isinstance(h, RSAHook))
    assert figure.is_file() and hooked.results[12].rdms.size == 8 * 28


@pytest.fixture
def group(tmp_path):
    import torch.distributed as dist

    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_networks_wrapped_one_by_one_do_not_ask_for_buffers(group, monkeypatch):
    """Other processes wait for the first, and would never answer."""
    from mmclarity.rsa.training.processes import alone

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    model = torch.nn.ModuleDict(dict(generator=torch.nn.parallel.DistributedDataParallel(net)))
    asked = []
    monkeypatch.setattr(
        torch.nn.parallel.DistributedDataParallel, '_sync_buffers', lambda _: asked.append(1)
    )
    images = torch.rand(2, 3, 4, 4)
    with torch.no_grad():
        with alone(model):
            model['generator'](images)
        assert not asked
        model['generator'](images)
    assert asked


@pytest.mark.parametrize(
    'change,what',
    [
        ('stimuli', 'stimuli, areas'),
        ('layers', 'layers'),
        ('metric', 'metric'),
        ('method', 'method'),
        ('recordings', 'recordings'),
        ('size', 'pictures'),
    ],
)
def test_a_resumed_run_does_not_mix_what_cannot_be_compared(data, tmp_path, caplog, change, what):
    """Left out with a warning; the training and its figures go on."""
    with np.load(data / 'v1.npz') as file:
        responses, ids = file['complex'], file['ids']
    other = tmp_path / 'other'
    make_surfaces(other, train=1, val=1, stimuli=2)
    np.savez(tmp_path / 'noise.npz', v1=np.random.default_rng(0).random(responses.shape), ids=ids)
    new = dict(
        stimuli=dict(
            stimuli=str(other / 'stimuli'),
            manifest=str(other / 'stimuli/manifest.csv'),
            areas=dict(other=f'{other}/v1.npz:complex'),
        ),
        layers=dict(layers=LAYERS[:1]),
        metric=dict(settings=dict(metric='euclidean')),
        method=dict(settings=RSASettings(method='pearson')),
        recordings=dict(areas=dict(V1=f'{tmp_path}/noise.npz:v1')),
        size=dict(stimuli={**hook(data)['stimuli'], 'size': 80}),
    )[change]
    work_dir = tmp_path / 'run'
    train(config(data, work_dir, [hook(data)], epochs=1))
    cfg = config(data, work_dir, [hook(data, output={}, **new)], epochs=2)
    cfg.resume = True
    runner = Runner.from_cfg(cfg)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    hooked = next(h for h in runner.hooks if isinstance(h, RSAHook))
    assert sorted(hooked.results) == [2]
    assert f'epoch_0.npz, epoch_1.npz: made with other {what};' in caplog.text
    (aside,) = (work_dir / 'rsa').glob('earlier_*')
    assert sorted(path.name for path in aside.iterdir()) == ['epoch_0.npz', 'epoch_1.npz']
    with open(work_dir / 'rsa' / 'scores.csv') as file:
        assert {row['epoch'] for row in csv.DictReader(file)} == {'2'}
    assert (work_dir / 'rsa' / 'epoch_curves.png').is_file()


@pytest.mark.slow
def test_backbone_of_a_detector_while_it_trains(data, tmp_path):
    """Images reach the backbone as its data preprocessor gives them: an RDM is done again.

    The command line is that of an earlier version: its names of options go on working.
    """
    from mmengine.registry import MODELS, DefaultScope

    from mmclarity.rsa import StimulusSet, compute_rdm, untrained_copy

    scenes, config = tmp_path / 'murky', REPO / 'configs' / 'lambda_frcnn_murky_rsa.py'
    for command in (
        ['tools/dataset_generators/make_murky.py', scenes, '--train', '8', '--val', '2'],
        [
            'tools/train.py',
            config,
            '--work-dir',
            tmp_path,
            '--cfg-options',
            f'data_root={scenes}/',
            'train_cfg.max_epochs=1',
            f'custom_hooks.2.stimuli={data}/stimuli',
            f'custom_hooks.2.manifest={data}/stimuli/manifest.csv',
            f'custom_hooks.2.neural.V1_simple={data}/v1.npz:simple',
            f'custom_hooks.2.neural.V1_complex={data}/v1.npz:complex',
        ],
    ):
        done = running.script(REPO, *command)
        assert done.returncode == 0, done.stderr[-3000:]
    result = report.load_npz(tmp_path / 'rsa' / 'epoch_1.npz')
    assert result.layers == ['backbone.relu'] + [f'backbone.layer{i}' for i in (1, 2, 3)]
    assert result.areas == ['V1_simple', 'V1_complex'] and np.isfinite(result.scores).all()
    before = report.load_npz(tmp_path / 'rsa' / 'epoch_0.npz')
    assert (before.scores != result.scores).all()
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(config).model)
    model = untrained_copy(model, 0)
    preprocessor = model.data_preprocessor
    images = torch.cat(
        [
            batch
            for _, batch in StimulusSet.from_folder(
                data / 'stimuli',
                manifest=data / 'stimuli' / 'manifest.csv',
                mean=(0,) * 3,
                std=(1 / 255,) * 3,
            ).batches(8)
        ]
    )
    with torch.no_grad():
        # Grey images: the order of the channels is only in the mean and the deviation.
        shown = (images - preprocessor.mean) / preprocessor.std
        found = model.backbone(shown)[-1]
    np.testing.assert_allclose(before.untrained_rdms[-1], compute_rdm(found), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_end_with_one_analysis(data, tmp_path):
    """The first works, the second waits; a fault before training ends both."""
    options = [
        f'data_root={data}/',
        f'custom_hooks.1.stimuli.folder={data}/stimuli',
        f'custom_hooks.1.stimuli.manifest={data}/stimuli/manifest.csv',
        f'custom_hooks.1.areas.V1_simple={data}/v1.npz:simple',
        f'custom_hooks.1.areas.V1_complex={data}/v1.npz:complex',
        'train_cfg.max_epochs=1',
        'model.network.width=0.1',
        'train_dataloader.batch_size=4',
    ]
    command = [
        REPO / 'tools' / 'train.py',
        2,
        REPO / 'configs' / 'alexnet_surfaces_rsa.py',
        '--launcher',
        'pytorch',
        '--work-dir',
        str(tmp_path),
        '--cfg-options',
    ]
    done = running.run_workers(tmp_path, *command, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'rsa' / 'epoch_1.npz').is_file()
    done = running.run_workers(
        tmp_path, *command, *options, 'custom_hooks.1.areas.V1_simple=gone.npz:x'
    )
    assert done.returncode != 0 and 'gone.npz' in done.stderr + done.stdout
