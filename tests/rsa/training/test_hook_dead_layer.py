"""A layer that dies while a network trains: it has no RDM, and the others have theirs."""

import csv
import warnings

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmclarity.rsa.report import tables as report
from mmclarity.rsa.report.movie import epochs_movie, read_epochs
from mmclarity.rsa.training.hook import RSAHook
from tests.rsa.training.hook_runs import config, hook, train

NAMES = ['network.features.1', 'network.classifier.3', 'network.classifier.6']
DEAD = NAMES[2]


class Kill(Hook):
    """Let the last layer answer nothing after some epochs; it learns again in the next one."""

    priority = 'NORMAL'  # before the analysis

    def __init__(self, epochs):
        self.epochs = epochs

    def after_train_epoch(self, runner):
        if runner.epoch + 1 in self.epochs:
            with torch.no_grad():
                for parameter in runner.model.get_submodule(DEAD).parameters():
                    parameter.zero_()


def trained(data, work_dir, caplog, epochs=3, killed=(), **options):
    options = dict(dict(layers=NAMES, output=dict(figures='none')), **options)
    runner = Runner.from_cfg(config(data, work_dir, [hook(data, **options)], epochs))
    runner.register_hook(Kill(killed))
    runner.logger.addHandler(caplog.handler)
    runner.train()
    (hooked,) = (h for h in runner.hooks if isinstance(h, RSAHook))
    return hooked


def test_it_alone_is_left_out(data, tmp_path, caplog):
    settings = dict(permutations=9, bootstraps=9)
    trained(data, tmp_path, caplog, 3, [2], settings=settings)
    folder = tmp_path / 'rsa'
    before, dead, after = (report.load_npz(folder / f'epoch_{i}.npz') for i in (1, 2, 3))
    assert np.isfinite(before.scores).all() and np.isfinite(after.scores).all()
    assert np.isfinite(dead.scores[:2]).all() and np.isnan(dead.scores[2]).all()
    assert np.isfinite(dead.rdms[:2]).all() and np.isnan(dead.rdms[2]).all()
    assert np.isfinite(dead.q[:2]).all() and np.isnan(dead.q[2]).all()
    assert np.isfinite(dead.untrained_scores).all() and np.isfinite(dead.untrained_p).all()
    assert list(dead.meta['undefined']) == [DEAD] and 'undefined' not in after.meta
    with open(folder / 'scores.csv') as file:
        rows = {(row['epoch'], row['layer']): row['score'] for row in csv.DictReader(file)}
    assert {place for place, score in rows.items() if score == ''} == {('2', DEAD)}
    assert caplog.text.count('left out') == 0
    assert caplog.text.count(f'RSA at epoch 2 without {DEAD} (NaN): the response to') == 1
    assert 'is constant (8 such stimuli)' in caplog.text


def test_it_is_told_when_it_dies_not_while_it_is_dead(data, tmp_path, caplog):
    hooked = trained(data, tmp_path, caplog, 5, [1, 2, 4])
    told = [line for line in caplog.messages if ' without ' in line]
    assert [line.split(' without ')[0] for line in told] == ['RSA at epoch 1', 'RSA at epoch 4']
    assert [np.isnan(hooked.results[i].scores[2, 0]) for i in range(6)] == [0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize('last', [False, True])
def test_figures_and_movie(data, tmp_path, caplog, last):
    """None shows a value that is not there, or stops, be it dead at the end or between."""
    with warnings.catch_warnings():
        warnings.filterwarnings('error', module='numpy')
        warnings.filterwarnings('error', 'All-NaN|Mean of empty|invalid value')
        trained(data, tmp_path, caplog, 2, [2 if last else 1], output=dict(figures='each'))
        for name in ('heat_map', 'layer_curves', 'epoch_curves', 'rdm_grid', 'mds'):
            assert (tmp_path / f'rsa/{name}.png').stat().st_size > 5000
        epochs_movie(read_epochs(tmp_path / 'rsa'), tmp_path / 'movie.gif', layers=[DEAD])
    assert (tmp_path / 'movie.gif').stat().st_size > 5000


def test_dead_from_the_start(data, tmp_path, caplog, monkeypatch):
    """It may come to life: that does not end a training."""
    from mmclarity.rsa.training import classification

    class Silent(classification.TorchvisionClassifier):
        def init_weights(self):
            super().init_weights()
            with torch.no_grad():
                for parameter in self.network.classifier[6].parameters():
                    parameter.zero_()

    monkeypatch.setitem(
        classification.MODELS.module_dict, classification.TorchvisionClassifier.__name__, Silent
    )
    hooked = trained(data, tmp_path, caplog, 1)
    assert np.isnan(hooked.results[0].scores[2]).all()
    assert np.isfinite(hooked.results[1].scores).all()
    assert f'RSA at epoch 0 without {DEAD} (NaN)' in caplog.text


def test_none_alive_is_a_failed_measurement(data, tmp_path, caplog):
    hooked = trained(data, tmp_path, caplog, 2, [1], layers=[DEAD])
    assert sorted(hooked.results) == [0, 2]
    assert f'RSA at epoch 1 left out: no layer has an RDM; {DEAD}: the response' in caplog.text


def test_a_resumed_run_goes_on_with_it(data, tmp_path, caplog):
    trained(data, tmp_path, caplog, 2, [1])
    runner = train(config(data, tmp_path, [hook(data, layers=NAMES)], 3), resume=True)
    (hooked,) = (h for h in runner.hooks if isinstance(h, RSAHook))
    assert [np.isnan(hooked.results[i].scores[2, 0]) for i in range(4)] == [0, 1, 0, 0]
