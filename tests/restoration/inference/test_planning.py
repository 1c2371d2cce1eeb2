"""Precision, size and overlap of tiles: chosen by the machine and by what sways the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mmclarity.engine.hooks.precision import has_bfloat16_units
from mmclarity.restoration import Restorer
from mmclarity.restoration.general.appraisal import Appraisal
from mmclarity.restoration.general.weights import load_general, restore_general
from mmclarity.restoration.inference import planning
from mmclarity.restoration.inference.planning import (
    EDGE_TOLERANCE,
    GENERAL_OVERLAP,
    best_dtype,
    default_tile,
    measured_overlap,
    memory_of_machine,
)
from mmclarity.restoration.inference.tiling import restore_tiled, tile_weights


def box(reach: int):
    """The mean of (2 reach + 1)^2 pixels, edges repeated: what an edge sways is known exactly."""

    def function(batch: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(batch, (reach,) * 4, mode='replicate')
        return functional.avg_pool2d(padded, 2 * reach + 1, stride=1)

    return function


@pytest.mark.parametrize('reach', [1, 5, 12])
def test_the_overlap_covers_what_an_edge_sways(reach):
    overlap = measured_overlap(box(reach), align=8, tolerance=1e-6)
    assert overlap * 3 // 8 >= reach  # nothing the edge sways has weight
    assert overlap == -(-8 * reach // 3)  # and it is no larger than that


def test_what_an_edge_hardly_sways_is_left_out():
    """A far, faint influence: theory sees 16 pixels, the tolerance lets them go."""

    def function(batch):
        return box(3)(batch) + 1e-4 * box(16)(batch)

    assert measured_overlap(function, 8, tolerance=1e-7) > 2.5 * 13
    assert measured_overlap(function, 8, tolerance=1e-3) <= 8


def test_a_point_needs_no_overlap_and_statistics_of_the_image_have_none():
    assert measured_overlap(lambda batch: batch**2, 16) == 3
    assert measured_overlap(lambda batch: batch - batch.mean(), 16, 1e-6) is None


@pytest.mark.parametrize('noise', [0.02, 0.1, 0.3])
def test_the_overlap_of_the_general_network_is_enough(noise):
    """On pictures that are not the probe, at three levels of noise, with no pixel more."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:608, :416]
    discs = ((rows % 90 - 45) ** 2 + (columns % 70 - 35) ** 2 < 24**2) * 0.6 + 0.2
    image = (discs + noise * random.standard_normal(discs.shape)).astype(np.float32)
    like = Appraisal(0.0, noise**2, 0.0, 0.0, 0.0, 1.0)
    net = load_general()

    def function(batch, spare=(0, 0, 0, 0)):
        with torch.inference_mode():
            return restore_general(net, batch, like, spare=spare)

    whole = restore_tiled(function, image, tile=640)
    cut = dict(tile=224, overlap=GENERAL_OVERLAP, align=net.stride, trims=True)
    assert [t.stop - t.start for t in tile_weights(608, 224, GENERAL_OVERLAP, 16)] == [384, 384]
    tiled = restore_tiled(function, image, **cut)
    assert 0 < np.abs(tiled - whole).max() < EDGE_TOLERANCE
    assert np.sqrt(np.mean((tiled - whole) ** 2)) < EDGE_TOLERANCE / 10


@pytest.mark.parametrize('side', [2049, 2240, 2500, 3000, 4096, 5000, 8192, 20000])
def test_tiles_repeat_little(side):
    """The pixels that are read: at most 15 % more than the image has; fewer are restored."""
    along = sum(t.stop - t.start for t in tile_weights(side, 2048, GENERAL_OVERLAP, 16))
    assert (along / side) ** 2 < 1.15


def test_tiles_are_of_one_size_but_the_last():
    tiles = tile_weights(2248, 1024, 64, 16)
    sizes = [t.stop - t.start for t in tiles]
    assert len(set(sizes[:-1])) == 1 and sizes[0] - sizes[-1] <= 3 * 16
    assert max(sizes) < 832  # three of a third, not two large ones and a repetition


@pytest.mark.skipif(not has_bfloat16_units(), reason='this processor has no bfloat16 units')
def test_bfloat16_by_itself_is_near_float32():
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:256, :256]
    image = 120 + 60 * np.sin(rows / 9) * np.sin(columns / 7) + random.normal(0, 12, (256, 256))
    pixels = image.clip(0, 255).astype(np.uint8)
    assert Restorer().dtype is torch.bfloat16 and Restorer(dtype='float32').dtype is None
    difference = Restorer()(pixels) - Restorer(dtype='float32')(pixels)
    decibels = -10 * np.log10(np.mean(difference.astype(np.float64) ** 2))
    assert decibels > 50, f'bfloat16 is {decibels:.1f} dB from float32'


def test_bfloat16_only_where_units_and_network_are_made_for_it(monkeypatch):
    fine, coarse = nn.Identity(), nn.Identity()
    fine.float32_output = True
    monkeypatch.setattr(planning, 'has_bfloat16_units', lambda: True)
    assert best_dtype(fine, 'cpu') is torch.bfloat16
    assert best_dtype(coarse, 'cpu') is None and best_dtype(fine, 'cuda') is None
    monkeypatch.setattr(planning, 'has_bfloat16_units', lambda: False)
    assert best_dtype(fine, 'cpu') is None


@pytest.mark.parametrize(
    ('memory', 'batch', 'tile'),
    [(64 << 30, 1, 2048), (8 << 30, 1, 1408), (8 << 30, 4, 704), (1 << 26, 1, 256)],
)
def test_tiles_are_as_large_as_memory_allows(monkeypatch, memory, batch, tile):
    monkeypatch.setattr(planning, 'memory_of_machine', lambda device: memory)
    assert default_tile('cpu', batch) == tile


@pytest.mark.parametrize(('memory', 'count'), [(64 << 30, 12), (8 << 30, 3), (1 << 26, 3)])
def test_workers_share_the_memory(monkeypatch, memory, count):
    monkeypatch.setattr(planning, 'memory_of_machine', lambda device: memory)
    assert planning.workers_by_memory() == count


def test_memory_heeds_the_limit_of_a_container(tmp_path):
    whole = memory_of_machine('cpu', str(tmp_path / 'none'))
    assert whole > 1 << 28
    (tmp_path / 'memory.max').write_text('max\n')
    assert memory_of_machine('cpu', str(tmp_path)) == whole
    memory_of_machine.cache_clear()
    (tmp_path / 'memory.max').write_text('1000000\n')
    assert memory_of_machine('cpu', str(tmp_path)) == 1_000_000
    memory_of_machine.cache_clear()
