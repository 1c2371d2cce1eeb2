"""Populations of one area averaged within animals, animals apart: against separate analyses."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from mmclarity.errors import DataError
from mmclarity.rsa import NeuralArea, RSASettings, align, analyse, average_populations, load_neural
from tests.real_data import DATA, needs

STIMULI = 9
IDS = [f's{i}' for i in range(STIMULI)]
V1 = DATA / 'rsa_v1'


def population(name, seed, ids=IDS, units=7):
    responses = np.random.default_rng(seed).normal(size=(len(ids), units))
    return NeuralArea(name, pdist(responses, 'correlation')[None], list(ids), f'{name}.npz')


def test_one_population_an_animal_is_the_mean_of_their_own_scores():
    populations = [population(name, seed) for seed, name in enumerate('abc')]
    layers = {f'conv{i}': population('', 10 + i).rdms for i in range(3)}
    joint = average_populations('V1', [[one] for one in populations])
    apart = analyse(layers, populations).scores
    found = analyse(layers, [joint])
    np.testing.assert_allclose(found.scores[:, 0], apart.mean(1), atol=1e-12)
    assert found.ceilings['V1'].subjects == 3 and joint.ids == IDS


def test_an_animal_counts_once_however_many_its_populations():
    a, b, c, d = (population(name, seed) for seed, name in enumerate('abcd'))
    joint = average_populations('V1', [[a], [b, c, d]])
    many = (b.rdms[0] + c.rdms[0] + d.rdms[0]) / 3
    np.testing.assert_allclose(joint.rdms, [a.rdms[0], many], rtol=1e-14)
    layer = population('', 10).rdms[0]
    expected = np.mean([spearmanr(layer, row).statistic for row in (a.rdms[0], many)])
    scores = analyse(dict(conv=layer), [joint]).scores
    assert scores[0, 0] == pytest.approx(expected, abs=1e-12)
    assert joint.source == 'mean of a + b,c,d'


def test_populations_are_drawn_with_the_same_stimuli():
    """The interval of the mean of equal populations is that of each."""
    one = population('a', 0)
    twin = NeuralArea('b', one.rdms.copy(), IDS, 'b.npz')
    layers, settings = dict(conv=population('', 10).rdms), RSASettings(bootstraps=50)
    joint = average_populations('V1', [[one], [twin]])
    found = analyse(layers, [one, joint], settings).intervals
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-12)


def test_a_pair_that_one_population_lacks_is_of_the_others():
    a, b = population('a', 0), population('b', 1)
    a.rdms[0, [2, 5]], b.rdms[0, 5] = np.nan, np.nan
    row = average_populations('V1', [[a, b]]).rdms[0]
    assert row[2] == b.rdms[0, 2] and np.isnan(row[5]) and np.isfinite(np.delete(row, 5)).all()


def test_what_cannot_be_averaged_is_refused():
    a, b = population('a', 0), population('b', 1)
    several = NeuralArea('m', np.concatenate([a.rdms, b.rdms]), IDS, 'm.npz')
    for animals, message in (
        ([], 'at least two'),
        ([[a]], 'V1: there is nothing to average'),
        ([[a, b], []], 'an animal has no population'),
        ([[a], [b, a]], "population 'a' comes twice"),
        ([[a], [several]], "m.npz: 'm' holds 2 RDMs.*file or key of its own"),
    ):
        with pytest.raises(DataError, match=message):
            average_populations('V1', animals)


@pytest.mark.parametrize('ids', [IDS[::-1], IDS[:-1], [f't{i}' for i in range(STIMULI)]])
def test_other_stimuli_are_refused(ids):
    with pytest.raises(DataError, match="stimuli of 'b' are not those of 'a'.*combine_results"):
        average_populations('V1', [[population('a', 0)], [population('b', 1, ids)]])


@needs('rsa_v1')
def test_macaque_v1_has_the_published_ceiling():
    """Three animals, two populations of one averaged; as on the page of V1, V4 and IT."""
    first = load_neural('ay2_u003', f'{V1}/ay2_u003.npz:V1')
    ids = sorted(first.ids)
    a, b, c, d = (
        align(load_neural(name, f'{V1}/{name}.npz:V1'), ids)
        for name in ('ay2_u003', 'ay3_u001', 'ay3_u002', 'ay5_u005')
    )
    area = average_populations('V1', [[a], [b, c], [d]])
    movies = [name[:3] for name in ids]
    with pytest.warns(UserWarning, match='unreliable'):
        ceiling = analyse(dict(a=a.rdms), [area], groups=movies).ceilings['V1']
    assert (ceiling.lower, ceiling.upper) == pytest.approx((0.1217, 0.6188), abs=5e-5)
