"""A disk that is really full: one line with file and room, and nothing half there."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import dump, register_backend
from mmengine.fileio.backends import LocalBackend

from mmclarity.detection.trunk_cache import CacheWriter
from mmclarity.engine.hooks.checkpoint import write_whole_files
from mmclarity.engine.logs import stop_at_full_disk
from mmclarity.errors import OutputError
from mmclarity.rsa.data.toolbox import save_hdf5
from mmclarity.synthetic.surfaces import make_surfaces
from mmclarity.utils import figures
from mmclarity.utils.files import full_disk_told, write_text
from mmclarity.utils.json_files import write_json
from mmclarity.utils.tables import write_csv
from tests.engine.toy_parts import write_config
from tests.running import run
from tools.dataset_generators import make_murky, make_sem_phantom

ROOM = 24 << 10  # bytes


@pytest.fixture
def disk(tmp_path):
    """A file system of its own with little room."""
    place = tmp_path / 'disk'
    place.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', f'size={ROOM}', 'tmpfs', str(place)]
    if os.name != 'posix' or not hasattr(os, 'geteuid') or os.geteuid() != 0:
        pytest.skip('mounting a small disk needs root')
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip('this machine lets nobody mount a small disk')
    yield place
    subprocess.run(['umount', '-l', str(place)], check=True)


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())


def _figure(path: Path) -> None:
    figure = figures.new_figure(6, 4)
    figure.subplots().imshow(np.random.default_rng(0).random((300, 400)))
    figures.save(figure, path)


def _rdms(path: Path) -> None:
    from mmclarity.rsa import RDMs

    save_hdf5(path, RDMs(np.random.default_rng(0).random((5, 4950))))


def _cache(path: Path) -> None:
    with CacheWriter(path, {}, 1) as writer:
        writer.add([torch.zeros(64, 40, 40)], torch.zeros(5, 4), torch.zeros(5), {})


WRITERS = dict(
    text=lambda path: write_text(path, 'x' * 2 * ROOM),
    csv=lambda path: write_csv(path, 'ab', [[i, i] for i in range(ROOM)]),
    json=lambda path: write_json(path, list(range(ROOM))),
    dump=lambda path: dump(list(range(ROOM)), path.with_suffix('.pkl')),
    figure=lambda path: _figure(path.with_suffix('.png')),
    rsatoolbox=lambda path: _rdms(path.with_suffix('.h5')),
    surfaces=lambda path: make_surfaces(path, train=4, val=1, stimuli=1),
    murky=lambda path: make_murky.make(
        make_murky.parse_args([str(path), '--train', '1', '--val', '1', '--jobs', '1'])
    ),
    phantom=lambda path: make_sem_phantom.make(
        make_sem_phantom.parse_args([str(path), '--train', '1', '--val', '1'])
    ),
    cache=_cache,
)  # fmt: skip


@pytest.fixture
def whole_files():
    write_whole_files()
    yield
    register_backend('local', LocalBackend, force=True, prefixes='')


@pytest.mark.parametrize('kind', list(WRITERS))
def test_a_full_disk_is_told_and_no_piece_is_left(disk, whole_files, monkeypatch, kind):
    monkeypatch.setattr('mmclarity.detection.trunk_cache.files.SPARE_BYTES', -(10**9))
    with pytest.raises(OutputError, match=r'the disk is full: .* needed, .* free') as told:
        WRITERS[kind](disk / 'out')
    assert str(disk / 'out') in str(told.value)
    assert '\n' not in str(told.value)
    for file in _files(disk):  # of a data set, whole files may be there; no last one
        assert '.part' not in file
        assert (disk / file).stat().st_size or file.endswith(make_murky.MARKER)
        assert not file.endswith(('manifest.json', 'made.json', 'out', '.pkl', '.npz', '.bin'))


def test_a_log_without_room_ends_the_run_in_one_line(disk, capsys):
    logger = logging.getLogger('full disk')
    handler = logging.FileHandler(disk / 'a.log')
    logger.addHandler(handler)
    stop_at_full_disk(logger)
    try:
        with pytest.raises(OutputError, match='a.log: the disk is full: .* free'):
            for _ in range(100):
                logger.error('x' * 1000)
    finally:
        logger.removeHandler(handler)
        with full_disk_told(disk / 'a.log'), pytest.raises(OSError, match='No space'):
            handler.close()
    assert 'Logging error' not in capsys.readouterr().err


def test_other_errors_pass(tmp_path):
    with pytest.raises(PermissionError), full_disk_told(tmp_path):
        raise PermissionError(13, 'no')


@pytest.mark.slow
def test_training_and_test_on_a_full_disk(tmp_path, disk):
    config = write_config(tmp_path)
    trained = run(tmp_path, 'train.py', config, '--work-dir', 'work')
    assert trained.returncode == 0, trained.stderr
    checkpoint = tmp_path / 'work' / 'epoch_4.pth'
    (disk / 'fill').write_bytes(b'x' * (ROOM - 4096))
    for ending in (
        ['train.py', config, '--work-dir', disk / 'work'],
        ['test.py', config, checkpoint, '--work-dir', tmp_path / 't', '--out', disk / 'out.pkl'],
        ['test.py', config, checkpoint, '--work-dir', disk / 'test'],
    ):
        done = run(tmp_path, *ending)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 2, done.stderr
        assert 'error: ' in last and 'the disk is full' in last and str(disk) in last, done.stderr
        assert 'Traceback' not in done.stderr
        assert not [f for f in _files(disk) if f.endswith(('.pkl', '.pth', '.part'))]
