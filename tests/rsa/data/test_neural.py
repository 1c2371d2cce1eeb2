import math
from unicodedata import normalize

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from scipy.spatial.distance import pdist, squareform

from mmclarity.errors import DataError
from mmclarity.rsa import NeuralArea, align, load_neural
from mmclarity.rsa.data.neural import common_ids, split_spec

RNG = np.random.default_rng(0)
ROWS = RNG.random((3, 15))
SQUARES = np.stack([squareform(row) for row in ROWS])
IDS = ['c', 'a', 'f', 'b', 'e', 'd']


@pytest.mark.parametrize(
    'values,expected',
    [
        (ROWS[0], ROWS[:1]),
        (SQUARES[0], ROWS[:1]),
        (SQUARES, ROWS),
        (np.stack([SQUARES - 0.1 * (SQUARES > 0), SQUARES + 0.1 * (SQUARES > 0)], 1), ROWS),
    ],
    ids=['condensed', 'square', 'subjects', 'sessions'],
)
@pytest.mark.parametrize('suffix', ['npz', 'npy', 'mat', 'h5'])
def test_rdms_from_every_kind_of_file(tmp_path, suffix, values, expected):
    path = tmp_path / f'it.{suffix}'
    if suffix == 'npy':
        np.save(path, values)
    elif suffix == 'npz':
        np.savez(path, rdm=values, ids=IDS)
    elif suffix == 'mat':
        savemat(path, dict(rdm=values, ids=np.array(IDS, object)))
    else:
        with h5py.File(path, 'w') as file:
            file['rdm'], file['ids'] = values, IDS
    area = load_neural('IT', path)
    np.testing.assert_allclose(area.rdms, expected, atol=1e-12)
    assert area.ids == (None if suffix == 'npy' else IDS) and area.name == 'IT'
    if suffix != 'npy':
        assert area.source == f'{path}:rdm'
        np.testing.assert_allclose(load_neural('IT', f'{path}:rdm').rdms, expected, atol=1e-12)


def test_matlab_7_3_has_its_axes_reversed(tmp_path):
    path = tmp_path / 'v4.mat'
    responses = RNG.random((6, 9))
    with h5py.File(path, 'w', userblock_size=512) as file:
        file['responses'] = responses.T
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(116) + bytes(8) + b'\x00\x02IM')
    np.testing.assert_allclose(load_neural('V4', path).rdms[0], pdist(responses, 'correlation'))


@pytest.mark.parametrize('metric', ['correlation', 'cosine'])
def test_responses_become_rdms(tmp_path, metric):
    responses = RNG.random((2, 6, 40))
    np.save(tmp_path / 'v1.npy', responses)
    np.save(tmp_path / 'one.npy', responses[0])
    expected = np.stack([pdist(one, metric) for one in responses])
    got = load_neural('V1', tmp_path / 'v1.npy', metric, count=6)
    np.testing.assert_allclose(got.rdms, expected)
    np.testing.assert_allclose(load_neural('V1', tmp_path / 'one.npy', metric).rdms, expected[:1])


def test_square_responses_are_told_from_rdms(tmp_path):
    responses = RNG.random((6, 6))
    np.save(tmp_path / 'x.npy', responses)
    np.testing.assert_allclose(
        load_neural('V1', tmp_path / 'x.npy').rdms[0], pdist(responses, 'correlation')
    )
    np.save(tmp_path / 'x.npy', responses + responses.T)
    with pytest.raises(ValueError, match='x.npy.*diagonal is not zero.*kind="rdm"'):
        load_neural('V1', tmp_path / 'x.npy')
    with pytest.raises(ValueError, match='x.npy.*diagonal'):
        load_neural('V1', tmp_path / 'x.npy', kind='rdm')
    load_neural('V1', tmp_path / 'x.npy', kind='responses')


@pytest.mark.parametrize('metric', ['correlation', 'euclidean'])
@pytest.mark.parametrize('kind', ['auto', 'rdm'])
@pytest.mark.parametrize('subjects', [1, 3, 6])
def test_subjects_may_come_last(tmp_path, metric, kind, subjects):
    rows = RNG.random((subjects, 15))
    np.save(tmp_path / 'it.npy', np.stack([squareform(row) for row in rows], -1))
    area = load_neural('IT', tmp_path / 'it.npy', metric, kind=kind)
    np.testing.assert_allclose(area.rdms, rows)


def test_as_many_subjects_as_stimuli_first(tmp_path):
    rows = RNG.random((6, 15))
    np.save(tmp_path / 'it.npy', np.stack([squareform(row) for row in rows]))
    np.testing.assert_allclose(load_neural('IT', tmp_path / 'it.npy').rdms, rows)


