"""Recordings from images of the brain."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mmclarity.errors import DataError
from mmclarity.rsa import load_neural
from tests.rsa.data.six_stimuli import N

RNG = np.random.default_rng(3)


class TestNifti:
    """Betas of 6 stimuli in a grid of 3 x 4 x 2 voxels, some outside of the brain."""

    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed')

    @pytest.fixture
    def betas(self):
        values = RNG.normal(size=(3, 4, 2, N))
        values[0] = 0
        values[1, 0, 0] = np.nan
        return values

    def save(self, values, path):
        self.nibabel.save(self.nibabel.Nifti1Image(values, np.eye(4)), path)

    def expected(self, betas, inside):
        return pdist(betas[inside].T, 'correlation')

    def test_one_image_and_a_mask(self, tmp_path, betas):
        self.save(betas, tmp_path / 'betas.nii.gz')
        inside = np.isfinite(betas).all(-1) & (betas != 0).any(-1)
        got = load_neural('V4', tmp_path / 'betas.nii.gz').rdms[0]
        np.testing.assert_allclose(got, self.expected(betas, inside))
        mask = np.zeros((3, 4, 2))
        mask[2] = 1
        self.save(mask, tmp_path / 'mask.nii')
        got = load_neural('V4', f'{tmp_path}/betas.nii.gz:{tmp_path}/mask.nii').rdms[0]
        np.testing.assert_allclose(got, self.expected(betas, inside & (mask > 0)))
        self.save(mask[:2], tmp_path / 'mask.nii')
        with pytest.raises(DataError, match='mask .* has the grid'):
            load_neural('V4', f'{tmp_path}/betas.nii.gz:{tmp_path}/mask.nii')

    def test_a_folder_as_bids_has_it(self, tmp_path, betas):
        names = [f'im{i}' for i in (1, 2, 10, 11, 20, 100)]
        for name, volume in zip(names, np.moveaxis(betas, -1, 0)):
            self.save(volume, tmp_path / f'sub-01_task-x_desc-{name}_stat-effect_statmap.nii.gz')
        area = load_neural('V4', tmp_path)
        inside = np.isfinite(betas).all(-1) & (betas != 0).any(-1)
        np.testing.assert_allclose(area.rdms[0], self.expected(betas, inside))
        assert area.ids == names

    @pytest.mark.parametrize(
        'place,match',
        [
            (np.diag([-1.0, 1, 1, 1]), 'mask.nii has the grid of .* 4 mm elsewhere; resample'),
            (np.array([[1, 0, 0, 0.7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), '0.7 mm'),
            (np.array([[1, 0, 0, 0.3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), None),
        ],
        ids=['mirrored', 'shifted', 'rounded'],
    )
    def test_a_mask_that_lies_elsewhere(self, tmp_path, betas, place, match):
        """One grid is not one place: left would be right."""
        self.save(betas, tmp_path / 'betas.nii')
        mask = np.zeros((3, 4, 2))
        mask[1:] = 1
        self.nibabel.save(self.nibabel.Nifti1Image(mask, place), tmp_path / 'mask.nii')
        spec = f'{tmp_path}/betas.nii:{tmp_path}/mask.nii'
        if match is None:
            assert load_neural('V4', spec).rdms.shape == (1, 15)
            return
        with pytest.raises(DataError, match=match):
            load_neural('V4', spec)
        folder = tmp_path / 'several'
        folder.mkdir()
        for i, volume in enumerate(np.moveaxis(betas, -1, 0)):
            affine = np.eye(4) if i else place
            self.nibabel.save(self.nibabel.Nifti1Image(volume, affine), folder / f'im{i}.nii')
        with pytest.raises(DataError, match='im1.nii has the grid of .*im0.nii, but by its affine'):
            load_neural('V4', folder)

    def test_stimuli_in_the_fifth_axis(self, tmp_path, betas):
        """As packages have it whose fourth axis is time."""
        self.save(betas[:, :, :, None], tmp_path / 'betas.nii')
        self.save(betas, tmp_path / 'same.nii')
        got = load_neural('V4', tmp_path / 'betas.nii').rdms
        np.testing.assert_array_equal(got, load_neural('V4', tmp_path / 'same.nii').rdms)

    def test_surfaces_have_no_grid(self, tmp_path):
        from nibabel import cifti2

        model = cifti2.BrainModelAxis.from_mask(np.ones(30, bool), name='cortex_left')
        names = cifti2.ScalarAxis([f'im{i}' for i in range(N)])
        image = cifti2.Cifti2Image(RNG.normal(size=(N, 30)).astype('f4'), header=(names, model))
        image.to_filename(tmp_path / 'betas.dscalar.nii')
        with pytest.raises(DataError, match='no grid of voxels .Cifti2Image.; save its numbers'):
            load_neural('V4', tmp_path / 'betas.dscalar.nii')

    def test_at_fault(self, tmp_path, betas):
        self.save(betas[..., 0], tmp_path / 'one.nii')
        with pytest.raises(DataError, match='one.nii has shape .3, 4, 2.; it must hold a volume a'):
            load_neural('V4', tmp_path / 'one.nii')
        (tmp_path / 'x.nii').write_bytes(b'broken')
        with pytest.raises(DataError, match='x.nii cannot be read'):
            load_neural('V4', tmp_path / 'x.nii')


def test_without_nibabel_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'nibabel', None)
    (tmp_path / 'x.nii').write_bytes(b'')
    with pytest.raises(ModuleNotFoundError, match='pip install nibabel'):
        load_neural('V4', tmp_path / 'x.nii')
