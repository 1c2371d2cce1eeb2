"""Files are written whole or not at all, whatever goes wrong."""

import errno
import multiprocessing
import os
import signal
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mmclarity.errors import OutputError, UsageError
from mmclarity.utils import disk, files, parts
from tests.running import session

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def forget_swept(monkeypatch):
    monkeypatch.setattr(parts, '_swept', set())


def names(folder):
    return sorted(os.listdir(folder))


def test_the_new_content_appears_at_the_end_only(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with files.replacing(path) as part:
        part.write_text('new')
        assert path.read_text() == 'old'
        assert part.parent == tmp_path and part.name.startswith('.') and part.suffix == '.part'
    assert path.read_text() == 'new'
    assert names(tmp_path) == ['a.txt']


@pytest.mark.parametrize('error', [KeyError('x'), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_leaves_the_old_file_and_no_part(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(type(error)), files.replacing(path) as part:
        part.write_text('half')
        raise error
    assert path.read_text() == 'old'
    assert names(tmp_path) == ['a.txt']


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / 'a'
    with files.replacing(path) as first, files.replacing(path) as second:
        assert first != second
        first.write_text('first')
        second.write_text('second')
    assert path.read_text() == 'first'  # moved last
    assert names(tmp_path) == ['a']


def test_existing_files_stay_unless_asked(tmp_path):
    path = tmp_path / 'a'
    path.write_text('old')
    with pytest.raises(FileExistsError, match='exists already'):
        files.write_text(path, 'new', overwrite=False)
    with (
        pytest.raises(FileExistsError, match='meanwhile'),
        files.replacing(tmp_path / 'b', overwrite=False) as part,
    ):
        part.write_text('mine')
        (tmp_path / 'b').write_text('theirs')
    assert (tmp_path / 'b').read_text() == 'theirs'
    assert names(tmp_path) == ['a', 'b']


def test_without_links_a_new_file_is_renamed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, 'no links here')

    monkeypatch.setattr(os, 'link', refuse)
    files.write_text(tmp_path / 'a', 'new', overwrite=False)
    assert (tmp_path / 'a').read_text() == 'new'
    assert names(tmp_path) == ['a']


def test_folders(tmp_path):
    path = tmp_path / 'x' / 'y' / 'a'
    with pytest.raises(FileNotFoundError, match='no folder'):
        files.write_text(path, '')
    files.write_text(path, 'new', parents=True, durable=True)
    assert path.read_text() == 'new'
    with pytest.raises(OutputError, match='is a folder'):
        files.write_text(tmp_path, 'new')
    with pytest.raises(OutputError, match=r'y/a is a file, not a folder'):
        files.write_text(path / 'below', 'new', parents=True)
    with pytest.raises(OutputError, match=r'y/a is a file, not a folder|its folder cannot be made'):
        files.write_text(path / 'far' / 'below', 'new', parents=True)


def test_rights_and_links_are_kept(tmp_path):
    real = tmp_path / 'real'
    real.write_text('old')
    real.chmod(0o640)
    (tmp_path / 'link').symlink_to(real)
    files.write_text(tmp_path / 'link', 'new')
    assert (tmp_path / 'link').is_symlink()
    assert real.read_text() == 'new'
    assert real.stat().st_mode & 0o777 == 0o640
    mask = os.umask(0o027)
    try:
        files.write_text(tmp_path / 'fresh', '')
    finally:
        os.umask(mask)
    assert (tmp_path / 'fresh').stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != 'posix', reason='rights of groups and others')
def test_weights_are_for_all_who_may_read_the_folder(tmp_path):
    """safetensors puts a file of its own in the place of the part, for its owner alone."""
    from safetensors.torch import load_file, save_file

    mask = os.umask(0o022)
    try:
        for _ in range(2):
            with files.replacing(tmp_path / 'own.safetensors') as part:
                save_file({'a': torch.ones(2)}, part)
            assert (tmp_path / 'own.safetensors').stat().st_mode & 0o777 == 0o644
        (tmp_path / 'own.safetensors').chmod(0o600)  # somebody wants it so
        with files.replacing(tmp_path / 'own.safetensors') as part:
            save_file({'a': torch.ones(2)}, part)
    finally:
        os.umask(mask)
    assert (tmp_path / 'own.safetensors').stat().st_mode & 0o777 == 0o600
    assert load_file(tmp_path / 'own.safetensors')['a'].tolist() == [1, 1]


def test_a_device_is_written_to_and_not_replaced():
    files.write_text('/dev/null', 'gone')
    assert not Path('/dev/null').is_file()


def test_long_names(tmp_path):
    for name in ('x' * 255, 'ä' * 127):
        files.write_text(tmp_path / name, 'whole')
        assert (tmp_path / name).read_text() == 'whole'
    assert len(names(tmp_path)) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_no_permission_names_the_file_not_the_part(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match=r'a\.txt: cannot be written: Permission'):
        files.write_text(tmp_path / 'a.txt', '')


def test_an_error_about_the_part_names_the_file(tmp_path):
    path = tmp_path / 'a.txt'
    with (
        pytest.raises(OutputError, match=r'a\.txt: cannot be written: Input/output'),
        files.replacing(path) as part,
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(part))


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_in_one_message(tmp_path, monkeypatch, code):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    monkeypatch.setattr(disk, '_free', lambda folder: 5_000_000)
    with pytest.raises(OutputError) as caught, files.replacing(path) as part:
        part.write_bytes(bytes(2_300_000))
        raise OSError(code, os.strerror(code))
    text = str(caught.value)
    assert str(path) in text and 'more than 2.3 MB needed' in text and '5 MB free' in text
    assert path.read_bytes() == b'old'
    assert names(tmp_path) == ['a.bin']
    assert isinstance(caught.value, UsageError) and isinstance(caught.value, OSError)


def test_full_disk_behind_a_library_that_gives_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, '_free', lambda folder: 1000)
    with pytest.raises(OutputError, match='disk is full'), files.replacing(tmp_path / 'a'):
        raise RuntimeError('[enforce fail at inline_container.cc:603] . unexpected pos')
    with pytest.raises(ValueError, match='a fault of the content'), files.replacing(tmp_path / 'a'):
        raise ValueError('a fault of the content')


def _limited(code):
    """Run code in a process that may write files of 100 kB at most."""
    prefix = (
        'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n'
        'import numpy as np, torch, io\nfrom mmclarity.utils import files\n'
        'from mmclarity.errors import OutputError\n'
    )
    return session(prefix + textwrap.dedent(code))


@pytest.mark.parametrize(
    'write',
    [
        'part.write_bytes(bytes(300_000))',
        "np.savez(part.open('wb'), a=np.arange(100_000))",
        'torch.save(torch.zeros(100_000), part.open("wb"))',
    ],
)
def test_a_limit_of_the_system_really_met(tmp_path, write):
    target = tmp_path / 'a.bin'
    target.write_bytes(b'old')
    done = _limited(
        f"""
        try:
            with files.replacing({str(target)!r}) as part:
                {write}
        except OutputError as error:
            print(error)
        """
    )
    assert 'larger than this file system or "ulimit -f" allows' in done.stdout, done.stderr
    assert str(target) in done.stdout
    assert target.read_bytes() == b'old'
    assert names(tmp_path) == ['a.bin']


def test_room_is_checked_beforehand(tmp_path):
    files.check_room(tmp_path / 'not' / 'there', 1000)
    with pytest.raises(OutputError, match=r'1e\+03 TB needed|1000 TB needed'):
        files.check_room(tmp_path, 10**15)


def _killed_writer(path, begun):
    with files.replacing(path) as part:
        part.write_text('half')
        begun.set()
        time.sleep(600)


def test_parts_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path):
    context = multiprocessing.get_context('fork')
    begun = [context.Event(), context.Event()]
    writers = [
        context.Process(target=_killed_writer, args=(tmp_path / f'{i}', begun[i]), daemon=True)
        for i in (0, 1)
    ]
    for writer, event in zip(writers, begun):
        writer.start()
        assert event.wait(300)
    os.kill(writers[0].pid, signal.SIGKILL)
    writers[0].join()
    try:
        assert len(names(tmp_path)) == 2
        files.write_text(tmp_path / 'other', '')
        left = names(tmp_path)
        assert len(left) == 2 and 'other' in left
        assert f'-{writers[1].pid}-' in left[0]
    finally:
        writers[1].kill()
        writers[1].join()