def test_a_noisy_rdm_is_not_taken_for_responses(tmp_path):
    np.save(tmp_path / 'x.npy', SQUARES[0] + 1e-3 * RNG.random((6, 6)))
    with pytest.raises(ValueError, match='x.npy.*not symmetric and its diagonal is not zero.*Say'):
        load_neural('V1', tmp_path / 'x.npy', 'euclidean')


def test_a_stack_of_condensed_rdms(tmp_path):
    np.savez(tmp_path / 'x.npz', rdms=ROWS, ids=IDS)
    np.testing.assert_array_equal(load_neural('IT', f'{tmp_path}/x.npz:rdms').rdms, ROWS)
    np.testing.assert_array_equal(load_neural('V1', tmp_path / 'x.npz', kind='rdm').rdms, ROWS)


def test_ids_in_a_cell_array_of_matlab_7_3(tmp_path):
    path = tmp_path / 'it.mat'
    with h5py.File(path, 'w', userblock_size=512) as file:
        file['rdm'] = SQUARES[0]
        for name in IDS:
            file[f'#refs#/{name}'] = np.array([[ord(c)] for c in f'im_{name}'], np.uint16)
        file['ids'] = np.array([[file[f'#refs#/{name}'].ref for name in IDS]], h5py.ref_dtype)
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(116) + bytes(8) + b'\x00\x02IM')
    assert load_neural('IT', path).ids == [f'im_{name}' for name in IDS]


def test_numbers_as_ids(tmp_path):
    savemat(tmp_path / 'x.mat', dict(rdm=SQUARES[0], ids=np.arange(1.0, 7.0)))
    assert load_neural('IT', tmp_path / 'x.mat').ids == list('123456')


def test_ids_beside_the_array_in_its_group(tmp_path):
    with h5py.File(tmp_path / 'x.h5', 'w') as file:
        file['V1/rdm'], file['V1/ids'], file['V4/rdm'] = SQUARES, IDS, SQUARES
        file['ids'] = sorted(IDS)
    assert load_neural('V1', f'{tmp_path}/x.h5:V1/rdm').ids == IDS
    assert load_neural('V4', f'{tmp_path}/x.h5:V4/rdm').ids == sorted(IDS)


def test_several_candidates_are_listed(tmp_path):
    np.savez(tmp_path / 'all.npz', V1=SQUARES, V4=SQUARES[:2], n=6)
    with pytest.raises(KeyError, match=r'V1 \(3, 6, 6\), V4 \(2, 6, 6\); write .*all.npz:KEY'):
        load_neural('V1', tmp_path / 'all.npz')
    with pytest.raises(KeyError, match="no key 'IT'; it holds V1, V4, n"):
        load_neural('V1', f'{tmp_path}/all.npz:IT')
    assert len(load_neural('V4', f'{tmp_path}/all.npz:V4').rdms) == 2


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / 'x.npz', rdm=SQUARES, other=np.array([dict()], object))
    assert len(load_neural('V1', tmp_path / 'x.npz').rdms) == 3
    np.save(tmp_path / 'x.npy', np.array([dict()], object))
    with pytest.raises(ValueError, match='x.npy holds Python objects'):
        load_neural('V1', tmp_path / 'x.npy')


