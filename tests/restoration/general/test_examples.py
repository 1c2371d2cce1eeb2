"""Examples of the general restorer, and tools/train_general_restorer.py as its users run it."""

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from mmclarity.restoration.general import examples, load_general, patches
from mmclarity.restoration.general.examples import ExampleBatches, example_loader

TOOLS = Path(__file__).resolve().parents[3] / 'tools'


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, 'SIDE', 48)
    rng = np.random.default_rng(0)
    names = [f'sem_pairs/high/{n:03d}' for n in (1, 2, 31, 50)]
    names += [f'sem_superalloy/{i}' for i in range(7)]
    for name in names:
        path = tmp_path / 'data' / f'{name}.tif'
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, rng.integers(0, 256, (60, 60)).astype(np.uint8))
    return tmp_path / 'data'


def first(batches, count=1):
    drawn = iter(batches)
    return [next(drawn) for _ in range(count)]


def test_batches_are_what_the_network_takes(data):
    noisy, clean, noise = first(ExampleBatches(data, 5, 32, phantoms=2, structures=3, sharp=4))[0]
    assert noisy.shape == clean.shape == (5, 1, 32, 32)
    assert noise.shape == (5, 3)
    assert {value.dtype for value in (noisy, clean, noise)} == {torch.float32}


def test_images_that_judge_are_left_out(data):
    batches = ExampleBatches(data, 1, 32)
    assert len(batches.images['spheres']) == 2
    assert len(batches.images['alloy']) == 2


def test_without_simulated_images_the_real_ones_are_drawn(data):
    assert len(first(ExampleBatches(data, 4, 32, phantoms=0, structures=0, sharp=0))[0][0]) == 4


