"""One file for everything: what is not asked for is not read."""

import h5py
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mmclarity.errors import DataError, MissingKeyError
from mmclarity.rsa import load_neural
from tests.rsa.data.matlab_files import Matlab73
from tests.rsa.data.six_stimuli import IDS, RESPONSES, ROWS

VAST = dict(shape=(1 << 21, 1 << 21), dtype='f8', chunks=(64, 64))  # 32 TB, of which none is stored


def test_hdf5(tmp_path):
    path = tmp_path / 'all.h5'
    with h5py.File(path, 'w') as file:
        file.create_dataset('session1/betas', **VAST)
        file.create_dataset('V1', **VAST)
        file['session1/V4'], file['session1/ids'] = RESPONSES, IDS
        file['rdms/dissimilarities'] = ROWS
        file['rdms/pattern_descriptors/stim'] = np.char.encode(np.array(IDS))
    for key in ('session1/V4', '/session1/V4'):
        area = load_neural('V4', f'{path}:{key}')
        np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
        assert area.ids == IDS
    area = load_neural('IT', f'{path}:rdms/dissimilarities')
    assert area.ids == IDS and area.rdms.shape == ROWS.shape
    with pytest.raises(MissingKeyError, match='no key .V2.; it holds .*session1/betas'):
        load_neural('V2', f'{path}:V2')
    with pytest.raises(DataError, match='all.h5 cannot be read'):  # that one is meant
        load_neural('V1', f'{path}:V1')


def test_matlab(tmp_path):
    path = tmp_path / 'all.mat'
    with Matlab73(path) as file:
        file.file.create_dataset('betas', **VAST)
        file.put('data', dict(V4=RESPONSES, ids=np.array([IDS], object)))
    for key in ('data/V4', 'data.V4'):
        area = load_neural('V4', f'{path}:{key}')
        np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
        assert area.ids == IDS
    with pytest.raises(DataError, match='all.mat cannot be read'):
        load_neural('V4', f'{path}:betas')


def test_archives_of_numpy(tmp_path, monkeypatch):
    path = tmp_path / 'all.npz'
    np.savez(path, V4=RESPONSES, V1=np.zeros((6, 400_000)), ids=IDS)
    taken = []
    whole = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, '__getitem__', lambda file, key: taken.append(key) or whole(file, key)
    )
    area = load_neural('V4', f'{path}:V4')
    assert area.ids == IDS and sorted(set(taken)) == ['V4', 'ids']
    with pytest.raises(MissingKeyError, match='It holds V4 .6, 9., V1 .6, 400000'):
        load_neural('V4', path)
