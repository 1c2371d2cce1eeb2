"""What is written is what was found, whole or not at all."""

import csv
import json

import numpy as np
import pytest

from mmclarity.rsa.analysis import RSASettings, analyse
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.report import tables as report

STIMULI, PAIRS = 8, 28


def make(bootstraps=10, permutations=99, baseline=True, subjects=3):
    rng = np.random.default_rng(1)
    truth = rng.random(PAIRS)
    areas = [
        NeuralArea('V1', truth + 0.3 * rng.random((subjects, PAIRS)), None, 'a.npz'),
        NeuralArea('IT', rng.random((1, PAIRS)), None, 'b.mat:rdm'),
    ]
    layers = {'conv': truth + 0.05 * rng.random(PAIRS), 'fc|x': rng.random(PAIRS)}
    untrained = {name: rng.random(PAIRS) for name in layers}
    settings = RSASettings(bootstraps=bootstraps, permutations=permutations, seed=3)
    return analyse(
        layers,
        areas,
        settings,
        untrained if baseline else None,
        ids=[f'stone{i}' for i in range(STIMULI)],
        meta=dict(model='alexnet', epoch=4),
    )


@pytest.fixture(scope='module')
def result():
    return make()


def read(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


class TestNpz:
    @pytest.mark.parametrize('options', [{}, dict(bootstraps=0, permutations=0, baseline=False)])
    def test_everything_comes_back(self, tmp_path, options):
        result = make(**options)
        report.save_npz(result, tmp_path / 'rsa.npz')
        again = report.load_npz(tmp_path / 'rsa.npz')
        for name in ('ids', 'layers', 'areas', 'settings', 'ceilings', 'meta'):
            assert getattr(again, name) == getattr(result, name), name
        for name in ('scores', 'rdms', *report.OPTIONAL):
            first, second = getattr(result, name), getattr(again, name)
            assert (first is None) == (second is None), name
            if first is not None:
                np.testing.assert_array_equal(first, second)
                assert first.dtype == second.dtype
        for area in result.areas:
            np.testing.assert_array_equal(again.area_rdms[area], result.area_rdms[area])
        assert again.differences.keys() == result.differences.keys()
        for area, found in result.differences.items():
            for name in ('layers', 'layers_interval', 'layers_p', 'gain', 'gain_p'):
                np.testing.assert_array_equal(
                    getattr(again.differences[area], name), getattr(found, name)
                )

    def test_a_file_of_the_first_format(self, tmp_path, result):
        """It says baseline where this version says untrained."""
        report.save_npz(result, tmp_path / 'new.npz')
        with np.load(tmp_path / 'new.npz') as file:
            old = {k.replace('untrained', 'baseline'): v for k, v in file.items()}
        old['format'] = np.array(1)
        np.savez(tmp_path / 'old.npz', **old)
        again = report.load_npz(tmp_path / 'old.npz')
        for name in report.OPTIONAL:
            np.testing.assert_array_equal(getattr(again, name), getattr(result, name))
        with pytest.warns(DeprecationWarning, match='is now called untrained_scores'):
            np.testing.assert_array_equal(again.baseline_scores, result.untrained_scores)

    def test_others_can_read_it_without_pickle(self, tmp_path, result):
        report.save_npz(result, tmp_path / 'rsa.npz')
        with np.load(tmp_path / 'rsa.npz', allow_pickle=False) as file:
            assert file['rdms'].shape == (2, PAIRS)
            assert file['area_rdms_0'].shape == (3, PAIRS)
            assert file['ids'].tolist() == result.ids
            assert json.loads(str(file['settings']))['pooling'] == 'rank'
            assert json.loads(str(file['ceilings']))[1]['lower'] is None

    def test_failed_write_leaves_the_old_file(self, tmp_path, result):
        path = tmp_path / 'rsa.npz'
        report.save_npz(result, path)
        before = path.read_bytes()
        broken = make(bootstraps=0)
        broken.meta['model'] = object()
        with pytest.raises(TypeError):
            report.save_npz(broken, path)

        def fail(file):
            file.write(b'half')
            raise OSError('disk full')

        with pytest.raises(OSError, match='disk full'):
            report.atomic_write(path, fail)
        assert path.read_bytes() == before
        assert [item.name for item in tmp_path.iterdir()] == ['rsa.npz']

    def test_new_folders_are_made_and_folders_are_not_files(self, tmp_path, result):
        report.save_npz(result, tmp_path / 'a' / 'b' / 'rsa.npz')
        assert (tmp_path / 'a' / 'b' / 'rsa.npz').is_file()
        with pytest.raises(ValueError, match='is a folder'):
            report.save_npz(result, tmp_path / 'a')

    def test_damaged_and_foreign_files_are_named(self, tmp_path, result):
        path = tmp_path / 'rsa.npz'
        with pytest.raises(FileNotFoundError, match='rsa.npz does not exist'):
            report.load_npz(path)
        report.save_npz(result, path)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ValueError, match='rsa.npz cannot be read'):
            report.load_npz(path)
        np.save(tmp_path / 'one.npy', np.zeros(3))
        with pytest.raises(ValueError, match='holds one array'):
            report.load_npz(tmp_path / 'one.npy')
        np.savez(tmp_path / 'other.npz', x=np.zeros(3))
        with pytest.raises(ValueError, match=r"other\.npz has no key 'areas'.*its keys are x"):
            report.load_npz(tmp_path / 'other.npz')
        np.savez(tmp_path / 'newer.npz', format=report.FORMAT + 1)
        with pytest.raises(ValueError, match='newer.npz has format 3.*update'):
            report.load_npz(tmp_path / 'newer.npz')


