"""The RDMs type: checked once, never changed, taken wherever arrays are."""

import pickle

import numpy as np
import pytest
import torch
from scipy.spatial.distance import squareform

from mmclarity.rsa import RDMs, as_condensed, compare_rdms
from mmclarity.rsa.rdms.pairs import between_groups

IDS = tuple('abcde')


def stack(rows=2, seed=0, **details):
    return RDMs(np.random.default_rng(seed).random((rows, 10)), **{'ids': IDS, **details})


def test_every_layout_gives_the_same():
    rows = np.random.default_rng(0).random((2, 10))
    squares = np.stack([squareform(row) for row in rows])
    for given in (rows, squares, torch.from_numpy(squares), RDMs(rows)):
        got = RDMs.of(given, names=['x', 'y'])
        np.testing.assert_array_equal(got.condensed, rows)
        np.testing.assert_array_equal(got.square(), squares)
        assert (len(got), got.num_stimuli, got.num_pairs) == (2, 5, 10) and got.names == ('x', 'y')
    one = stack()
    assert RDMs.of(one) is one


def test_it_cannot_be_changed_and_what_it_came_from_can():
    rows = np.random.default_rng(0).random((2, 10))
    got = RDMs(rows)
    with pytest.raises(ValueError, match='read-only'):
        got.condensed[0, 0] = 1
    with pytest.raises(AttributeError):
        got.ids = None
    rows[0, 0] = 5
    assert np.asarray(got) is got.condensed and np.array(got).flags.writeable
    again = pickle.loads(pickle.dumps(stack(names=['x', 'y'])))
    assert again.ids == IDS and again.names == ('x', 'y')


def test_it_is_taken_unchecked_where_arrays_are(monkeypatch):
    from mmclarity.rsa.rdms import rdms

    a, b = stack(), stack(3, 1)
    expected = compare_rdms(a.condensed, b.condensed)
    for name in ('as_array', '_square_rows', '_is_stack'):
        monkeypatch.setattr(rdms, name, lambda *args: pytest.fail('looked at again'))
    assert as_condensed(a) is a.condensed
    np.testing.assert_array_equal(compare_rdms(a, b), expected)


def test_subset_is_that_of_squares():
    one, wanted = stack(groups='xxyyz'), ['d', 'a', 'e']
    order = [IDS.index(item) for item in wanted]
    got = one.subset(wanted)
    np.testing.assert_array_equal(got.square(), one.square()[:, order][:, :, order])
    assert got.ids == ('d', 'a', 'e') and got.groups == ('y', 'x', 'z')


def test_pick_mean_and_concat():
    one = stack(3, names=['V1', 'V4', 'IT'], descriptors=dict(monkey=[1, 2, 3]), metric='cosine')
    got = one.pick(['IT', 'V1'])
    np.testing.assert_array_equal(got.condensed, one.condensed[[2, 0]])
    assert got.names == ('IT', 'V1') and got.descriptors == dict(monkey=(3, 1))
    holes = one.condensed.copy()
    holes[0, 2] = np.nan
    np.testing.assert_allclose(RDMs(holes).mean().condensed[0], np.nanmean(holes, 0))
    turned = stack(2, 5, names=['x', 'y'], metric='cosine').subset('edcba')
    both = RDMs.concat([one, turned])
    np.testing.assert_array_equal(both.condensed[3:], turned.subset(IDS).condensed)
    assert both.names == ('V1', 'V4', 'IT', 'x', 'y') and both.ids == IDS
    assert both.metric == 'cosine' and both.descriptors == {}


def test_groups():
    got = stack(groups=['m', 'm', 'n', 'n', 'o'])
    square = squareform(got.counted)
    for i in range(5):
        for j in range(5):
            assert i == j or square[i, j] == (got.groups[i] != got.groups[j])
    assert stack().counted.all() and not between_groups('aa').any()


@pytest.mark.parametrize(
    'make,match',
    [
        (lambda: RDMs(np.ones((2, 4))), 'not a number of pairs'),
        (lambda: RDMs(np.full(10, np.inf)), 'infinite'),
        (lambda: stack(ids='abcd'), '4 ids for 5 stimuli'),
        (lambda: stack(ids='abcda'), "'a' several times"),
        (lambda: stack(names=['x']), '1 names for 2 RDMs'),
        (lambda: stack(groups='ab'), '2 groups for 5 stimuli'),
        (lambda: stack(descriptors=dict(a=[1])), "'a' has 1 values for 2"),
        (lambda: stack().subset('az'), "no stimulus is called 'z'"),
        (lambda: stack(ids=None).subset('a'), 'have no ids'),
        (lambda: stack().pick(['x']), "no RDM is called 'x'"),
        (lambda: RDMs.concat([]), 'no RDMs to join'),
        (lambda: RDMs.concat([stack(), stack(ids='abcdz')]), 'other stimuli'),
        (lambda: RDMs.concat([stack(), RDMs(np.ones(6))]), 'other stimuli'),
    ],
)
def test_what_does_not_fit(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_words_are_no_numbers():
    with pytest.raises(TypeError, match='real numbers'):
        RDMs(np.array(['a'] * 10))
