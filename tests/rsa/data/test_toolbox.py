"""Recordings from rsatoolbox's files and objects."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from mmclarity.errors import DataError
from mmclarity.rsa import compute_rdm, load_neural
from mmclarity.rsa.data.toolbox import save_hdf5, to_rsatoolbox
from tests.rsa.data.six_stimuli import IDS, RESPONSES, ROWS, SQUARES, N

RNG = np.random.default_rng(3)


class TestToolbox:
    rsatoolbox = pytest.importorskip('rsatoolbox', reason='rsatoolbox is not installed')

    def rdms(self):
        return self.rsatoolbox.rdm.RDMs(
            ROWS,
            'correlation',
            pattern_descriptors=dict(stim=IDS, run=[1] * N),
            rdm_descriptors=dict(subject=['x', 'y', 'z']),
        )

    def test_files_and_objects_come_in(self, tmp_path):
        self.rdms().save(str(tmp_path / 'r.h5'), file_type='hdf5')
        for spec in (tmp_path / 'r.h5', self.rdms()):
            area = load_neural('IT', spec)
            np.testing.assert_allclose(area.rdms, ROWS)
            assert area.ids == IDS

    def test_data_sets_come_in(self, tmp_path):
        data = self.rsatoolbox.data.Dataset(RESPONSES, obs_descriptors=dict(conds=IDS))
        data.save(str(tmp_path / 'd.h5'), file_type='hdf5')
        for spec in (tmp_path / 'd.h5', data):
            area = load_neural('IT', spec)
            np.testing.assert_allclose(area.rdms[0], pdist(RESPONSES, 'correlation'))
            assert area.ids == IDS

    def both(self, item, path):
        item.save(str(path), file_type='hdf5', overwrite=True)
        return path, item

    def test_observations_of_one_condition_are_repeats(self, tmp_path):
        """Runs of a Dataset, as calc_rdm takes them together by a descriptor."""
        data, rdm = self.rsatoolbox.data, self.rsatoolbox.rdm
        runs = RESPONSES + RNG.normal(0, 0.3, (3, N, 9))
        item = data.Dataset(
            runs.reshape(3 * N, 9)[:-1],
            obs_descriptors=dict(conds=(IDS * 3)[:-1], run=np.repeat([0, 1, 2], N)[:-1]),
        )
        expected = rdm.calc_rdm(item, 'correlation', descriptor='conds')
        order = [list(expected.pattern_descriptors['conds']).index(name) for name in IDS]
        for spec in self.both(item, tmp_path / 'd.h5'):
            with pytest.warns(UserWarning, match="17 observations of 6 conditions, .* by 'conds'"):
                area = load_neural('IT', spec)
            assert area.ids == IDS
            square = expected.get_matrices()[0][np.ix_(order, order)]
            np.testing.assert_allclose(squareform(area.rdms[0]), square)
        item = data.Dataset(runs.reshape(3 * N, 9), obs_descriptors=dict(conds=IDS * 3))
        with pytest.warns(UserWarning, match='18 observations'):
            area = load_neural('IT', item, metric='crossnobis')
        np.testing.assert_allclose(area.rdms[0], compute_rdm(runs, 'crossnobis'))

    def test_data_sets_over_time_are_averaged_over_it(self, tmp_path):
        times = RNG.normal(size=(N, 9, 4))
        item = self.rsatoolbox.data.TemporalDataset(
            times, obs_descriptors=dict(stim=IDS), time_descriptors=dict(time=np.arange(4))
        )
        for spec in self.both(item, tmp_path / 't.h5'):
            area = load_neural('IT', spec)
            np.testing.assert_allclose(area.rdms[0], pdist(times.mean(2), 'correlation'))
            assert area.ids == IDS

    def test_rdms_of_one_subject_are_not_several_subjects(self, tmp_path):
        """A movie of RDMs over time, sessions of subjects; areas must be told apart."""

        def rdms(**descriptors):
            return self.rsatoolbox.rdm.RDMs(
                ROWS[[0, 1, 2, 0]],
                pattern_descriptors=dict(stim=IDS),
                rdm_descriptors=descriptors,
            )

        movie = rdms(time=[0, 1, 2, 3])
        for spec in self.both(movie, tmp_path / 'm.h5'):
            with pytest.warns(UserWarning, match='4 RDMs of 1 subject.* over time'):
                area = load_neural('IT', spec)
            np.testing.assert_allclose(area.rdms, ROWS[[0, 1, 2, 0]].mean(0, keepdims=True))
        sessions = rdms(subject=['x', 'y', 'x', 'y'], session=[1, 1, 2, 2])
        with pytest.warns(UserWarning, match='4 RDMs of 2 subject.* over session'):
            area = load_neural('IT', sessions)
        np.testing.assert_allclose(area.rdms, [ROWS[[0, 2]].mean(0), ROWS[[1, 0]].mean(0)])
        for spec in self.both(rdms(subject=[1, 1, 2, 2], roi=['V1', 'IT'] * 2), tmp_path / 'a.h5'):
            with pytest.raises(DataError, match="one subject that differ in 'roi' .V1, IT"):
                load_neural('IT', spec)
        assert len(load_neural('IT', rdms(subject=list('wxyz'), roi=['IT'] * 4)).rdms) == 4

    def test_out_and_in_again(self, tmp_path):
        out = to_rsatoolbox(SQUARES, IDS, 'correlation', 'xyz')
        np.testing.assert_array_equal(out.dissimilarities, ROWS)
        assert load_neural('IT', out).ids == IDS
        save_hdf5(tmp_path / 'o.h5', ROWS, IDS, 'correlation', dict(name=['x', 'y', 'z']))
        back = self.rsatoolbox.rdm.load_rdm(str(tmp_path / 'o.h5'))
        np.testing.assert_array_equal(back.dissimilarities, ROWS)
        assert list(back.pattern_descriptors['ids']) == IDS
        assert back.dissimilarity_measure == 'correlation'
        assert list(load_neural('IT', tmp_path / 'o.h5').ids) == IDS

    def test_pickles_are_refused_with_the_remedy(self, tmp_path):
        self.rdms().save(str(tmp_path / 'r.pkl'), file_type='pkl')
        with pytest.raises(DataError, match="r.pkl holds pickled.*file_type='hdf5'"):
            load_neural('IT', tmp_path / 'r.pkl')

    def test_a_descriptor_too_few(self, tmp_path):
        with pytest.raises(DataError, match='2 name for 3'):
            save_hdf5(tmp_path / 'o.h5', ROWS, descriptors=dict(name=['a', 'b']))
        assert not list(tmp_path.iterdir())
