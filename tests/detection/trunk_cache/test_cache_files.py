"""Files of a cache: whole, or refused by name; written whole, or not at all."""

import errno
import json
import os
import re
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch

from mmclarity.detection.trunk_cache import CacheWriter, TrunkCache, files
from mmclarity.detection.trunk_cache import files as cache_files
from mmclarity.errors import UsageError
from mmclarity.utils import files as utils_files
from mmclarity.utils import parts


def test_a_cache_cut_off_is_refused(copy):
    os.truncate(copy / 'maps.bin', (copy / 'maps.bin').stat().st_size - 1)
    with pytest.raises(UsageError, match='cut off.*make it anew'):
        TrunkCache(copy)


def test_a_cache_that_is_cut_off_while_it_is_read_is_named(copy):
    cache = TrunkCache(copy)
    os.truncate(copy / 'maps.bin', cache.entries[-1]['offset'] + 5)
    cache.read(0)
    with pytest.raises(UsageError, match='maps.bin has become shorter'):
        cache.read(len(cache) - 1)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
@pytest.mark.parametrize('memory', [1, 1 << 60])
def test_what_was_written_is_read_whatever_memory_holds(dtype, memory, tmp_path, monkeypatch):
    """Three numbers of two bytes leave the boxes behind them at an odd place; one has no boxes."""
    monkeypatch.setattr(cache_files, 'memory_of_machine', lambda: memory)
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    samples = [
        (
            [torch.rand(3, 1, 1).to(kind), torch.rand(1, 5, 2).to(kind)],
            torch.rand(n, 4),
            torch.rand(n),
        )
        for n in (0, 1, 3)
    ]
    manifest = dict(trunk='', settings='')
    with CacheWriter(tmp_path / 'c', manifest, count=3, dtype=dtype) as writer:
        for number, (maps, boxes, scores) in enumerate(samples):
            writer.add(maps, boxes, scores, dict(number=number))
    cache = TrunkCache(tmp_path / 'c')
    for number in (2, 0, 1, 2):
        maps, boxes, scores, sample = cache.read(number)
        wanted = samples[number]
        assert all(map(torch.equal, maps, wanted[0])) and maps[0].dtype == kind
        assert torch.equal(boxes, wanted[1]) and torch.equal(scores, wanted[2])
        assert sample == dict(number=number)


@pytest.mark.parametrize('name', ['maps.bin', 'index.jsonl', 'manifest.json'])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(UsageError, match=f'^{re.escape(str(copy))} is no .*no {name}.*cache_trunk'):
        TrunkCache(copy)


def test_damaged_text_is_named(copy):
    text = (copy / 'index.jsonl').read_text()
    (copy / 'index.jsonl').write_text(text[:-20])
    with pytest.raises(UsageError, match='index.jsonl is damaged or cut off'):
        TrunkCache(copy)
    (copy / 'manifest.json').write_text(json.dumps(dict(format=99)))
    with pytest.raises(UsageError, match='format 99'):
        TrunkCache(copy)


def add(writer):
    writer.add([torch.zeros(2, 3, 4)], torch.zeros(5, 4), torch.zeros(5), dict(meta={}))


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(files.shutil, 'disk_usage', lambda path: usage(2, 1, 1 << 20))
    with pytest.raises(UsageError, match='would take about .* GB, but only 0.0 GB'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 10**6) as writer:
            add(writer)
    assert not any(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    class Full:
        def writelines(self, parts):
            raise OSError(errno.ENOSPC, 'No space left on device')

        def close(self):
            pass

    with pytest.raises(UsageError, match='the disk is full'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as writer:
            add(writer)
            writer._maps.close()
            writer._maps = Full()
            add(writer)
    assert not any(tmp_path.iterdir())


def test_two_writers_of_one_cache_do_not_meet(tmp_path):
    with pytest.raises(FileExistsError, match='made by somebody else meanwhile'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as first:
            add(first)
            with CacheWriter(tmp_path / 'cache', dict(trunk='second'), 1) as second:
                add(second)
                assert first.part != second.part
            add(first)
    assert [path.name for path in tmp_path.iterdir()] == ['cache']
    assert TrunkCache(tmp_path / 'cache').manifest['trunk'] == 'second'


def test_what_a_killed_writer_left_goes_and_a_living_one_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, '_swept', set())
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    left, alive = (
        tmp_path / f'.cache.{utils_files.host()}-{pid}-01234567.part'
        for pid in (ended.pid, os.getppid())
    )
    for folder in (left, alive):
        folder.mkdir()
        (folder / 'maps.bin').write_bytes(b'x')
    with CacheWriter(tmp_path / 'cache', {}, 1) as writer:
        add(writer)
    assert {path.name for path in tmp_path.iterdir()} == {'cache', alive.name}


def test_a_writer_that_stops_early_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as writer:
            add(writer)
            raise KeyboardInterrupt
    with pytest.raises(ValueError, match='2 samples were announced, 1 came'):  # noqa: SIM117
        with CacheWriter(tmp_path / 'cache', {}, 2) as writer:
            add(writer)
    assert not any(tmp_path.iterdir())


def test_what_is_written_is_read(tmp_path):
    maps = [torch.randn(2, 6, 8).bfloat16(), torch.randn(2, 3, 4).bfloat16()]
    boxes, scores = torch.rand(5, 4) * 600, torch.rand(5)
    with CacheWriter(tmp_path / 'cache', dict(trunk='x'), 2) as writer:
        writer.add(maps, boxes, scores, dict(meta=dict(a=np.float64(0.1), b=(1, 2))))
        writer.add(maps[::-1], boxes[:0], scores[:0], dict(meta={}))
    cache = TrunkCache(tmp_path / 'cache')
    assert cache.manifest['trunk'] == 'x' and len(cache) == 2
    got, got_boxes, got_scores, sample = cache.read(0)
    assert all(torch.equal(a, b) for a, b in zip(got, maps, strict=True))
    assert torch.equal(got_boxes, boxes) and torch.equal(got_scores, scores)
    assert sample == dict(meta=dict(a=0.1, b=[1, 2]))
    assert cache.read(1)[1].shape == (0, 4)
    with pytest.raises(UsageError, match='exists already'):
        CacheWriter(tmp_path / 'cache', {}, 2)
    with pytest.raises(UsageError, match='dtype'):
        CacheWriter(tmp_path / 'other', {}, 2, 'int8')
