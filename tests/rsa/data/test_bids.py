"""BIDS derivatives of beta images: whose, of which picture, and to a network's layers."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from mmclarity.cli.rsa import main
from mmclarity.errors import DataError
from mmclarity.rsa import align, load_neural
from mmclarity.rsa.data.labels import StimulusTable, forms, match_labels
from mmclarity.rsa.data.neural import common_ids
from mmclarity.rsa.report.tables import load_npz

nibabel = pytest.importorskip('nibabel', reason='nibabel is not installed')
PICTURES = ['old-face_1', 'new-face_1', 'house_2', 'house_10', 'tree']
NILEARN = ['oldMinusFace1', 'newMinusFace1', 'house2', 'house10', 'tree']
RNG = np.random.default_rng(5)
BETAS = RNG.normal(size=(2, 3, 5, 2, 3, 4))  # subjects, runs, pictures, voxels


def save(values, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def expected(betas):
    return pdist(betas.reshape(len(betas), -1), 'correlation')


@pytest.fixture
def derivative(tmp_path):
    """What nilearn writes: five statistics of each contrast, by subject and run, and a mask."""
    for sub, subject in enumerate(BETAS, 1):
        folder = tmp_path / f'glm/sub-0{sub}/func'
        save(np.ones((2, 3, 4)), folder / f'sub-0{sub}_task-x_mask.nii.gz')
        for run, images in enumerate(subject, 1):
            for label, volume in zip(NILEARN, images):
                start = f'sub-0{sub}_task-x_run-{run}_contrast-{label}'
                for stat in ('effect', 't', 'variance'):
                    value = volume if stat == 'effect' else volume**2 + len(stat)
                    save(value, folder / f'{start}_stat-{stat}_statmap.nii.gz')
    return tmp_path / 'glm'


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / 'stimuli'
    folder.mkdir()
    for name in PICTURES:
        Image.fromarray(RNG.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f'{name}.png')
    return folder


def test_subjects_are_kept_apart_and_runs_averaged(derivative):
    with pytest.warns(UserWarning) as caught:
        area = load_neural('V4', derivative)
    said = ' '.join(str(w.message) for w in caught)
    assert 'stat-effect is taken' in said and '3 images of each stimulus' in said
    assert 'sub-01_task-x_mask.nii.gz and 1 more are left out' in said
    area = align(area, PICTURES)
    means = BETAS.mean(1)
    np.testing.assert_allclose(area.rdms, [expected(one) for one in means])
    assert area.ids == PICTURES and not area.labels


def test_a_pattern_chooses(derivative):
    with pytest.warns(UserWarning, match='averaged'):
        area = load_neural('V4', f'{derivative}/sub-01/func/*stat-t*.nii.gz')
    squares = (BETAS[0] ** 2 + 1).mean(0)
    np.testing.assert_allclose(align(area, PICTURES).rdms[0], expected(squares))
    with pytest.warns(UserWarning, match='effect is taken'):
        one = load_neural('V4', f'{derivative}/sub-02/func/*run-2*')
    np.testing.assert_allclose(align(one, PICTURES).rdms[0], expected(BETAS[1, 1]))
    with pytest.raises(DataError, match='fits no image'):
        load_neural('V4', f'{derivative}/*run-9*.nii.gz')


def test_a_pattern_of_folders_keeps_subjects_apart(derivative):
    squares = (BETAS**2 + 1).mean(1)
    for pattern in ('sub-*/func/*stat-t*.nii.gz', '**/*stat-t*.nii.gz'):
        with pytest.warns(UserWarning, match='3 images of each stimulus'):
            area = align(load_neural('V4', f'{derivative}/{pattern}'), PICTURES)
        np.testing.assert_allclose(area.rdms, [expected(one) for one in squares])
    with pytest.warns(UserWarning) as caught:
        load_neural('V4', derivative)
    said = next(str(w.message) for w in caught if 'stat-effect' in str(w.message))
    advice = said.partition('write a pattern, ')[2]  # does as it says
    with pytest.warns(UserWarning, match='3 images of each stimulus'):
        area = align(load_neural('V4', advice), PICTURES)
    np.testing.assert_allclose(area.rdms, [expected(one) for one in squares])
    odd = derivative.with_name('what?') / 'betas.nii'  # a name, no pattern
    save(BETAS[0, 0].transpose(1, 2, 3, 0), odd)
    np.testing.assert_allclose(load_neural('V4', odd).rdms[0], expected(BETAS[0, 0]))


def test_images_that_differ_in_more(derivative):
    save(BETAS[0, 0, 0], derivative / 'sub-01/func/sub-01_space-T1w_contrast-tree_statmap.nii')
    with pytest.raises(DataError, match=r'also in .*space- \(T1w, none\).*pattern'):
        load_neural('V4', f'{derivative}/sub-01/func')


def test_a_subject_who_lacks_a_picture(derivative):
    for path in derivative.glob('sub-02/func/*contrast-tree*'):
        path.unlink()
    with pytest.warns(UserWarning, match='sub-02 has no image of 1 stimuli .tree'):
        area = align(load_neural('V4', derivative), PICTURES)
    assert not np.isnan(area.rdms[0]).any()
    # Pairs with the last picture.
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(area.rdms[1])), [3, 6, 8, 9])
    known = expected(BETAS[1].mean(0)[:4])
    np.testing.assert_allclose(area.rdms[1][~np.isnan(area.rdms[1])], known)


def test_forms_are_those_of_nilearn():
    for name, label in zip(PICTURES, NILEARN):
        assert label.lower() in forms(name)
    assert forms('A>b+c') == {'abc', 'agtbplusc'} and forms('Käfer 1') == {'käfer1'}


def test_labels_that_fit_several_pictures_are_refused():
    ids = ['im_1_2', 'im_12', 'im3']
    with pytest.raises(
        DataError, match=r"V4: the label 'im12' may be of 'im_1_2' or 'im_12'.*--st"
    ):
        match_labels(['im12', 'im3'], ids, 'V4')
    # Even where one of them is the label itself: both would have been written so.
    with pytest.raises(DataError, match="'im12' may be of"):
        match_labels(['im12'], ['im12', 'im_12'], 'V4')
    with pytest.raises(DataError, match="'Im3' and 'im3' both fit the picture 'im3'"):
        match_labels(['Im3', 'im3'], ids, 'V4')
    with pytest.warns(UserWarning, match=r'V4: 1 labels .*im1 = im_1\)'):
        assert match_labels(['im3', 'fixation', 'im1'], ['im3', 'im_1'], 'V4') == [
            *('im3', 'fixation', 'im_1')
        ]


def write_events(path, column='stim_file'):
    lines = ['onset\tduration\ttrial_type\t' + column]
    for i, name in enumerate([*PICTURES, 'n/a', *PICTURES]):
        label = 'rest' if name == 'n/a' else f'c{PICTURES.index(name)}'
        picture = name if name == 'n/a' else f'photos/{name}.png'
        lines.append(f'{2 * i}\t1\t{label}\t{picture}')
    path.write_text('\n'.join(lines) + '\n')
    return path


class TestTable:
    def test_labels(self, tmp_path):
        table = StimulusTable(write_events(tmp_path / 'events.tsv'))
        assert table.renamed(['c3', 'c0', 'rest', 'c0MinusC1'], 'V4') == [
            *('house_10', 'old-face_1', 'rest', 'c0MinusC1')
        ]
        # The names of the files are labels as well.
        assert table.renamed(['house10', 'tree'], 'V4') == ['house_10', 'tree']

    def test_a_label_of_several_pictures(self, tmp_path):
        path = tmp_path / 'events.tsv'
        path.write_text('trial_type\tstim_file\nface\ta.png\nface\tb.png\n')
        with pytest.raises(
            DataError, match=r"'face' \(trial_type\) stands for 2 pictures \(a, b\)"
        ):
            StimulusTable(path).renamed(['face'], 'V4')
        with pytest.raises(DataError, match='no column with the labels of V4 .house'):
            StimulusTable(path).renamed(['house'], 'V4')

    def test_columns_that_disagree(self, tmp_path):
        path = tmp_path / 'table.csv'
        path.write_text('name,code,stim_file\na,b,1.png\nb,a,2.png\n')
        with pytest.raises(DataError, match='columns name and code, for different pictures'):
            StimulusTable(path).renamed(['a', 'b'], 'V4')

    def test_at_fault(self, tmp_path):
        path = write_events(tmp_path / 'events.tsv', 'picture')
        with pytest.raises(DataError, match="no column 'stim_file'.*trial_type, picture.*:COLUMN"):
            StimulusTable(path)
        assert StimulusTable(f'{path}:picture').ids[0] == 'old-face_1'
        (tmp_path / 'x.tsv').write_text('a\tstim_file\n1\n')
        with pytest.raises(DataError, match='x.tsv, line 2'):
            StimulusTable(tmp_path / 'x.tsv')
        (tmp_path / 'x.tsv').write_text('a\tstim_file\n1\tn/a\n')
        with pytest.raises(DataError, match='names no picture'):
            StimulusTable(tmp_path / 'x.tsv')
        with pytest.raises(FileNotFoundError):
            StimulusTable(tmp_path / 'y.tsv')

    def test_volumes_in_the_order_of_trials(self, tmp_path):
        """A series of betas, two a picture: those of one are averaged."""
        series = np.concatenate([BETAS[0, 0], BETAS[0, 1]])
        save(np.moveaxis(series, 0, -1), tmp_path / 'sub-01_desc-trial_beta.nii.gz')
        table = StimulusTable(write_events(tmp_path / 'events.tsv'))
        with pytest.warns(UserWarning, match='10 responses to 5 pictures'):
            area = load_neural('V4', tmp_path / 'sub-01_desc-trial_beta.nii.gz', table=table)
        assert area.ids == PICTURES
        np.testing.assert_allclose(area.rdms[0], expected(BETAS[0, :2].mean(0)))
        save(np.moveaxis(series[:9], 0, -1), tmp_path / 'nine.nii')
        with pytest.raises(DataError, match='9 stimuli without names, .* in 10 lines'):
            load_neural('V4', tmp_path / 'nine.nii', table=table)
        with pytest.raises(DataError, match='several times, and only responses'):
            load_neural('V4', expected(series), table=table)
        stack = np.stack([series, series + 1]).reshape(2, 10, -1)
        with pytest.warns(UserWarning, match='10 responses to 5'):
            area = load_neural('V4', stack, table=table, kind='responses')
        np.testing.assert_allclose(area.rdms, [expected(BETAS[0, :2].mean(0))] * 2)

    def test_ids_of_a_manifest(self, tmp_path):
        files = {'house_2.png': '17'}
        table = StimulusTable(write_events(tmp_path / 'events.tsv'), files)
        assert table.renamed(['c2', 'c4'], 'V4') == ['17', 'tree']


def run(*options):
    return main([*options, '--bootstraps', '0', '--permutations', '0', '--figures', 'none'])


def network(tmp_path):
    path = tmp_path / 'net.py'
    path.write_text(
        'from torch import nn\n'
        'def make():\n'
        '    return nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 5))\n'
    )
    return ['--model', f'{path}:make', '--layers', '0', '2', '--size', '32']


def test_from_a_derivative_to_a_correlation(derivative, pictures, tmp_path, capsys):
    """The whole tool: folder of betas, folder of pictures, layers."""
    out = tmp_path / 'out'
    given = [*network(tmp_path), '--stimuli', str(pictures), '--out', str(out), '--overwrite']
    with pytest.warns(UserWarning, match='4 labels of BIDS, letters and digits only, were matched'):
        assert run(*given, '--neural', f'V4={derivative}') == 0
    result = load_npz(out / 'rsa.npz')
    assert sorted(result.ids) == sorted(PICTURES)
    means = BETAS.mean(1)[:, [PICTURES.index(name) for name in result.ids]]
    np.testing.assert_allclose(result.area_rdms['V4'], [expected(one) for one in means])
    for layer, rdm in enumerate(result.rdms):
        scores = [spearmanr(rdm, expected(one))[0] for one in means]
        assert result.scores[layer, 0] == pytest.approx(np.mean(scores))
    capsys.readouterr()
    # A picture more: asked for, then left out.
    Image.new('RGB', (40, 40)).save(pictures / 'more.png')
    assert run(*given, '--neural', f'V4={derivative}') == 2
    assert 'lacks 1 of 6 stimuli (more)' in capsys.readouterr().err
    assert run(*given, '--neural', f'V4={derivative}', '--common') == 0
    assert '5 of 6 images' in capsys.readouterr().out


def test_ambiguous_labels_end_the_run_and_a_table_mends_it(pictures, tmp_path, capsys):
    folder = tmp_path / 'betas'
    (pictures / 'tree.png').rename(pictures / 'house_1-0.png')
    for i, volume in enumerate(BETAS[0, 0]):
        label = ['oldface1', 'newface1', 'house2', 'house10', 'house10b'][i]
        save(volume, folder / f'sub-01_contrast-{label}_stat-effect_statmap.nii.gz')
    out = tmp_path / 'out'
    given = [*network(tmp_path), '--stimuli', str(pictures), '--out', str(out)]
    assert run(*given, '--neural', f'V4={folder}') == 2
    assert "'house10' may be of 'house_1-0' or 'house_10'" in capsys.readouterr().err
    assert not out.exists()
    table = tmp_path / 'stimuli.tsv'
    table.write_text(
        'label\tfile\noldface1\told-face_1.png\nnewface1\tnew-face_1.png\nhouse2\thouse_2.png\n'
        'house10\thouse_10.png\nhouse10b\thouse_1-0.png\n'
    )
    assert run(*given, '--neural', f'V4={folder}', '--stimulus-table', f'{table}:file') == 0
    area = load_neural('V4', folder, table=StimulusTable(f'{table}:file'))
    ids = ['old-face_1', 'new-face_1', 'house_2', 'house_10', 'house_1-0']
    np.testing.assert_allclose(align(area, ids).rdms[0], expected(BETAS[0, 0]))
    assert common_ids(ids, [area]) == ids
