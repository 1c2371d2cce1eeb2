"""--searchlight of tools/rsa.py: from betas to a map of every layer."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from tests.tools.rsa_runs import COUNT, run


def test_searchlight_writes_a_map_a_layer(pictures, capsys):
    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (make env)')
    rng, affine = np.random.default_rng(2), np.diag([2.0, 2.0, 2.0, 1.0])
    betas, mask = rng.normal(size=(4, 4, 3, COUNT)), np.ones((4, 4, 3))
    mask[0] = 0
    nibabel.save(nibabel.Nifti1Image(betas, affine), pictures / 'betas.nii')
    nibabel.save(nibabel.Nifti1Image(mask, affine), pictures / 'mask.nii')
    files = '--searchlight', pictures / 'betas.nii', '--mask', pictures / 'mask.nii'
    assert run(pictures, *files, '--radius', 3, '--figures', 'none') == 0, capsys.readouterr().err
    volume = nibabel.load(pictures / 'out/searchlight_0.nii').get_fdata()
    assert volume.shape == (4, 4, 3) and np.isnan(volume[0]).all()
    assert (np.abs(volume[1:]) < 1).all() and len(np.unique(volume[1:])) > 30
    assert run(pictures, '--searchlight', pictures / 'mask.nii') == 2
    assert 'one volume a stimulus' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['gone.nii', 'junk.nii', 'nets.py'])
def test_searchlights_that_are_no_images(pictures, capsys, name):
    pytest.importorskip('nibabel', reason='nibabel is not installed (requirements-dev.txt)')
    (pictures / 'junk.nii').write_bytes(b'n' * 400)
    assert run(pictures, '--searchlight', pictures / name) == 2
    told = capsys.readouterr().err
    assert name in told and 'Traceback' not in told


AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
ONE = ('--figures', 'none', '--no-untrained')


def betas(folder, values=None, affine=AFFINE):
    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (make env)')
    if values is None:
        values = np.random.default_rng(2).normal(size=(4, 4, 3, COUNT))
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / 'betas.nii')
    return values


def test_what_is_wrong_is_said_before_anything_is_written(pictures, capsys):
    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (make env)')
    values, path = betas(pictures), pictures / 'betas.nii'
    mirrored = nibabel.Nifti1Image(np.ones((4, 4, 3)), np.diag([-2.0, 2.0, 2.0, 1.0]))
    nibabel.save(mirrored, pictures / 'mask.nii')
    for more, words in (
        (('--radius', -1), '--radius must be above 0 mm, got -1'),
        (('--radius', 'nan'), '--radius must be above 0 mm, got nan'),
        (('--radius', 1.9), '--radius 1.9: no sphere holds two voxels of'),
        (('--mask', pictures / 'mask.nii'), 'mask.nii has the grid of'),
    ):
        assert run(pictures, '--searchlight', path, *more, *ONE) == 2
        assert words in capsys.readouterr().err
    for value, words in ((np.nan, 'volume 3 (counted from 0; 1 such)'), (0, "stimulus 'im3'")):
        values[..., 3] = value
        betas(pictures, values)
        assert run(pictures, '--searchlight', path, *ONE) == 2
        told = capsys.readouterr().err
        assert words in told and str(path) in told
    assert not (pictures / 'out').exists()


def test_layers_whose_names_make_one_file_name(pictures, capsys):
    """Each has a map of its own, with its own numbers."""
    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (make env)')
    (pictures / 'nets.py').write_text(
        'from torch import nn\n'
        'def net():\n'
        '    found = nn.Sequential()\n'
        "    for name in ('a b', 'a_b', 'A+b'):\n"
        '        found.add_module(name, nn.Conv2d(3, 3, 3))\n'
        '    return found\n'
    )
    values = betas(pictures)
    assert run(pictures, '--searchlight', pictures / 'betas.nii', '--radius', 2, *ONE) == 0
    names = ['a_b', 'a_b_2', 'A_b_3']
    assert {p.name for p in (pictures / 'out').glob('*.nii')} == {
        f'searchlight_{name}.nii' for name in names
    }
    with np.load(pictures / 'out/rsa.npz') as file:
        layers, rdms = file['layers'].tolist(), file['rdms']
    assert layers == ['a b', 'a_b', 'A+b']
    for name, rdm in zip(names, rdms):
        volume = nibabel.load(pictures / f'out/searchlight_{name}.nii').get_fdata()
        # the corner and its three neighbours, two millimetres away
        sphere = np.stack([values[0, 0, 0], values[1, 0, 0], values[0, 1, 0], values[0, 0, 1]], 1)
        expected = spearmanr(rdm, pdist(sphere, 'correlation'))[0]
        assert volume[0, 0, 0] == pytest.approx(expected, abs=1e-6)


def test_maps_and_figures_of_an_earlier_analysis_are_named(pictures, capsys):
    betas(pictures)
    (pictures / 'out').mkdir()
    for mine in ('time.txt', 'searchlight notes.nii.txt', 'mds.docx'):
        (pictures / 'out' / mine).write_text('')
    more = '--searchlight', pictures / 'betas.nii', '--no-untrained'
    assert run(pictures, *more, '--showcase') == 0
    assert 'earlier analysis' not in capsys.readouterr().out
    assert run(pictures, *more, '--layers', '2', '--figures', 'none') == 0
    (old,) = (line for line in capsys.readouterr().out.splitlines() if 'earlier' in line)
    left = old.removeprefix('There from an earlier analysis: ').split(', ')
    assert left == [
        *('bars_all_voxels.png', 'heat_map.png', 'layer_curves.png', 'mds.png'),
        *('pictures_all_voxels.png', 'rdm_grid.png'),
        *('searchlight_0.nii', 'showcase.png'),
    ]


def test_axes_of_one_do_not_matter(pictures, capsys):
    """As SPM and FSL write them: (x, y, z, 1, stimuli), and a mask (x, y, z, 1)."""
    nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed (make env)')
    values, found = betas(pictures), []
    mask = np.ones((4, 4, 3))
    mask[0] = 0
    for data, region in ((values, mask), (values[:, :, :, None], mask[..., None])):
        betas(pictures, data)
        nibabel.save(nibabel.Nifti1Image(region, AFFINE), pictures / 'mask.nii')
        files = '--searchlight', pictures / 'betas.nii', '--mask', pictures / 'mask.nii'
        assert run(pictures, *files, *ONE, '--metric', 'euclidean', '--layers', '0') == 0
        found.append(nibabel.load(pictures / 'out/searchlight_0.nii').shape)
    assert found == [(4, 4, 3)] * 2
