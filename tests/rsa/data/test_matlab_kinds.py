"""What MATLAB has beside matrices: strings, tables, structs, sparse and character matrices."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix
from scipy.spatial.distance import pdist

from mmclarity.errors import DataError, MissingKeyError
from mmclarity.rsa import load_neural
from tests.rsa.data.matlab_files import Matlab73, with_objects
from tests.rsa.data.six_stimuli import IDS, RESPONSES, N

RNG = np.random.default_rng(3)


def saved(path, version, responses=None, **classes):
    """Responses, and variables of MATLAB's classes."""
    plain = {} if responses is None else dict(responses=responses)
    if version == '5':
        with_objects(path, plain, classes)
        return
    with Matlab73(path) as file:
        for name, value in plain.items():
            file.put(name, value)
        for name, kind in classes.items():
            handle = np.array([[0xDD000000, 2, 1, 1, 1, 1]], np.uint32)
            file.put(name, handle)
            file.file[name].attrs['MATLAB_class'] = np.bytes_(kind)
            file.file[name].attrs['MATLAB_object_decode'] = np.int32(3)


@pytest.mark.parametrize('version', ['5', '7.3'])
def test_names_as_strings_are_not_taken_for_numbers(tmp_path, version):
    """They have six numbers for a handle: as many as there are stimuli here."""
    path = tmp_path / 'v4.mat'
    saved(path, version, RESPONSES, ids='string', more='table')
    with pytest.warns(UserWarning, match=r'v4\.mat:ids holds a string of .* save cellstr\(ids\)'):
        area = load_neural('V4', path)
    assert area.ids is None
    np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))


@pytest.mark.parametrize('version', ['5', '7.3'])
@pytest.mark.parametrize(
    'kind,remedy',
    [
        ('table', r'a table .* save its columns, table2array\(rates\)'),
        ('timeseries', 'a timeseries .* save plain arrays'),
    ],
)
def test_objects_are_refused_by_name(tmp_path, version, kind, remedy):
    path = tmp_path / 'v4.mat'
    saved(path, version, rates=kind)
    with pytest.raises(DataError, match=rf'v4\.mat:rates holds {remedy}'):
        load_neural('V4', f'{path}:rates')
    with pytest.raises(MissingKeyError, match=f'no array of numbers .rates: {remedy}'):
        load_neural('V4', path)


def test_structs_of_neurons_are_named(tmp_path):
    path = tmp_path / 'v4.mat'
    neurons = np.empty(20, [('rate', object), ('electrode', object)])
    for place in range(20):
        neurons[place] = RESPONSES[:, 0], f'e{place}'
    savemat(path, dict(neurons=neurons, ids=np.array(IDS, object)))
    with pytest.raises(DataError, match=r'neurons holds 20 structs \(rate, electrode\); save one'):
        load_neural('V4', f'{path}:neurons')
    with pytest.raises(MissingKeyError, match='no array of numbers .*neurons: 20 structs'):
        load_neural('V4', path)


@pytest.mark.parametrize('version', ['5', '7.3'])
def test_names_as_rows_of_characters(tmp_path, version):
    """What char('im1', 'image2', ...) makes: padded with blanks."""
    names = ['im1', 'image2', 'x', 'im4', 'im5', 'im6']
    path, padded = tmp_path / 'v4.mat', [name.ljust(6) for name in names]
    if version == '5':
        savemat(path, dict(responses=RESPONSES, ids=np.array(padded)))
    else:
        with Matlab73(path) as file:
            file.put('responses', RESPONSES)
            file.put('ids', np.array([[ord(letter) for letter in name] for name in padded]))
            file.file['ids'].attrs['MATLAB_class'] = np.bytes_('char')
    assert load_neural('V4', path).ids == names


@pytest.mark.parametrize('version', ['5', '7.3'])
def test_sparse_matrices(tmp_path, version):
    path = tmp_path / 'v4.mat'
    counts = RNG.poisson(0.7, (N, 30)).astype(float)
    sparse = csc_matrix(counts)
    if version == '5':
        savemat(path, dict(counts=sparse))
    else:
        with Matlab73(path) as file:
            for name, matrix in (('counts', sparse), ('silent', csc_matrix((N, 30)))):
                group = file.file.create_group(name)
                group.attrs['MATLAB_class'] = np.bytes_('double')
                group.attrs['MATLAB_sparse'] = np.uint64(N)
                group['jc'] = matrix.indptr.astype(np.uint64)
                if matrix.nnz:
                    group['ir'], group['data'] = matrix.indices.astype(np.uint64), matrix.data
    area = load_neural('V4', f'{path}:counts')
    np.testing.assert_allclose(area.rdms[0], pdist(counts, 'correlation'))
    if version == '7.3':
        with pytest.raises(DataError, match='stimulus 0 is constant .6 such'):
            load_neural('V4', f'{path}:silent')
        with h5py.File(path) as file:  # as the format has it: no values where all are zero
            assert 'data' not in file['silent']
