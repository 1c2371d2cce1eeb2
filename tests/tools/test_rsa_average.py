"""tools/rsa.py --average: several recordings as one area, from the command line."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmclarity.cli import rsa
from mmclarity.rsa.rdms.pairs import between_groups
from mmclarity.rsa.report import tables as report
from tests.tools.test_rsa import COUNT, FIGURES, command, data

__all__ = ['data']  # the fixture


@pytest.fixture
def spikes(data):
    """Four populations, each in its own order of the stimuli; ``d`` saw another one as well."""
    rng = np.random.default_rng(1)
    for name in 'abcd':
        ids = [f'leaf{i}' for i in rng.permutation(COUNT)] + ['rose'] * (name == 'd')
        np.savez(data / f'{name}.npz', V1=rng.normal(size=(len(ids), 9)), ids=ids)
    return [f'{name}={data / name}.npz:V1' for name in 'abcd']


def test_rows_beside_those_of_the_populations(data, spikes, capsys):
    movies = data / 'kinds.txt'  # aabbcc
    more = ['--neural', *spikes, '--average', 'V1=a + b,c + d', 'both = b, c', '--groups', movies]
    assert rsa.main(command(data, *more)) == 0
    out = capsys.readouterr().out
    assert 'V1: mean of a + b,c + d (3 animals)' in out and '(1 animal)' in out
    assert '| d, untrained | V1 | V1, untrained | both |' in out
    result = report.load_npz(data / 'out' / 'rsa.npz')
    assert result.areas == ['a', 'b', 'c', 'd', 'V1', 'both']
    own = {name: result.area_rdms[name][0] for name in 'abcd'}
    animals = [own['a'], (own['b'] + own['c']) / 2, own['d']]
    np.testing.assert_allclose(result.area_rdms['V1'], animals, rtol=1e-14)
    keep = between_groups('aabbcc')
    for row, layer in enumerate(result.rdms):
        expected = [spearmanr(layer[keep], animal[keep]).statistic for animal in animals]
        assert result.scores[row, 4] == pytest.approx(np.mean(expected), abs=1e-10)
    assert result.ceilings['V1'].subjects == 3 and result.ceilings['both'].lower is None
    assert np.isfinite(result.intervals[:, 4]).all()
    assert result.meta['areas']['V1'] == 'mean of a + b,c + d'
    assert not FIGURES - {item.name for item in (data / 'out').iterdir()}


@pytest.mark.parametrize(
    'average, parts',
    [
        ('V1', ["write it as 'AREA=A + B,C'"]),
        ('V1=a + ', ["write it as 'AREA=A + B,C'"]),
        ('V1=a + e', ["no recording of --neural is called 'e'", 'there are a, b, c, d']),
        ('a=b + c', ["there is an area 'a'", 'another name']),
        ('V1=a,b + a', ["'a' comes twice"]),
        ('V1=a', ['nothing to average', 'two populations']),
    ],
)
def test_what_is_wrong_is_said_before_the_network_works(
    data, spikes, capsys, monkeypatch, average, parts
):
    monkeypatch.setattr(rsa, 'show', None)
    assert rsa.main(command(data, '--neural', *spikes, '--average', average)) == 2
    error = capsys.readouterr().err
    for part in parts:
        assert part in error
    assert not (data / 'out').exists()


def test_populations_of_other_stimuli(data, spikes, capsys):
    """What all have by --common; without it, and where there is none, the error says what to do."""
    with np.load(data / 'a.npz') as file:
        keep = file['ids'] != 'leaf3'
        np.savez(data / 'a.npz', V1=file['V1'][keep], ids=file['ids'][keep])
    more = ['--neural', *spikes, '--average', 'V1=a + b', '--figures', 'none']
    assert rsa.main(command(data, *more)) == 2
    error = capsys.readouterr().err
    assert "'a' lacks 1 of 6 stimuli (leaf3)" in error and '--common' in error
    assert 'combine_results' in error
    assert rsa.main(command(data, *more, '--common')) == 0
    result = report.load_npz(data / 'out' / 'rsa.npz')
    assert result.ids == ['leaf0', 'leaf1', 'leaf2', 'leaf4', 'leaf5']
    np.testing.assert_array_equal(
        result.area_rdms['V1'], [result.area_rdms[name][0] for name in 'ab']
    )