class TestCsv:
    def test_a_line_per_area_and_layer(self, tmp_path, result):
        report.save_csv(result, tmp_path / 'rsa.csv')
        rows = read(tmp_path / 'rsa.csv')
        assert [(row['area'], row['layer']) for row in rows] == [
            ('V1', 'conv'),
            ('V1', 'fc|x'),
            ('IT', 'conv'),
            ('IT', 'fc|x'),
        ]
        assert set(rows[0]) == set(report.COLUMNS)
        assert float(rows[1]['score']) == pytest.approx(result.scores[1, 0], rel=1e-5)
        assert float(rows[2]['untrained']) == pytest.approx(result.untrained_scores[0, 1], rel=1e-5)
        assert float(rows[3]['gain_upper']) == pytest.approx(
            result.differences['IT'].gain_interval[1, 1], rel=1e-5
        )
        assert rows[0]['ceiling_pooling'] == 'rank' and rows[0]['subjects'] == '3'
        assert float(rows[0]['ceiling_lower']) == pytest.approx(
            result.ceilings['V1'].lower, rel=1e-5
        )

    def test_one_subject_has_no_ceiling(self, tmp_path, result):
        report.save_csv(result, tmp_path / 'rsa.csv')
        row = read(tmp_path / 'rsa.csv')[2]
        assert row['ceiling_lower'] == row['ceiling_upper'] == 'N/A'

    def test_what_was_not_computed_is_empty(self, tmp_path):
        bare = make(bootstraps=0, permutations=0, baseline=False)
        bare.scores[0, 0] = np.nan
        report.save_csv(bare, tmp_path / 'rsa.csv')
        row = read(tmp_path / 'rsa.csv')[0]
        assert not any(row[name] for name in ('score', 'lower', 'p', 'q', 'untrained', 'gain'))
        with pytest.raises(ValueError, match='bootstraps'):
            report.save_differences_csv(bare, tmp_path / 'd.csv')

    def test_differences(self, tmp_path, result):
        report.save_differences_csv(result, tmp_path / 'd.csv')
        rows = read(tmp_path / 'd.csv')
        assert [(row['area'], row['layer'], row['other']) for row in rows] == [
            ('V1', 'conv', 'fc|x'),
            ('IT', 'conv', 'fc|x'),
        ]
        assert float(rows[0]['difference']) == pytest.approx(
            result.scores[0, 0] - result.scores[1, 0], rel=1e-4
        )


class TestMarkdown:
    def test_table(self, result):
        text = report.markdown(result)
        lines = text.splitlines()
        assert lines[0] == '| layer | V1 | V1, untrained | IT | IT, untrained |'
        cells = lines[2].split(' | ')
        assert cells[0] == '| `conv`'
        # The first layer was made from V1: best there, and significant.
        assert cells[1].startswith(f'**{result.scores[0, 0]:.3f}\\*')
        ceiling = result.ceilings['V1']
        assert lines[4].startswith(
            f'| noise ceiling | {ceiling.lower:.3f} to {ceiling.upper:.3f} |'
        )
        assert 'N/A (one RDM)' in lines[4]
        for part in (
            'spearman',
            'correlation distance',
            '8 stimuli',
            '95%',
            '10 bootstraps',
            'permuted 99 times',
            'rank-pooled',
            'V1: 3, IT: 1',
        ):
            assert part in text

    def test_bars_in_names_do_not_break_the_table(self, result):
        row = report.markdown(result).splitlines()[3]
        assert row.replace('\\|', '').count('|') == 6

    def test_undefined_scores(self):
        bare = make(bootstraps=0, permutations=0, baseline=False)
        bare.scores[:, 1] = np.nan
        assert '| N/A |' in report.markdown(bare).splitlines()[2]
        assert 'nan' not in report.markdown(bare)
