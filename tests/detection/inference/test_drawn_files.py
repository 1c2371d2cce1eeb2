"""Pictures of an earlier run do not lie among those of a later one; nobody else's are touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmclarity.cli.detect import main
from mmclarity.detection.inference.drawn_files import noted, remove_stale, strangers


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())


@pytest.fixture
def drawn(tmp_path):
    """A folder with some files."""
    folder = tmp_path / 'out/drawn'
    for name in ('a.jpg', 'B.png', 'drive/000000.jpg', 'drive/000001.jpg', 'other/0.jpg', '.DS'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_only_what_was_noted_and_is_not_drawn_anew_goes(drawn):
    earlier = ['a.jpg', 'B.png', 'drive/000000.jpg', 'drive/000001.jpg', 'gone.jpg']
    assert remove_stale(drawn, earlier, [drawn / 'a.jpg']) == 3
    assert files(drawn) == ['.DS', 'a.jpg', 'other/0.jpg']
    assert not (drawn / 'drive').exists()
    assert strangers(drawn, [drawn / 'a.jpg']) == ['other/0.jpg']


def test_folders_with_other_files_stay(drawn):
    (drawn / 'drive/notes.txt').write_text('mine')
    assert remove_stale(drawn, ['drive/000000.jpg', 'drive/000001.jpg'], []) == 2
    assert files(drawn / 'drive') == ['notes.txt']


def test_names_that_lead_out_or_are_of_another_kind_are_left(drawn):
    """A file of notes may have been changed by hand."""
    outside, text = drawn.parent / 'mine.jpg', drawn / 'notes.txt'
    outside.write_text('mine'), text.write_text('mine')
    (drawn / 'linked').symlink_to(drawn.parent)
    names = ['../mine.jpg', str(outside), 'linked/mine.jpg', 'notes.txt', 'drive', '', '.']
    assert remove_stale(drawn, names, []) == 0
    assert outside.exists() and text.exists() and (drawn / 'drive').is_dir()


def test_one_file_of_two_names_is_kept(drawn):
    """As where A.jpg and a.jpg are the same."""
    (drawn / 'A.jpg').hardlink_to(drawn / 'a.jpg')
    assert remove_stale(drawn, ['a.jpg'], [drawn / 'A.jpg']) == 0 and (drawn / 'a.jpg').exists()


@pytest.mark.parametrize(
    'content', [None, '', '[]', '{}', '{"info": []}', '{"info": {"drawn": 3}}']
)
def test_notes_that_are_none(content, tmp_path):
    if content is not None:
        (tmp_path / 'a.json').write_text(content)
    assert noted(tmp_path / 'a.json') == []


def test_a_run_on_fewer_images(own, scene, tmp_path, capsys):
    source, out = tmp_path / 'in', tmp_path / 'out'
    source.mkdir()
    for name in ('a.png', 'b.png', 'c.bmp'):
        cv2.imwrite(str(source / name), scene)
    given = [str(source), '--out', str(out), *own]
    assert main(given) == 0
    assert 'removed' not in capsys.readouterr().out
    assert files(out / 'drawn') == ['a.png', 'b.png', 'c.bmp.jpg']
    mine = out / 'drawn/mine.png'
    shutil.copy(source / 'a.png', mine)
    (source / 'b.png').unlink(), (source / 'c.bmp').unlink()

    assert main([*given, '--overwrite', '--no-draw']) == 0  # draws nothing, so touches nothing
    said = capsys.readouterr()
    assert 'removed' not in said.out
    assert 'left as it was: drawn/a.png, drawn/b.png, drawn/c.bmp.jpg and 1 more' in said.err

    assert main([*given, '--overwrite']) == 0
    said = capsys.readouterr()
    assert 'removed: 2 drawn files of an earlier run' in said.out
    assert f'{out}: not of this run, and left as it was: drawn/mine.png' in said.err
    assert files(out / 'drawn') == ['a.png', 'mine.png']
    assert json.loads((out / 'detections.coco.json').read_text())['info'] == {'drawn': ['a.png']}


def test_videos_and_their_frames_take_turns(own, video, scene, tmp_path):
    video(tmp_path / 'drive.avi', [np.roll(scene, 8 * i, 1) for i in range(3)])
    out = tmp_path / 'out'
    given = [str(tmp_path / 'drive.avi'), '--out', str(out), *own, '--overwrite']
    assert main(given) == 0
    assert files(out / 'drawn') == ['drive.mp4']
    assert main([*given, '--frames']) == 0
    assert files(out / 'drawn') == [f'drive/00000{i}.jpg' for i in range(3)]
    assert main([*given, '--frames', '--max-images', '2']) == 0
    assert files(out / 'drawn') == [f'drive/00000{i}.jpg' for i in range(2)]
    assert main(given) == 0
    assert [path.name for path in (out / 'drawn').iterdir()] == ['drive.mp4']


def test_a_page_of_attention_that_is_older_is_named(own, scene, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), scene)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/attention.html').write_text('older')
    assert main([str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out'), *own]) == 0
    assert 'left as it was: attention.html' in capsys.readouterr().err


ASCII = """
import sys
from pathlib import Path
import numpy as np
from mmclarity.detection.inference.detections import Detections
from mmclarity.detection.inference.drawn_files import noted
from mmclarity.detection.inference.outputs import Results
from mmclarity.detection.inference.sources import Picture
from mmclarity.utils.names import as_text
assert sys.getfilesystemencoding() == 'ascii'
nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ('a',))
for name in sys.argv[2:]:
    results = Results(sys.argv[1], ('a',), overwrite=True)
    results.add(Picture(as_text(name), np.zeros((9, 9, 3), np.uint8)), nothing, draw=True)
    results.write()
    assert not results.strangers
    print(ascii(noted(Path(sys.argv[1], 'detections.coco.json'))), results.removed)
"""


@pytest.mark.skipif(os.name != 'posix', reason='elsewhere names are UTF-8 always')
def test_names_of_other_letters_than_the_locale_has(tmp_path):
    """The drawn file has the bytes of the image's name (it ended with a UnicodeEncodeError)."""
    locale = dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    projects = Path(__file__).resolve().parents[3] / 'projects'
    done = subprocess.run(
        [sys.executable, '-c', ASCII, str(tmp_path / 'out'), 'ä.jpg', 'ö.jpg'],
        capture_output=True,
        text=True,
        env={**os.environ, **locale, 'PYTHONPATH': str(projects)},
    )
    assert done.stdout.splitlines() == [r"['\xe4.jpg'] 0", r"['\xf6.jpg'] 1"], done.stderr
    assert files(tmp_path / 'out/drawn') == ['ö.jpg']