def test_parts_of_other_machines_stay_for_a_week(tmp_path):
    new, old = (tmp_path / f'.{i}.elsewhere-12-0123abcd.part' for i in 'ab')
    foreign = tmp_path / '.something.part'
    for path in (new, old, foreign):
        path.touch()
    for path in (old, foreign):
        os.utime(path, (0, 0))
    assert files.sweep(tmp_path) == [old]
    assert names(tmp_path) == ['.a.elsewhere-12-0123abcd.part', '.something.part']
    assert files.sweep(tmp_path) == []


def test_listing_leaves_out_what_systems_put_there(tmp_path):
    for name in ('b.JPG', 'a.jpg', '._a.jpg', '.DS_Store', 'Thumbs.db', 'desktop.ini', 'c.txt'):
        (tmp_path / name).touch()
    for folder in ('sub', '__MACOSX', '.git', 'looks_like.jpg'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'd.jpg').touch()
    assert files.listing(tmp_path, ['.jpg']) == [tmp_path / 'a.jpg', tmp_path / 'b.JPG']
    assert [path.name for path in files.listing(tmp_path)] == ['a.jpg', 'b.JPG', 'c.txt']
    deep = files.listing(tmp_path, ['.jpg'], recursive=True)
    assert [str(path.relative_to(tmp_path)) for path in deep] == [
        'a.jpg',
        'b.JPG',
        'looks_like.jpg/d.jpg',
        'sub/d.jpg',
    ]
    with pytest.raises(FileNotFoundError, match='no such folder'):
        files.listing(tmp_path / 'none')
    with pytest.raises(NotADirectoryError, match='is a file'):
        files.listing(tmp_path / 'a.jpg')


