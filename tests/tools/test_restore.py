"""tools/restore.py and tools/export_onnx.py as their users run them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from tests.restoration.inference.test_restorer import UNET, micrograph, save
from tests.running import run, run_workers

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The tool's main function, in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [str(REPO / 'tools'), *sys.path])
    import restore

    return restore.main


@pytest.fixture
def model(tmp_path) -> list[str]:
    (tmp_path / 'net.py').write_text(f'model = {UNET!r}\nrestoration = dict(bit_depth=8)\n')
    save(tmp_path / 'net.pth')
    return ['--config', str(tmp_path / 'net.py'), '--checkpoint', str(tmp_path / 'net.pth')]


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / 'images'
    folder.mkdir()
    tifffile.imwrite(folder / 'a.tif', micrograph((70, 90)))
    tifffile.imwrite(folder / 'b.tif', micrograph((40, 50), 'uint16'))
    return folder


def test_a_folder_from_any_directory(tmp_path, model, folder):
    (folder / 'c.tif').write_bytes(b'II*\0')
    done = run(tmp_path, 'restore.py', 'images', 'out', *model, '--tile', 64, '--overlap', 16)
    assert done.returncode == 2, done.stderr
    assert 'failed: images/c.tif' in done.stderr and 'Traceback' not in done.stderr
    assert 'warning: images/b.tif: has 16 bits' in done.stderr
    assert '2 files written to out, 1 image failed' in done.stderr
    assert 'a.tif: 100%' in done.stderr  # the progress bar
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['a.tif', 'b.tif']
    assert tifffile.imread(tmp_path / 'out/b.tif').dtype == np.uint16


def test_out_of_the_box(main, tmp_path, capsys):
    clean = 250 * make_phantom(PhantomSettings(128, median_radius=9), 5).image
    noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
    tifffile.imwrite('noisy.tif', noisy.clip(0, 255).astype(np.uint8))
    assert main(['noisy.tif']) == 0
    said = capsys.readouterr().err
    assert 'noisy.tif: noise is' in said and '% of the contrast' in said
    assert 'written: noisy_restored.tif' in said
    restored = tifffile.imread('noisy_restored.tif')
    assert restored.dtype == np.uint8 and restored.shape == clean.shape
    assert main(['noisy.tif']) == 2
    assert 'exists already' in capsys.readouterr().err
    assert main(['noisy.tif', 'quiet.tif', '--quiet', '--strength', '2']) == 0
    assert capsys.readouterr().err == 'written: quiet.tif\n'  # and no progress bar
    assert (tifffile.imread('quiet.tif') != restored).any()
    assert main(['noisy.tif', 'x.tif', '--checkpoint', 'net.pth']) == 2
    assert 'a config needs a checkpoint' in capsys.readouterr().err
    assert main(['noisy.tif', 'x.tif', '--strength', '0']) == 2


def test_several_names_are_not_taken_for_others(main, folder, capsys):
    """Of ``*.tif`` the second is no place for the result, and nothing is lost."""
    before = (folder / 'b.tif').read_bytes()
    assert main(['images/a.tif', 'images/b.tif']) == 2
    said = capsys.readouterr().err
    assert 'images/b.tif: exists already' in said and 'name their folder' in said
    with pytest.raises(SystemExit):
        main(['images/a.tif', 'images/b.tif', 'c.tif', 'd.tif'])
    said = capsys.readouterr().err
    assert '2 names too many, from c.tif on' in said and 'the folder' in said
    with pytest.raises(SystemExit):
        main(['images/a.tif', '--strenght', '2'])
    assert 'unrecognized arguments: --strenght 2' in capsys.readouterr().err
    shutil.copy('images/a.tif', '-a.tif')  # of a shell's *.tif
    with pytest.raises(SystemExit):
        main(['-a.tif', 'c.tif'])
    assert 'is no option as ./-a.tif, or behind --' in capsys.readouterr().err
    assert main(['images/a.tif', 'images/a.tif']) == 2
    assert 'would be replaced by its restoration' in capsys.readouterr().err
    assert (folder / 'b.tif').read_bytes() == before


def test_signed_and_floating_point_files_out_of_the_box(main, tmp_path, capsys):
    pixels = micrograph((64, 64)).astype(np.float32)
    for name, dtype in (('signed.tif', np.int16), ('real.tif', np.float32)):
        tifffile.imwrite(name, (pixels * 40 - 3000).astype(dtype))
        assert main([name]) == 0
        assert 'no black and white of its own' in capsys.readouterr().err
        restored = tifffile.imread(name.replace('.tif', '_restored.tif'))
        assert restored.dtype == dtype
        assert abs(float(restored.mean()) - float((pixels * 40 - 3000).mean())) < 100


def test_a_folder_gets_a_folder_beside_it(main, folder, tmp_path, capsys):
    assert main(['images']) == 0
    assert sorted(p.name for p in (tmp_path / 'images_restored').iterdir()) == ['a.tif', 'b.tif']


def test_a_file_its_options_and_what_is_kept(main, model, folder, tmp_path, capsys):
    source = folder / 'a.tif'
    model = [*model, '--dtype', 'float32']
    assert main([str(source), 'new/r.tif', *model]) == 0
    assert 'written: new/r.tif' in capsys.readouterr().err
    first = (tmp_path / 'new/r.tif').read_bytes()
    assert main([str(source), 'new/r.tif', *model]) == 2
    assert 'exists already' in capsys.readouterr().err
    assert main([str(source), 'new/r.tif', *model, '--overwrite', '--dtype', 'bfloat16']) == 0
    assert (tmp_path / 'new/r.tif').read_bytes() != first
    assert main([str(source), 'new', *model]) == 0  # a folder that is there: the same name in it
    assert (tmp_path / 'new/a.tif').read_bytes() == first
    assert main([str(source), 'made/deep', *model]) == 0  # or one that is made
    assert (tmp_path / 'made/deep/a.tif').read_bytes() == first
    assert main([str(folder / 'b.tif'), 'b.tif', *model, '--data-range', '9']) == 2
    assert 'outside 0 to data_range=9' in capsys.readouterr().err


def test_uncertainty_of_an_ensemble(main, model, folder, tmp_path):
    pytest.importorskip('mmclarity.restoration.evaluation.particles')
    save(tmp_path / 'second.pth', seed=1)
    assert (
        main(
            [str(folder / 'a.tif'), 'r.tif', *model, str(tmp_path / 'second.pth'), '--uncertainty']
        )
        == 0
    )
    spread = tifffile.imread(tmp_path / 'r_uncertainty.tif')
    assert spread.shape == (70, 90) and 0 < spread.max() < 1
    assert (tmp_path / 'r_doubtful.png').read_bytes()[:4] == b'\x89PNG'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (['--checkpoint', 'no.pth'], 'checkpoint not found: no.pth'),
        (['--config', 'no.py'], 'config not found: no.py'),
        (['--tile', '64', '--overlap', '70'], '0 to a tile, 64'),
        (['--device', 'nonsense'], 'nonsense'),
    ],
)
def test_wrong_options_are_told_before_any_work(
    main, model, folder, tmp_path, capsys, change, message
):
    assert main([str(folder), 'out', *model, *change]) == 2
    told = capsys.readouterr().err
    assert message in told and 'Traceback' not in told
    assert not (tmp_path / 'out').exists()


def test_nothing_to_restore(main, model, tmp_path, capsys):
    assert main(['nowhere', 'out', *model]) == 2
    assert 'nowhere: no such file or folder' in capsys.readouterr().err
    (tmp_path / 'empty').mkdir()
    assert main(['empty', 'out', *model]) == 2
    assert 'empty: holds no images (.tif' in capsys.readouterr().err
    (tmp_path / 'empty/below').mkdir()
    (tmp_path / 'empty/below/a.tif').touch()
    assert main(['empty', 'out', *model]) == 2
    assert '1 lie in folders below it: --recursive takes' in capsys.readouterr().err
    (tmp_path / 'one.tif').touch()
    assert main(['one.tif', 'two.tif', *model, '--workers', '0']) == 2
    assert '--workers must be at least 1, not 0' in capsys.readouterr().err


def test_export(tmp_path, model):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    done = run(tmp_path, 'export_onnx.py', model[1], model[3], 'net.onnx')
    assert done.returncode == 0, done.stderr
    assert 'written: net.onnx' in done.stdout
    session = onnxruntime.InferenceSession(str(tmp_path / 'net.onnx'))
    image = torch.rand(2, 1, 19, 45).numpy()
    assert session.run(None, {'image': image})[0].shape == image.shape


def test_stacks_bursts_and_folders_below(main, model, tmp_path, capsys):
    """The everyday commands, as they are typed."""
    pages = np.stack([np.roll(micrograph((64, 72)), shift, 1) for shift in range(3)])
    (tmp_path / 'in/deep').mkdir(parents=True)
    tifffile.imwrite('in/deep/s.tif', pages, imagej=True, resolution=(40, 40))
    Image.fromarray(pages[0]).save('in/a.jpg')
    assert main(['in', *model, '--recursive']) == 0
    assert '2 files written to in_restored' in capsys.readouterr().err
    assert tifffile.imread('in_restored/a.tif').shape == (64, 72)
    copy = tifffile.TiffFile('in_restored/deep/s.tif')
    assert copy.is_imagej and copy.series[0].shape == (3, 64, 72)
    assert main(['in/deep/s.tif', *model, '--combine']) == 0
    assert 'written: in/deep/s_combined.tif' in capsys.readouterr().err
    assert tifffile.imread('in/deep/s_combined.tif').shape == (64, 72)
    tifffile.imwrite('one.tif', pages[0])
    tifffile.imwrite('two.tif', np.roll(pages[0], 2, 0))
    assert main(['one.tif', 'out.tif', *model, '--combine', 'two.tif']) == 0
    assert '2 scans combined, moved by up to 2.0 pixels' in capsys.readouterr().err
    tifffile.imwrite('other.tif', micrograph((64, 73)))
    assert main(['one.tif', 'x.tif', *model, '--combine', 'other.tif']) == 2
    assert 'failed: other.tif: is 73 x 64 pixels' in capsys.readouterr().err
    assert main(['one.tif', 'y.jpg', *model]) == 2
    assert 'is a TIFF file, so the restored one must be too' in capsys.readouterr().err
    assert not list(tmp_path.glob('[xy].*'))


def test_several_processes_write_what_one_writes(main, folder, tmp_path, capsys):
    for name, seed in (('c.tif', 1), ('d.tif', 2)):
        pixels = np.random.default_rng(seed).integers(1, 255, (60, 70)).astype(np.uint8)
        tifffile.imwrite(folder / name, pixels)
    (folder / 'e.tif').write_bytes(b'II*\0')
    assert main(['images', 'one', '--workers', '1']) == 2
    assert main(['images', 'two', '--workers', '2']) == 2
    said = capsys.readouterr().err
    assert said.count('4 files written to') == 2 and said.count('failed: images/e.tif') == 2
    assert said.count('a.tif: noise is') == 2
    names = sorted(path.name for path in (tmp_path / 'one').iterdir())
    assert names == ['a.tif', 'b.tif', 'c.tif', 'd.tif']
    for name in names:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert main(['images', 'three', '--workers', '0']) == 2
    assert 'at least 1' in capsys.readouterr().err


@pytest.mark.parametrize('processes', ['1', '2'])
def test_a_folder_that_was_interrupted_goes_on(main, folder, tmp_path, capsys, processes):
    from mmclarity.restoration import Restorer

    usual = Restorer.restore_file

    def interrupted(self, path, *rest, **options):
        if path.name == 'b.tif':
            raise KeyboardInterrupt
        return usual(self, path, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Restorer, 'restore_file', interrupted)
        assert main(['images', 'out', '--workers', '1']) == 130
    said = capsys.readouterr().err
    assert 'what was restored is in out; the same command goes on with the rest' in said
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.tif']
    before = (tmp_path / 'out/a.tif').stat()
    assert main(['images', 'out', '--workers', processes]) == 0
    said = capsys.readouterr().err
    assert '1 image restored before and left alone' in said
    assert '1 file written to out, 0 images failed' in said
    assert (tmp_path / 'out/a.tif').stat() == before and (tmp_path / 'out/b.tif').is_file()


def test_ranks_of_torchrun_share_a_folder(main, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '2')
    for rank, expected in (('1', ['b.tif']), ('0', ['a.tif', 'b.tif'])):
        monkeypatch.setenv('RANK', rank)
        assert main(['images', 'out']) == 0
        assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == expected
    monkeypatch.setenv('RANK', '2')
    assert main(['images', 'out2']) == 2
    assert 'do not go together' in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_of_torchrun_write_what_one_does(tmp_path):
    (tmp_path / 'images/deep').mkdir(parents=True)
    for i, name in enumerate(('a', 'b', 'deep/c', 'deep/d', 'e')):
        pixels = micrograph((70 + 8 * i, 90))
        tifffile.imwrite(tmp_path / f'images/{name}.tif', pixels)
    (tmp_path / 'images/broken.tif').write_bytes(b'II*')
    tool, options = REPO / 'tools/restore.py', ('--recursive', '--quiet')
    both = run_workers(tmp_path, tool, 2, 'images', 'two', *options)
    assert both.stderr.count('failed: images/broken.tif') == 1  # by the process whose it was
    assert both.returncode != 0
    one = run(tmp_path, 'restore.py', 'images', 'one', *options, '--workers', 1)
    assert one.returncode == 2, one.stderr
    names = {p.relative_to(tmp_path / 'one') for p in (tmp_path / 'one').rglob('*.tif')}
    assert len(names) == 5
    assert names == {p.relative_to(tmp_path / 'two') for p in (tmp_path / 'two').rglob('*.tif')}
    for name in names:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()


@pytest.mark.slow
def test_a_broken_file_does_not_end_the_other_processes_of_torchrun(tmp_path):
    """torchrun ends all of them when one has ended with another status than 0."""
    (tmp_path / 'images').mkdir()
    for name in 'ace':  # every second file: all of the first process's share
        (tmp_path / f'images/{name}.tif').write_bytes(b'II*')
    for name in 'bd':
        tifffile.imwrite(tmp_path / f'images/{name}.tif', micrograph((1000, 1000)))
    both = run_workers(tmp_path, REPO / 'tools/restore.py', 2, 'images', 'out', '--quiet')
    assert both.returncode != 0 and both.stderr.count('failed: ') == 3
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['b.tif', 'd.tif']


def test_a_file_where_a_folder_should_be(main, folder, tmp_path, capsys):
    for arguments in (['images/a.tif', 'images/b.tif/o.tif'], ['images', 'images/b.tif']):
        before = (folder / 'b.tif').read_bytes()
        assert main([*arguments, '--workers', '1', '--quiet']) == 2
        said = capsys.readouterr().err
        assert 'b.tif: is a file; give a folder to write into' in said and 'Traceback' not in said
        assert (folder / 'b.tif').read_bytes() == before