def test_a_seed_says_what_is_drawn(data):
    def draw(seed):
        return first(ExampleBatches(data, 3, 32, seed, 1, 2, 3))[0][0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize('renewed, made', [(0.0, 3), (1.0, 3 + 4)])
def test_simulated_images_are_made_anew(data, monkeypatch, renewed, made):
    seeds = []
    monkeypatch.setattr(
        examples,
        '_simulated',
        lambda kind, seed: seeds.append(seed) or np.full((48, 48), 0.5, np.float32),
    )
    monkeypatch.setattr(examples, 'SHARES', dict(phantom=0.3, structure=0.3, sharp=0.4))
    first(ExampleBatches(data, 2, 32, phantoms=1, structures=1, sharp=1, renewed=renewed), 2)
    assert len(seeds) == made


def test_most_sharp_pictures_are_not_resized(data, monkeypatch):
    monkeypatch.setattr(examples, 'SHARES', dict(sharp=1.0))
    zooms = []
    monkeypatch.setattr(
        examples,
        'draw_example',
        lambda image, size, rng, ranges: (
            zooms.append(ranges.zoom) or patches.draw_example(image, size, rng, ranges)
        ),
    )
    first(ExampleBatches(data, 200, 32, phantoms=0, structures=0, sharp=2))
    assert np.mean([zoom == (1, 1) for zoom in zooms]) == pytest.approx(0.6, abs=0.12)


def test_shares_are_of_kinds(data, monkeypatch):
    drawn = []
    real = ExampleBatches._example
    monkeypatch.setattr(
        ExampleBatches,
        '_example',
        lambda self, images, kind, rng: drawn.append(kind) or real(self, images, kind, rng),
    )
    shares = dict(spheres=1, alloy=3, phantom=0, structure=0, sharp=0)
    first(ExampleBatches(data, 200, 32, phantoms=1, structures=0, sharp=1, shares=shares))
    assert set(drawn) == {'spheres', 'alloy'}
    assert drawn.count('alloy') / 200 == pytest.approx(0.75, abs=0.12)


@pytest.mark.parametrize(
    'shares, message',
    [
        (dict(sphere=1), 'shares are of spheres, alloy, phantom, structure, sharp; got sphere'),
        (dict(sharp=-0.1), 'zero or more'),
        (dict.fromkeys(examples.SHARES, 0), 'not all zero'),
    ],
)
def test_refuses_shares_of_nothing(data, shares, message):
    with pytest.raises(ValueError, match=message):
        ExampleBatches(data, 2, 32, phantoms=0, structures=0, sharp=0, shares=shares)


@pytest.mark.slow  # two processes that import torch: 10 s
def test_each_worker_draws_its_own(data):
    batches = ExampleBatches(data, 2, 32, phantoms=0, structures=0, sharp=0)
    loader = iter(example_loader(batches, 2, torch.device('cpu')))
    (one, _, _), (two, _, _) = next(loader), next(loader)
    assert not torch.equal(one, two)


def test_heavy_tails_keep_the_power():
    rng = np.random.default_rng(0)
    factors = np.stack([patches._tails((512, 512), rng) for _ in range(20)])
    assert np.square(factors).mean() == pytest.approx(1, abs=0.03)
    normal = rng.standard_normal(factors.shape)
    # a t distribution of 3 to 8 degrees of freedom has 5 to 40 times as many beyond four deviations
    beyond = (np.abs(factors * normal) > 4).mean()
    assert 5 < beyond / 6.3e-5 < 100


def test_impulses_hit_the_share_that_was_drawn():
    rng = np.random.default_rng(0)
    ranges = patches.Ranges(impulses=(0.02, 0.02))
    grey = np.full((300, 300), 0.5)
    for _ in range(5):
        hit = patches._impulses(grey, rng, ranges)
        assert (hit != 0.5).mean() == pytest.approx(0.02, rel=0.2)
        assert not ((hit > 0.1) & (hit < 0.9) & (hit != 0.5)).any()


@pytest.fixture
def train(monkeypatch, data):
    monkeypatch.setattr(sys, 'path', [str(TOOLS), *sys.path])
    import train_general_restorer as tool

    monkeypatch.setattr(tool, 'REPORTED', 1)
    # a clock by which every step takes two seconds
    monkeypatch.setattr(tool, 'time', SimpleNamespace(monotonic=itertools.count().__next__))
    options = ['--data', str(data), '--batch', '1', '--size', '32', '--phantoms', '0']
    return lambda work_dir, *more: tool.main(
        [*options, '--structures', '0', '--sharp', '0', '--work-dir', str(work_dir), *more]
    )


def test_trains_and_goes_on_where_it_was(train, tmp_path, capsys):
    assert train(tmp_path / 'a', '--minutes', '0.2') == 0
    steps = torch.load(tmp_path / 'a/last.pth', weights_only=True)['step']
    assert steps >= 1
    assert f'({steps} steps)' in capsys.readouterr().out

    # its time is over: the same weights are written once more
    before = load_file(tmp_path / 'a/general.safetensors')
    assert train(tmp_path / 'a', '--minutes', '0.2') == 0
    after = load_file(tmp_path / 'a/general.safetensors')
    assert all(torch.equal(before[name], after[name]) for name in before)

    # others start from its average, with a clock of their own
    start = ['--start', str(tmp_path / 'a/last.pth')]
    assert train(tmp_path / 'b', '--minutes', '0.2', *start) == 0
    assert torch.load(tmp_path / 'b/last.pth', weights_only=True)['step'] > steps


def test_grows_from_narrower_weights_and_goes_on_as_wide(train, tmp_path, capsys):
    assert train(tmp_path / 'a', '--minutes', '0.1', '--widths', '4', '6') == 0
    start = ['--start', str(tmp_path / 'a/general.safetensors')]
    assert train(tmp_path / 'b', '--minutes', '0.1', '--widths', '8', '9', *start) == 0
    steps = torch.load(tmp_path / 'b/last.pth', weights_only=True)['step']
    assert steps > torch.load(tmp_path / 'a/last.pth', weights_only=True)['step']
    assert load_general(tmp_path / 'b/general.safetensors').widths == (8, 9)
    assert train(tmp_path / 'b', '--minutes', '0.2') == 0  # the widths are those of the checkpoint
    assert torch.load(tmp_path / 'b/last.pth', weights_only=True)['step'] > steps

    assert train(tmp_path / 'c', '--minutes', '0.1', '--widths', '3', '9', *start) == 2
    assert 'can not grow to (3, 9)' in capsys.readouterr().err


def test_warms_up_as_slowly_as_asked(train, tmp_path, monkeypatch):
    import train_general_restorer as tool

    rates = []
    learn = tool.Training.train
    monkeypatch.setattr(
        tool.Training, 'train', lambda self, *batch: rates.append(batch[-1]) or learn(self, *batch)
    )
    train(tmp_path / 'a', '--minutes', '0.2', '--warm', '1000')
    assert rates and all(0 < rate <= (i + 1) / 1000 for i, rate in enumerate(rates))


def test_a_step_that_overflows_changes_nothing(train, tmp_path):
    import train_general_restorer as tool

    training = tool.Training(torch.device('cpu'), 1e-3)
    clean, noise = torch.rand(1, 1, 32, 32), torch.rand(1, 3)
    training.train(torch.full_like(clean, torch.nan), clean, noise, 1.0)
    assert all(value.isfinite().all() for value in training.net.state_dict().values())
    assert training.train(clean, clean, noise, 1.0).isfinite()
