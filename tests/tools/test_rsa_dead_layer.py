"""Layers without an RDM in tools/rsa.py: they alone have no score, as in a training."""

import numpy as np
import pytest

from mmclarity.rsa.report.tables import load_npz
from tests.tools.rsa_runs import COUNT, rows, run

NET = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.nan = nn.Conv2d(4, 4, 1)
        self.silent = nn.Conv2d(4, 2, 1, bias=False)
        self.last = nn.Conv2d(4, 4, 3)
    def forward(self, images):
        x = self.first(images)
        self.nan(x * float('nan'))
        self.silent(0 * x)
        return self.last(x)
def net():
    torch.manual_seed(0)
    return Net()
def part():
    net = Net()
    net.first.weight.data *= float('nan')
    return net
"""
QUIET = ('--figures', 'none')


@pytest.fixture
def recorded(pictures):
    (pictures / 'nets.py').write_text(NET)
    rng = np.random.default_rng(1)
    ids = [f'im{i}' for i in range(COUNT)]
    np.savez(
        pictures / 'it.npz',
        it=rng.normal(size=(3, COUNT, 20)),
        meg=rng.normal(size=(5, COUNT, 6, 3)),
        ids=ids,
    )
    return pictures


def analysed(folder, *more):
    """The result, and all that was said."""
    with pytest.warns(UserWarning) as caught:
        assert run(folder, '--neural', f'IT={folder}/it.npz:it', *more) == 0
    return load_npz(folder / 'out/rsa.npz'), [str(warning.message) for warning in caught]


def test_the_others_have_their_scores(recorded):
    result, said = analysed(recorded, '--showcase')
    assert np.isfinite(result.scores[[0, 3]]).all() and np.isnan(result.scores[[1, 2]]).all()
    assert np.isfinite(result.untrained_scores[[0, 3]]).all()
    told = [line for line in said if 'net, without' in line]
    assert len(told) == 2 and 'net, without nan (N/A): the response to stimulus 0' in told[0]
    assert 'net, without silent (N/A): the response to stimulus 0 is constant' in told[1]
    assert not any('there is no RDM' in line or 'of a are constant' in line for line in said)
    alone, _ = analysed(recorded, *QUIET, '--layers', 'first', 'last')
    np.testing.assert_allclose(alone.scores, result.scores[[0, 3]])
    np.testing.assert_allclose(alone.q, result.q[[0, 3]])


def test_what_is_asked_beside_goes_on(recorded):
    more = '--weighted', 'pearson', '--weighted-draws', 4, '--profiles', 'peak', '--r2'
    time = '--time', f'MEG={recorded}/it.npz:meg'
    result, said = analysed(recorded, *QUIET, *more, *time)
    models = [row['model'] for row in rows(recorded / 'out/rsa_weighted.csv')]
    assert models == ['all, weighted', 'first', 'last']
    assert rows(recorded / 'out/rsa_profiles.csv')[0]['layer'] in ('first', 'last')
    squares = [row['R2'] for row in rows(recorded / 'out/rsa_r2.csv')]
    assert [bool(square) for square in squares] == [True, False, False, True]
    courses = [row['score'] for row in rows(recorded / 'out/rsa_time_MEG.csv')]
    assert [bool(score) for score in courses[::3]] == [True, False, False, True]
    for row in rows(recorded / 'out/rsa_differences.csv'):
        both = {row['layer'], row['other']} == {'first', 'last'}
        assert bool(row['p']) == both  # there is no p of a difference that is none
    assert not any('pairs are NaN' in line for line in said)


def test_of_the_other_network_it_is_no_area(recorded):
    result, _ = analysed(recorded, *QUIET, '--compare-model', f'{recorded}/nets.py:net')
    assert result.areas == ['IT', 'net:first', 'net:last']


def test_none_alive(recorded, capsys):
    with pytest.warns(UserWarning, match='part, without first, nan, silent, last .N/A.'):
        status = run(
            recorded,
            *('--neural', f'IT={recorded}/it.npz:it', '--model', f'{recorded}/nets.py:part'),
        )
    assert status == 2 and 'part: no layer has an RDM; choose other' in capsys.readouterr().err
    assert not (recorded / 'out').exists()
