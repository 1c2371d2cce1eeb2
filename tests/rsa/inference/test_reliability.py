"""Split halves: against loops, theory, and the reliabilities of real recordings."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmclarity.rsa.inference.reliability import _first_half, spearman_brown, split_half
from mmclarity.rsa.rdms.compute import compute_rdm
from tests.real_data import DATA, needs


def trials(noise=1.0, stimuli=20, units=15, repeats=8, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((stimuli, units, 1))
    return truth + noise * rng.standard_normal((stimuli, units, repeats))


def test_each_split_is_two_rdms():
    data = trials()
    data[3, :, 5:] = np.nan  # a stimulus shown five times
    data[7, 2, 0] = np.nan  # a unit lost once
    got = split_half(data, splits=3, seed=4)
    rng, there = np.random.default_rng(4), ~np.isnan(data).all(1)
    for value in got.splits:
        first = _first_half(there, rng)
        halves = []
        for part in (first, there & ~first):
            mean = [[np.nanmean(data[i, u, part[i]]) for u in range(15)] for i in range(20)]
            halves.append(compute_rdm(np.array(mean)))
        assert value == pytest.approx(spearmanr(*halves).statistic, abs=1e-10)
    assert got.half == pytest.approx(got.splits.mean())
    assert got.full == pytest.approx(2 * got.half / (1 + got.half))


def test_halves_are_halves_of_what_there_is():
    there = np.zeros((2000, 9), bool)
    there[:, [0, 2, 3, 7, 8]] = True
    first = _first_half(there, np.random.default_rng(0))
    assert not (first & ~there).any() and set(first.sum(1)) == {2, 3}
    np.testing.assert_allclose(first.mean(0)[there[0]], 0.5, atol=0.05)


def test_spearman_and_brown_foretell_twice_the_trials():
    """The likeness of RDMs from 16 trials each is what halves of 8 and 8 foretell."""
    half = np.mean(
        [
            split_half(trials(0.7, repeats=16, seed=s), 10, 'euclidean', 'pearson').half
            for s in range(30)
        ]
    )
    long = np.mean(
        [
            split_half(trials(0.7, repeats=32, seed=s), 10, 'euclidean', 'pearson').half
            for s in range(30)
        ]
    )
    assert half < long and float(spearman_brown(half)) == pytest.approx(long, abs=0.03)
    assert split_half(trials(0.01), 5).ceiling > 0.99
    assert np.isnan(spearman_brown(-0.5))


@needs('rsa_v4/210325/responses.npz')
def test_macaque_v4():
    data = np.load(DATA / 'rsa_v4/210325/responses.npz')['trials']
    assert 0.6 < split_half(data, 5).half < 0.7


@needs('rsa_v1/ay2_u003.npz')
def test_macaque_v1():
    """Fifty repeats are reliable; the population of the fewest visual responses is the least."""
    found = {}
    for name in ('ay2_u003', 'ay3_u001', 'ay3_u002', 'ay5_u005'):
        with np.load(DATA / f'rsa_v1/{name}.npz') as file:
            movies = [str(item)[:3] for item in file['ids']]
            found[name] = split_half(file['trials'], 5, groups=movies).full
    assert min(found, key=found.get) == 'ay5_u005' and min(found.values()) > 0.3


@pytest.mark.parametrize(
    'data,match',
    [
        (np.ones((5, 4)), 'they must be'),
        (np.ones((5, 4, 1)), '2 repeats or more'),
        (np.where(np.arange(3) > 0, np.nan, np.ones((5, 4, 3))), 'stimulus 0 has 1 trials'),
    ],
)
def test_what_cannot_be_split(data, match):
    with pytest.raises(ValueError, match=match):
        split_half(data)
