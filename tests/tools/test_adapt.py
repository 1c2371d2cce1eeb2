"""tools/adapt.py, and restore.py --adapt, as their users run them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mmclarity.restoration import Restorer
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def noisy(seed):
    clean = make_phantom(PhantomSettings(96, median_radius=7), seed).image
    levels = clean + 0.1 * np.random.default_rng(seed).standard_normal(clean.shape)
    return np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)


@pytest.fixture
def tools(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(TOOLS), *sys.path])
    import adapt
    import restore

    folder = tmp_path / 'NOISY'
    folder.mkdir()
    for i in range(2):
        tifffile.imwrite(folder / f'{i}.tif', noisy(i))
    return adapt.main, restore.main


def test_adapts_and_restores_with_the_result(tools, capsys):
    adapt, restore = tools
    assert adapt(['NOISY', '--steps', '2']) == 0
    said = capsys.readouterr().err
    assert 'noise is' in said and 'written: NOISY_adapted.safetensors' in said
    card = Path('NOISY_adapted.md').read_text()
    assert '0.tif' in card and 'steps 2' in card and '**Found:**' in card
    assert restore(['NOISY/0.tif', 'out.tif', '--checkpoint', 'NOISY_adapted.safetensors']) == 0
    assert tifffile.imread('out.tif').shape == (96, 96)
    assert Restorer(checkpoint='NOISY_adapted.safetensors')(noisy(0)).shape == (96, 96)
    assert not list(Path().glob('.*resume'))
    assert adapt(['NOISY', '--steps', '2']) == 2
    assert '--overwrite' in capsys.readouterr().err
    Path('NOISY_adapted.safetensors').unlink()  # a card, or notes of someone's, is enough
    assert adapt(['NOISY', '--steps', '2']) == 2
    said = capsys.readouterr().err
    assert 'NOISY_adapted.md exists; give --overwrite' in said and 'adapting' not in said


def test_interrupted_it_says_how_to_go_on(tools, capsys, monkeypatch):
    from mmclarity.restoration.general import adaptation

    def stopped(fields, settings, start, resume, progress, device):
        resume.write_bytes(b'state')
        raise KeyboardInterrupt

    monkeypatch.setattr(adaptation, 'adapt', stopped)
    assert tools[0](['NOISY', '--steps', '2']) == 130
    said = capsys.readouterr().err
    assert 'kept in .NOISY_adapted.resume; the same command goes on from there' in said


def test_restore_adapts_once(tools, capsys):
    _, restore = tools
    from mmclarity.cli import adapt as module

    default = module.adapt_files.__kwdefaults__['steps']
    module.adapt_files.__kwdefaults__['steps'] = 2
    try:
        assert restore(['NOISY', 'OUT', '--adapt']) == 0
    finally:
        module.adapt_files.__kwdefaults__['steps'] = default
    assert sorted(path.name for path in Path('OUT').iterdir()) == ['0.tif', '1.tif']
    capsys.readouterr()
    assert restore(['NOISY', 'OUT2', '--adapt']) == 0
    assert 'is there already and used' in capsys.readouterr().err
    assert restore(['NOISY', 'O', '--adapt', '--checkpoint', 'a.safetensors']) == 2
    assert 'leave out' in capsys.readouterr().err


def test_restore_adapts_where_it_restores(tools, monkeypatch):
    from mmclarity.cli import adapt as module

    asked = []

    def noted(inputs, out, device, **_):
        asked.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'adapt_files', noted)
    tools[1](['NOISY', 'OUT', '--adapt', '--device', 'cuda:1'])
    assert asked == ['cuda:1']


def test_pages_are_scans_of_one_field(tools, capsys):
    adapt, _ = tools
    clean = make_phantom(PhantomSettings(128, median_radius=7), 4).image
    pages = [
        np.clip(clean * 200 + 20 * np.random.default_rng(i).standard_normal(clean.shape), 0, 255)
        for i in range(2)
    ]
    tifffile.imwrite('two.tif', np.stack(pages).astype(np.uint8))
    assert adapt(['two.tif', '--scans', '--steps', '2', '--out', 'a.safetensors']) == 0
    from safetensors import safe_open

    with safe_open('a.safetensors', 'pt') as file:
        about = json.loads(file.metadata()['adapted'])
    assert len(about['images']) == 1 and 'other scans' in Path('a.md').read_text()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['nowhere'], 'no such file'),
        (['NOISY', '--out', 'a.pth'], '.safetensors'),
        (['NOISY', '--steps', '0'], 'steps must be'),
        (['NOISY', '--out', 'none/a.safetensors'], 'no folder none to write to'),
        (['NOISY', '--device', 'cuda:99'], "device 'cuda:99' cannot be used"),
        (['NOISY', '--checkpoint', 'none.safetensors', '--steps', '2'], 'none.safetensors'),
    ],
)
def test_mistakes_are_named(tools, capsys, arguments, words):
    adapt, _ = tools
    assert adapt(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and 'Traceback' not in said
    assert 'adapting' not in said or 'none.safetensors' in words  # before the training


def test_what_is_no_noisy_original_is_not_trained_on(tools, capsys):
    adapt, restore = tools
    tifffile.imwrite('NOISY/0_restored.tif', noisy(5))  # of 0.tif, by its name
    tifffile.imwrite('NOISY/0_uncertainty.tif', noisy(6).astype(np.float32))
    y, x = np.indices((96, 96))
    tifffile.imwrite('NOISY/mask.tif', np.where(np.hypot(y - 40, x - 40) < 20, 255, 0).astype('u1'))
    Path('NOISY/broken.tif').write_bytes(b'II*')
    Path('NOISY/film.gif').write_bytes(b'GIF89a')
    Path('NOISY/notes.txt').write_text('of the microscope')
    assert adapt(['NOISY', '--steps', '1']) == 0
    said = capsys.readouterr().err
    assert 'left out: NOISY/mask.tif: has no noise' in said
    assert 'left out: NOISY/broken.tif' in said
    assert '1 file of a kind that is not read, left out: film.gif' in said and 'notes' not in said
    card = Path('NOISY_adapted.md').read_text()
    images = [line for line in card.splitlines() if line.startswith('- ')]
    assert images == ['- 0.tif', '- 1.tif']
    # named by hand, a file is believed; and a folder of masks is an error
    Path('MASKS').mkdir()
    Path('NOISY/mask.tif').rename('MASKS/mask.tif')
    assert adapt(['MASKS', '--steps', '1']) == 2
    assert 'nothing is left to train on' in capsys.readouterr().err
    assert restore(['NOISY', 'OUT']) == 2  # of the broken one
    assert 'left out: film.gif' in capsys.readouterr().err


@pytest.fixture
def slow(tools, tmp_path):
    """Clean partners of the two noisy images, and one that has none."""
    folder = tmp_path / 'SLOW'
    folder.mkdir()
    for i in range(3):
        clean = make_phantom(PhantomSettings(96, median_radius=7), i).image
        tifffile.imwrite(folder / f'{i}.tif', np.rint(clean * 255).astype(np.uint8))
    return folder


def test_clean_scans_teach(tools, slow, capsys):
    adapt, restore = tools
    tifffile.imwrite(slow / 'blank.tif', np.zeros((96, 96), np.uint8))
    (slow / 'torn.tif').write_bytes(b'II*\0 torn')
    assert adapt(['NOISY', '--clean', 'SLOW', '--steps', '2']) == 0
    said = capsys.readouterr().err
    assert 'measuring 2 quick scans and 3 slow scans' in said
    assert 'learn from: 3 slow scans; to judge by: 2 quick scans' in said and 'from 2 pairs' in said
    assert 'the gain that is told at the end is one on what has been seen' in said  # 96 lines
    assert 'left out: SLOW/blank.tif' in said and 'left out: SLOW/torn.tif' in said
    card = Path('NOISY_adapted.md').read_text()
    assert 'on clean images of one microscope' in card and '2.tif' in card
    own = ['--checkpoint', 'NOISY_adapted.safetensors', '--slow-levels']
    assert restore(['NOISY/0.tif', 'out.tif', *own]) == 0
    assert restore(['NOISY/0.tif', 'other.tif', '--slow-levels']) == 2
    assert 'known to weights that mmclarity-adapt --clean made' in capsys.readouterr().err


def test_a_mask_among_quick_scans_is_left_out(tools, slow, capsys):
    adapt, _ = tools
    arguments = ['NOISY', '--clean', 'SLOW', '--steps', '1', '--overwrite']
    assert adapt(arguments) == 0
    said = capsys.readouterr().err
    (measured,) = (line for line in said.splitlines() if line.startswith('quick scans: '))
    y, x = np.indices((96, 96))
    mask = np.where(np.hypot(y - 40, x - 40) < 20, 205, 60).astype('u1')
    tifffile.imwrite('NOISY/mask.tif', mask)
    assert adapt(arguments) == 0
    said = capsys.readouterr().err
    assert 'left out: NOISY/mask.tif: has no noise: a mask' in said
    assert measured in said.splitlines()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--clean', 'NONE'], 'NONE: no such file or folder; --clean names'),
        (['--clean', 'SLOW', '--scans'], '--scans and --clean are two ways'),
        (['--clean', 'NOISY'], 'is no clean image'),
        (['--clean', 'SLOW/torn.tif'], 'torn.tif'),
        (['--clean', 'EMPTY'], 'EMPTY'),
    ],
)
def test_mistakes_of_clean_scans_are_named(tools, slow, capsys, arguments, words):
    (slow / 'torn.tif').write_bytes(b'II*\0 torn')
    Path('EMPTY').mkdir()
    assert tools[0](['NOISY', '--steps', '2', *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(Path().glob('*.safetensors'))
