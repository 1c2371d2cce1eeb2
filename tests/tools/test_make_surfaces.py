"""The command line that makes the embedded surfaces."""

import csv
import json
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmclarity.errors import DataError
from mmclarity.rsa import GaborV1, StimulusSet, load_neural
from mmclarity.synthetic.surfaces import PARTS, SURFACES, photograph
from tools.dataset_generators import make_surfaces as tool

FEW = ['--train', '2', '--val', '1', '--stimuli', '2']


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp('made') / 'surfaces'
    tool.main([str(out), *FEW])
    return out


def snapshot(folder):
    return {
        p.relative_to(folder): (p.stat().st_mtime_ns, p.stat().st_size)
        for p in folder.rglob('*')
        if p.is_file()
    }


def test_what_is_written(made):
    for part, count in (('train', 2), ('val', 1)):
        assert sorted(p.name for p in (made / part).iterdir()) == sorted(SURFACES)
        for surface in SURFACES:
            files = sorted((made / part / surface).glob('*.png'))
            assert len(files) == count
            with Image.open(files[0]) as image:
                assert image.size == (64, 64)
    with open(made / 'stimuli' / 'manifest.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['id'] for row in rows] == [f'{s}_{i}' for s in SURFACES for i in range(2)]
    assert all((made / 'stimuli' / row['file']).is_file() for row in rows)


def test_model_area_is_the_answer_of_gabor_v1_to_the_stimuli(made):
    """Through the readers the hook uses, not through the writer's own arrays."""
    stimuli = StimulusSet.from_folder(
        made / 'stimuli', manifest=made / 'stimuli/manifest.csv', mean=(0,) * 3, std=(1,) * 3
    )
    images = next(iter(stimuli.batches(len(stimuli))))[1]
    seen = {}
    model = GaborV1()
    for name in ('simple', 'complex'):
        getattr(model, name).register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(name, output.flatten(1))
        )
    model(images[:, :1])
    with np.load(made / 'v1.npz') as file:
        for name, expected in seen.items():
            np.testing.assert_allclose(file[name], expected.detach(), rtol=1e-4, atol=1e-5)
    area = load_neural('V1', f'{made}/v1.npz:complex')
    assert area.ids == stimuli.ids and area.rdms.shape == (1, 16 * 15 // 2)


def test_no_pixel_serves_two_purposes():
    for surface in SURFACES:
        width = photograph(surface).shape[1]
        taken = [set(range(*(round(share * width) for share in PARTS[part]))) for part in PARTS]
        assert sum(map(len, taken)) == len(set().union(*taken)) == width


def test_photographs_come_with_the_wheel(monkeypatch):
    """Nothing is fetched: neither a socket nor scikit-image's downloader is touched."""

    def refuse(*args, **kwargs):
        raise AssertionError('the network was asked')

    monkeypatch.setattr(socket, 'socket', refuse)
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    import skimage

    shipped = {p.name for p in (Path(skimage.__file__).parent / 'data').iterdir()}
    assert {'brick.png', 'grass.png', 'gravel.png', 'ihc.png', 'hubble_deep_field.jpg'} <= shipped
    assert all(photograph(surface).size for surface in SURFACES)


def test_a_second_run_does_nothing(made, capsys):
    before = snapshot(made)
    tool.main([str(made), *FEW])
    assert snapshot(made) == before and 'already made' in capsys.readouterr().out


@pytest.mark.parametrize('option', ['--train', '--val', '--stimuli', '--seed'])
def test_other_settings_are_refused(made, option):
    before = snapshot(made)
    with pytest.raises(DataError, match='other settings.*another folder'):
        tool.make(tool.parse_args([str(made), *FEW, option, '7']))
    assert snapshot(made) == before


@pytest.mark.parametrize(
    'name,text',
    [('thesis.txt', 'mine'), ('made.json', ''), ('made.json', '{"train": 2'), ('train', None)],
)
def test_what_it_did_not_finish_is_not_overwritten(tmp_path, name, text):
    path = tmp_path / name
    path.mkdir() if text is None else path.write_text(text)
    with pytest.raises(DataError, match='no made.json|made.json is not'):
        tool.make(tool.parse_args([str(tmp_path), *FEW]))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_empty_folder_is_used_and_settings_are_noted(tmp_path):
    tool.main([str(tmp_path), '--train', '1', '--val', '1', '--stimuli', '1', '--seed', '5'])
    assert json.loads((tmp_path / 'made.json').read_text()) == dict(
        train=1, val=1, stimuli=1, seed=5
    )


@pytest.mark.parametrize(
    'options',
    [['--train', '0'], ['--val', '-1'], ['--stimuli', '0'], ['--seed', '-1'], ['--train', 'x']],
)
def test_bad_options(tmp_path, options, capsys):
    with pytest.raises(SystemExit) as error:
        tool.main([str(tmp_path / 'out'), *options])
    assert error.value.code == 2 and options[0] in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
