"""Files as laboratories have them, each made here by the format's own library."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import savemat
from scipy.spatial.distance import pdist

from mmclarity.errors import DataError, MissingKeyError
from mmclarity.rsa import align, compute_rdm, load_neural
from tests.rsa.data.matlab_files import Matlab73
from tests.rsa.data.six_stimuli import IDS, RESPONSES, ROWS, SQUARES, N, P

RNG = np.random.default_rng(3)


def structs(rdms):
    """RDMs(...) of the RSA toolbox, of any shape."""
    array = np.empty(rdms.shape[: rdms.ndim - 2], [(k, object) for k in ('RDM', 'name', 'color')])
    for place in np.ndindex(array.shape):
        array[place] = (rdms[place], f'subject {place}', np.array([0.0, 0.5, 1.0]))
    return array


def cells(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.mark.parametrize('subjects', [1, 3])
@pytest.mark.parametrize('version', ['5', '7.3'])
@pytest.mark.parametrize('condensed', [False, True])
def test_struct_arrays_of_the_rsa_toolbox(tmp_path, subjects, version, condensed):
    path = tmp_path / 'rdms.mat'
    one = ROWS[:subjects, None] if condensed else SQUARES[:subjects]
    if version == '5':
        savemat(path, dict(RDMs=structs(one)[None]))
    else:
        with Matlab73(path) as file:
            if subjects == 1:  # a scalar struct holds its fields themselves
                file.put('RDMs', dict(RDM=one[0], name='s1', color=np.zeros((1, 3))))
            else:
                names = np.array([['s1', 's2', 's3']], object)
                file.put('RDMs', dict(RDM=cells(list(one))[None], name=names))
    area = load_neural('IT', path, order='rows')
    np.testing.assert_allclose(area.rdms, ROWS[:subjects])


@pytest.mark.parametrize('version', ['5', '7.3'])
def test_subjects_by_sessions_are_averaged(tmp_path, version):
    path = tmp_path / 'rdms.mat'
    off = 0.1 * (SQUARES > 0)
    nested = np.stack([SQUARES - off, SQUARES + off], 1)
    if version == '5':
        savemat(path, dict(RDMs=structs(nested)))
    else:
        with Matlab73(path) as file:
            field = np.empty((3, 2), object)
            for place in np.ndindex(3, 2):
                field[place] = nested[place]
            file.put('RDMs', dict(RDM=field))
    np.testing.assert_allclose(load_neural('IT', path).rdms, ROWS)


@pytest.mark.parametrize('version', ['5', '7.3'])
@pytest.mark.parametrize('axes', [(2, 3, 0, 1), (0, 1, 2, 3)])
def test_arrays_of_subjects_and_sessions(tmp_path, version, axes):
    """MATLAB keeps stimuli first, RDM(:, :, subject, session), Python last."""
    off = 0.1 * (SQUARES > 0)
    array = np.stack([SQUARES - off, SQUARES + off], 1).transpose(axes)
    path = tmp_path / 'rdms.mat'
    if version == '5':
        savemat(path, dict(RDM=array))
    else:
        with Matlab73(path) as file:
            file.put('RDM', array)
    np.testing.assert_allclose(load_neural('IT', path).rdms, ROWS)


@pytest.mark.parametrize('version', ['5', '7.3'])
def test_cell_arrays(tmp_path, version):
    """RDMs, and responses of as many units as each subject has."""
    path = tmp_path / 'cells.mat'
    units = [RNG.random((N, u)) for u in (7, 11, 20)]
    ids = cells([f'im{i}' for i in range(N)])
    content = dict(rdms=cells(list(SQUARES)), units=cells(units), ids=ids)
    if version == '5':
        savemat(path, content)
    else:
        with Matlab73(path) as file:
            for name, value in content.items():
                file.put(name, value[None])
    area = load_neural('IT', f'{path}:rdms')
    np.testing.assert_allclose(area.rdms, ROWS)
    assert area.ids == [f'im{i}' for i in range(N)]
    expected = [pdist(one, 'correlation') for one in units]
    np.testing.assert_allclose(load_neural('IT', f'{path}:units').rdms, expected)


@pytest.mark.parametrize('version', ['5', '7.3'])
def test_cells_of_sessions_in_cells_of_subjects(tmp_path, version):
    path = tmp_path / 'nested.mat'
    off = 0.1 * (SQUARES > 0)
    nested = cells([cells([s - o, s + o, s]) for s, o in zip(SQUARES, off)])
    if version == '5':
        savemat(path, dict(rdms=nested))
    else:
        with Matlab73(path) as file:
            file.put('rdms', np.array([c[None] for c in nested] + [None], object)[:3][None])
    np.testing.assert_allclose(load_neural('IT', path).rdms, ROWS)


def test_a_struct_by_field(tmp_path):
    path = tmp_path / 'brain.mat'
    savemat(path, dict(V4=dict(rdm=SQUARES[0], ids=np.array(IDS, object)), n=6))
    area = load_neural('V4', f'{path}:V4/rdm')
    np.testing.assert_allclose(area.rdms[0], ROWS[0])
    assert area.ids == IDS and load_neural('V4', path).ids == IDS


@pytest.mark.parametrize('end', ['csv', 'tsv'])
@pytest.mark.parametrize('header', [True, False])
@pytest.mark.parametrize('index', [True, False])
@pytest.mark.parametrize('names', [IDS, list('123456')], ids=['texts', 'numbers'])
def test_square_tables(tmp_path, end, header, index, names):
    path = tmp_path / f'rdm.{end}'
    frame = pd.DataFrame(SQUARES[0], names, names)
    frame.to_csv(path, sep=',' if end == 'csv' else '\t', header=header, index=index)
    area = load_neural('IT', path)
    np.testing.assert_allclose(area.rdms[0], ROWS[0])
    assert area.ids == (names if header or index else None)


def test_tables_of_responses_and_condensed_rdms(tmp_path):
    pd.DataFrame(RESPONSES, IDS).to_csv(tmp_path / 'units.csv')
    area = load_neural('V1', tmp_path / 'units.csv')
    np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
    assert area.ids == IDS
    for shape in ((P, 1), (1, P)):
        np.savetxt(tmp_path / 'vector.csv', ROWS[0].reshape(shape), delimiter=',')
        with pytest.warns(UserWarning, match='--condensed-order columns'):
            got = load_neural('V1', tmp_path / 'vector.csv')
        np.testing.assert_allclose(got.rdms[0], ROWS[0])
    pd.DataFrame(RESPONSES, IDS).to_csv(tmp_path / 'comma.csv', sep=';', decimal=',')
    area = load_neural('V1', tmp_path / 'comma.csv')
    np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
    assert area.ids == IDS
    (tmp_path / 'german.csv').write_text('x;y;z\n1;2;4\n2;4;1\n3;9;2\n1;1;5\n')
    assert load_neural('V1', tmp_path / 'german.csv').rdms.shape == (1, 6)


@pytest.mark.parametrize('units', [None, [f'n{i}' for i in range(RESPONSES.shape[1])]])
@pytest.mark.parametrize('index', [True, False])
def test_counted_rows_and_columns_are_no_responses(tmp_path, units, index):
    """What pandas writes by itself: 0, 1, 2, ... above the columns and beside the rows."""
    path = tmp_path / 'units.csv'
    pd.DataFrame(RESPONSES, columns=units).to_csv(path, index=index)
    area = load_neural('V1', path)
    np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
    assert area.ids is None
    # read and written once more, and as R writes it, from 1 on
    pd.read_csv(path).to_csv(path, index=False)
    np.testing.assert_array_equal(load_neural('V1', path).rdms, area.rdms)
    pd.DataFrame(RESPONSES, range(1, N + 1), units).to_csv(path)
    np.testing.assert_array_equal(load_neural('V1', path).rdms, area.rdms)


def test_a_named_column_of_ids(tmp_path):
    units = [f'n{i}' for i in range(RESPONSES.shape[1])]
    numbers = list('210345')
    for name, ids in (('image', numbers), ('Picture', numbers), ('', list('987654')), ('', IDS)):
        frame = pd.DataFrame(RESPONSES, pd.Index(ids, name=name), units)
        frame.to_csv(tmp_path / 'units.csv')
        area = load_neural('V1', tmp_path / 'units.csv')
        assert area.ids == ids
        np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
    frame = pd.DataFrame(RESPONSES, numbers).rename_axis('Bild')  # units are only counted
    frame.to_csv(tmp_path / 'units.csv', sep=';', decimal=',')
    assert load_neural('V1', tmp_path / 'units.csv').ids == numbers
    frame = pd.DataFrame(RESPONSES, columns=units).rename_axis('rate')  # of a unit
    frame.index = range(10, 10 + N)
    frame.rename_axis('rate').to_csv(tmp_path / 'units.csv')
    with_it = np.column_stack([np.arange(10, 10 + N), RESPONSES])
    area = load_neural('V1', tmp_path / 'units.csv')
    np.testing.assert_allclose(area.rdms[0], pdist(with_it, 'correlation'))


@pytest.mark.parametrize('name', ['x.npz', 'x.npy', 'x.xlsx'])
def test_files_of_another_kind(tmp_path, name):
    (tmp_path / name).write_text('hello')
    with pytest.raises(DataError, match=f'{name}.*(it does not begin as such|as .csv)') as error:
        load_neural('V1', tmp_path / name)
    assert 'pickle' not in str(error.value)


def test_one_triangle_is_mirrored(tmp_path):
    for half in (np.triu, np.tril):
        values = np.where(half(np.ones((N, N)), 0) > 0, SQUARES[0], np.nan)
        pd.DataFrame(values, IDS, IDS).to_csv(tmp_path / 'half.csv')
        np.testing.assert_allclose(load_neural('IT', tmp_path / 'half.csv').rdms[0], ROWS[0])


@pytest.mark.parametrize(
    'text,match',
    [
        ('', 'x.csv is empty'),
        ('1,2,3\n1,2\n', 'x.csv, line 2: 2 fields where line 1 has 3'),
        ('a,b,c\n1,2,3\n1,x,3\n2,2,4\n', "x.csv, line 3, field 2: 'x' is no number"),
    ],
)
def test_tables_at_fault(tmp_path, text, match):
    (tmp_path / 'x.csv').write_text(text)
    with pytest.raises(DataError, match=match):
        load_neural('V1', tmp_path / 'x.csv')


def test_pandas_frames():
    area = load_neural('IT', pd.DataFrame(SQUARES[0], IDS, IDS))
    np.testing.assert_allclose(area.rdms[0], ROWS[0])
    assert area.ids == IDS
    assert load_neural('IT', pd.DataFrame(RESPONSES)).ids is None
    with pytest.raises(DataError, match='another order'):
        load_neural('IT', pd.DataFrame(SQUARES[0], IDS, IDS[::-1]))


def test_frames_with_a_column_of_text_and_missing_numbers():
    frame = pd.DataFrame(RESPONSES, IDS)
    with pytest.raises(DataError, match="the column 'area' holds no numbers .*set_index"):
        load_neural('IT', frame.assign(area='IT'))
    gaps = frame.astype('Float64')
    gaps.loc[IDS[2]] = pd.NA
    with pytest.warns(UserWarning, match='1 of 6 stimuli'):
        area = load_neural('IT', gaps)
    assert np.isnan(area.rdms).sum() == N - 1


@pytest.mark.parametrize('kind', ['grad', 'bfloat16', 'lists', 'subjects'])
def test_tensors_and_lists(kind):
    given = torch.from_numpy(RESPONSES)
    given = dict(
        grad=given.clone().requires_grad_(),
        bfloat16=given.bfloat16(),
        lists=RESPONSES.tolist(),
        subjects=[RESPONSES, RESPONSES[:, :5]],
    )[kind]
    got = load_neural('IT', given).rdms
    seen = given.double().detach().numpy() if isinstance(given, torch.Tensor) else RESPONSES
    np.testing.assert_allclose(got[0], pdist(seen, 'correlation'))
    assert len(got) == (2 if kind == 'subjects' else 1)
    cube = [RESPONSES.tolist(), RESPONSES[::-1].tolist()]
    assert load_neural('IT', cube, kind='responses').rdms.shape == (2, P)


def test_files_of_other_programs_are_refused_with_the_way_out(tmp_path):
    (tmp_path / 'x.nwb').write_bytes(b'')
    with pytest.raises(DataError, match=r'x.nwb: recordings are read from .npz.* numpy.savez\('):
        load_neural('IT', tmp_path / 'x.nwb')


def test_what_holds_no_numbers_is_named(tmp_path):
    np.save(tmp_path / 'x.npy', dict(V4=RESPONSES))
    with pytest.raises(DataError, match=r'x.npy holds Python objects .* numpy.savez\('):
        load_neural('V4', tmp_path / 'x.npy')
    with h5py.File(tmp_path / 'x.h5', 'w') as file:
        file['units'] = np.zeros(6, [('rate', float), ('stimulus', int)])
    with pytest.raises(DataError, match=r'units holds records \(rate, stimulus\); save plain'):
        load_neural('V4', f'{tmp_path}/x.h5:units')
    with pytest.raises(MissingKeyError, match='no array of numbers .units: records'):
        load_neural('V4', tmp_path / 'x.h5')


def test_an_array_of_objects_is_named_as_such(tmp_path):
    path = tmp_path / 'it.npz'
    objects = np.array([{'a': 1}, None], dtype=object)
    np.savez(path, IT=objects, plain=np.eye(3))
    with pytest.raises(DataError, match=r'it\.npz:IT cannot be read: .*Save plain numbers'):
        load_neural('IT', f'{path}:IT')
    with pytest.raises(MissingKeyError, match="no key 'V4'"):
        load_neural('V4', f'{path}:V4')
    np.savez(path, IT=objects)
    with pytest.raises(DataError, match='IT cannot be read'):
        load_neural('IT', str(path))


@pytest.mark.parametrize('kind', ['npz', 'units first', 'csv', 'frame'])
def test_single_trials_whose_names_come_again(tmp_path, kind):
    """As they were recorded: in a random order, some more often than others."""
    order = RNG.permutation([*range(N)] * 3 + [0, 4])
    trials, ids = RNG.normal(size=(len(order), 9)) + RESPONSES[order], [IDS[i] for i in order]
    means = np.stack([trials[order == i].mean(0) for i in range(N)])
    given = pd.DataFrame(trials, ids)
    if kind == 'csv':
        given.to_csv(tmp_path / 'trials.csv')
    elif kind != 'frame':
        turned = trials.T if kind == 'units first' else trials
        np.savez(tmp_path / 'trials.npz', spikes=turned, ids=ids)
    source = given if kind == 'frame' else tmp_path / f'trials.{"csv" if kind == "csv" else "npz"}'
    with pytest.warns(UserWarning, match="20 observations of 6 conditions, told apart by 'ids'"):
        area = load_neural('V4', source)
    assert set(area.ids) == set(IDS)
    np.testing.assert_allclose(align(area, IDS).rdms[0], pdist(means, 'correlation'))
    if kind == 'units first':
        again = load_neural('V4', source, stimuli='last')
        np.testing.assert_array_equal(again.rdms, area.rdms)


def test_as_many_trials_as_units_may_be_an_rdm():
    ids, trials = IDS * 2, RNG.normal(size=(12, 12))
    with pytest.raises(DataError, match="'c' comes twice.*averaged .--neural-kind responses"):
        load_neural('V4', trials, ids=ids)
    got = load_neural('V4', trials, ids=ids, kind='responses')
    np.testing.assert_allclose(got.rdms[0], pdist((trials[:6] + trials[6:]) / 2, 'correlation'))
    cube = np.stack([trials[:6], trials[6:]])
    with pytest.warns(UserWarning, match='2 repetitions'):
        got = load_neural('V4', trials, ids=ids, kind='responses', metric='crossnobis')
    with pytest.warns(UserWarning, match='2 repetitions'):
        np.testing.assert_allclose(got.rdms[0], compute_rdm(cube, 'crossnobis'))