@pytest.mark.parametrize(
    'values,match',
    [
        (np.ones((6, 4)), 'x.npy: the response to stimulus 0 is constant'),
        (np.where(np.eye(6, 4) > 0, math.nan, 1), 'x.npy.*NaN'),
        (RNG.random((2, 4)), 'x.npy.*at least 3'),
        (np.array(['a', 'b', 'c']), 'x.npy holds text'),
        (RNG.random(7), 'x.npy.*neither square nor condensed'),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, values, match):
    np.save(tmp_path / 'x.npy', values)
    with pytest.raises(ValueError, match=match):
        load_neural('V1', tmp_path / 'x.npy')


def test_files_at_fault(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.npz'):
        load_neural('V1', tmp_path / 'gone.npz:V1')
    (tmp_path / 'x.txt').write_text('1')
    with pytest.raises(ValueError, match='recordings are read from'):
        load_neural('V1', tmp_path / 'x.txt')
    for name in ('x.npz', 'x.h5', 'x.mat', 'x.npy'):
        (tmp_path / name).write_bytes(b'broken')
        with pytest.raises(ValueError, match=f'{name} cannot be read'):
            load_neural('V1', tmp_path / name)
    with pytest.raises(KeyError, match='one array and has no key'):
        np.save(tmp_path / 'y.npy', ROWS[0])
        load_neural('V1', f'{tmp_path}/y.npy:V1')


def test_a_colon_in_the_name_of_a_file(tmp_path):
    np.save(tmp_path / 'a:b.npy', ROWS[0])
    assert split_spec(tmp_path / 'a:b.npy') == (tmp_path / 'a:b.npy', None)
    assert split_spec('a.npz:rdm/left') == (split_spec('a.npz')[0], 'rdm/left')


def area(ids=None):
    return NeuralArea('IT', ROWS, ids, 'it.npz:rdm')


def test_align_reorders_every_subject():
    got = align(area(IDS), sorted(IDS))
    order = [IDS.index(i) for i in sorted(IDS)]
    assert got.ids == sorted(IDS)
    for row, square in zip(got.rdms, SQUARES):
        np.testing.assert_array_equal(squareform(row), square[order][:, order])


def test_align_takes_a_subset():
    got = align(area(IDS), ['b', 'c', 'd'])
    order = [IDS.index(i) for i in 'bcd']
    np.testing.assert_array_equal(squareform(got.rdms[1]), SQUARES[1][order][:, order])


def test_names_of_files_are_matched_without_folder_and_ending():
    want = align(area(IDS), sorted(IDS))
    for names in ([f'{i}.png' for i in IDS], [f'set/{i}.JPG' for i in IDS]):
        got = align(area(names), sorted(IDS))
        assert got.ids == want.ids
        np.testing.assert_array_equal(got.rdms, want.rdms)
        assert common_ids(IDS[:4], [area(names)]) == IDS[:4]
    # where names as they stand are found, and where two files would be one, nothing is cut off
    names = [f'{i}.png' for i in IDS]
    assert align(area(names), names).ids == names
    with pytest.raises(ValueError, match=r'no id in common.*a/x.png, b/x.png.*ids.*--manifest'):
        align(area(['a/x.png', 'b/x.png', *names[2:]]), ['x', 'y', 'z'])


def test_gaps_in_responses_are_named(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 20))
    values[2, 5] = values[4, 5] = values[4, 7] = np.nan
    np.save(tmp_path / 'x.npy', values)
    with pytest.raises(DataError, match=r'x.npy: .* unit 5 to stimulus 2 .* 3, in 2 unit'):
        load_neural('V1', tmp_path / 'x.npy')
    values[:, [5, 7]] = np.nan  # which is the remedy
    with pytest.warns(UserWarning, match='2 of 20 units have no response at all'):
        assert np.isfinite(load_neural('V1', values).rdms).all()
    with pytest.raises(DataError, match='0 of 6 stimuli have a response'):
        load_neural('V1', np.full((6, 20), np.nan))
    with pytest.raises(DataError, match='holds text, not'):
        load_neural('V1', np.array([['a', 'b']] * 6))


def test_align_refuses_what_it_cannot_match():
    with pytest.raises(ValueError, match=r'it.npz:rdm.*lacks 2 of 3 stimuli \(x, y\); it has c, f'):
        align(area(IDS), ['a', 'x', 'y'])
    for known in (IDS, None):
        with pytest.raises(ValueError, match="stimulus_ids has 'a' several times"):
            align(area(known), ['a', 'b', 'a', 'c', 'd', 'e'], assume_order=True)
    with pytest.raises(ValueError, match='does not say which stimulus is which'):
        align(area(), IDS)
    with pytest.raises(ValueError, match='6 stimuli, the images are 5'):
        align(area(), IDS[:5], assume_order=True)
    assert align(area(), IDS, assume_order=True).ids == IDS


def test_ids_that_do_not_fit(tmp_path):
    np.savez(tmp_path / 'x.npz', rdm=SQUARES, ids=IDS[:5])
    with pytest.raises(ValueError, match='5 ids for 6 stimuli'):
        load_neural('V1', tmp_path / 'x.npz')
    with pytest.raises(ValueError, match="'a' comes twice"):
        load_neural('V1', tmp_path / 'x.npz', ids=['a', 'a', 'b', 'c', 'd', 'e'])
    assert load_neural('V1', tmp_path / 'x.npz', ids=IDS).ids == IDS


def test_accents_are_the_same_in_both_forms_of_unicode():
    """Names on a Mac are written in the other form: what was missing looked like what was there."""
    names = ['café', 'über', 'naïve', 'plain']
    composed, apart = ([normalize(form, name) for name in names] for form in ('NFC', 'NFD'))
    assert composed != apart
    row = RNG.random((1, 6))
    for own, pictures in ((apart, composed), (composed, apart)):
        for ending in ('', '.png'):
            area = NeuralArea('V4', row, [f'{name}{ending}' for name in own], 'f.npz')
            found = align(area, pictures)
            assert found.ids == pictures
            np.testing.assert_array_equal(found.rdms, row)
            assert common_ids(pictures, [area]) == pictures


def test_names_that_are_python_objects_are_not_passed_over(tmp_path):
    """As a column of pandas gives them; the order was then asked for, or assumed."""
    names = np.array(['c', 'a', 'b'], object)
    np.savez(tmp_path / 'v4.npz', V4=RNG.random((3, 9)), ids=names)
    with pytest.warns(
        UserWarning, match=r'v4.npz:ids holds Python objects.*np.array\(names, str\)'
    ):
        assert load_neural('V4', tmp_path / 'v4.npz').ids is None
    np.savez(tmp_path / 'v4.npz', V4=RNG.random((3, 9)), ids=np.array(names, str))
    assert load_neural('V4', tmp_path / 'v4.npz').ids == ['c', 'a', 'b']


@pytest.mark.parametrize('first', [0, 1])
def test_names_that_only_count_are_none_where_the_order_is_known(tmp_path, first):
    """What pandas writes beside an RDM: DataFrame(rdm).to_csv(...)."""
    square = pd.DataFrame(squareform(np.arange(15.0)))
    square.index = square.columns = range(first, first + 6)
    square.to_csv(tmp_path / 'rdm.csv')
    area = load_neural('IT', tmp_path / 'rdm.csv')
    with pytest.raises(DataError, match='no id in common.* of the images, say --assume'):
        align(area, IDS)
    found = align(area, IDS, assume_order=True)
    assert found.ids == list(IDS)
    np.testing.assert_array_equal(found.rdms[0], np.arange(15.0))
    # names of pictures are names, in whatever order the pictures are
    own = [first + i for i in (3, 0, 1, 2, 4, 5)]
    found = align(area, [str(name) for name in own], assume_order=True)
    np.testing.assert_array_equal(found.rdms[0], squareform(square.loc[own, own]))
    with pytest.raises(DataError, match='no id in common') as error:
        align(area, IDS[:5], assume_order=True)
    assert '--assume-order' not in str(error.value)


def test_ids_that_name_no_image_give_way_to_the_order_and_are_told(tmp_path):
    """Betas of SPM, beta_0001.nii and on, of pictures with names."""
    area = NeuralArea('V4', ROWS, [f'beta_{i:04}' for i in range(1, 7)], 'glm')
    with pytest.raises(DataError, match='no id in common'):
        align(area, IDS)
    with pytest.warns(UserWarning, match='beta_0001, .*name none of the images; it is taken to be'):
        found = align(area, IDS, assume_order=True)
    np.testing.assert_array_equal(found.rdms, ROWS)
    assert found.ids == list(IDS)
    some = NeuralArea('V4', ROWS, [*IDS[:2], 'x', 'y', 'z', 'w'], 'glm')  # some do
    with pytest.raises(DataError, match='lacks 4 of 6'):
        align(some, IDS, assume_order=True)


@pytest.mark.parametrize('end', ['npz', 'mat', 'h5'])
@pytest.mark.parametrize('key', ['image_names', 'stimNames', 'stimuli', 'filename', 'condition_id'])
def test_names_under_other_keys(tmp_path, end, key):
    """As laboratories have them; what are no names of stimuli is none."""
    path, units = tmp_path / f'it.{end}', RNG.random((6, 9))

    def ids_of(**beside):
        content = dict(it=units, **beside)
        if end == 'npz':
            np.savez(path, **content)
        elif end == 'mat':
            texts = {k: np.array(v, object) for k, v in beside.items() if v and isinstance(v, list)}
            savemat(path, {**content, **texts})
        else:
            with h5py.File(path, 'w') as file:
                for name, value in content.items():
                    file[name] = value
        return load_neural('IT', f'{path}:it').ids

    names = [f'{name}.png' for name in IDS]
    assert ids_of(**{key: names}) == names
    assert ids_of(**{key: names, 'ids': IDS}) == IDS  # the name that is told first
    assert ids_of(**{key: ['face'] * 3 + ['house'] * 3}) is None  # categories
    assert ids_of(**{key: names[:5]}) is None
    assert ids_of(**{key: names, 'img_file': IDS}) is None  # which?
    assert ids_of(region_names=names) is None