@pytest.mark.parametrize(
    ('count', 'text'),
    [(0, '0 bytes'), (999, '999 bytes'), (1000, '1 kB'), (2_345_678, '2.35 MB'),
     (999_900_000, '1 GB'), (3 * 10**12, '3 TB')],
)  # fmt: skip
def test_sizes_in_words(count, text):
    assert files.readable_size(count) == text


def test_arrays_and_weights_through_a_part(tmp_path):
    with files.replacing(tmp_path / 'a.npz') as part, part.open('wb') as file:
        np.savez(file, a=np.arange(3))
    with np.load(tmp_path / 'a.npz') as loaded:
        assert loaded['a'].tolist() == [0, 1, 2]
    with files.replacing(tmp_path / 'a.pth', durable=True) as part:
        torch.save(torch.ones(2), part)
    assert torch.load(tmp_path / 'a.pth').tolist() == [1, 1]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path, monkeypatch):
    (tmp_path / 'in/deep').mkdir(parents=True)
    (tmp_path / 'other').mkdir()
    for name in ('in/a.tif', 'in/deep/b.tif', 'other/c.tif'):
        (tmp_path / name).touch()
    (tmp_path / 'in/up').symlink_to('../in')
    (tmp_path / 'in/deep/up').symlink_to('../..')
    (tmp_path / 'in/linked').symlink_to('../other')
    (tmp_path / 'other/back').symlink_to('../in')
    monkeypatch.chdir(tmp_path)
    for folder in ('in', tmp_path / 'in'):
        found = [path.relative_to(folder) for path in files.listing(folder, recursive=True)]
        assert [str(path) for path in found] == ['a.tif', 'deep/b.tif', 'linked/c.tif']
