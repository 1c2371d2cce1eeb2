"""Tiles: weights, equality with the untiled result, memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from mmclarity.restoration.inference.tiling import restore_tiled, tile_weights


@pytest.mark.parametrize('length', [1, 15, 16, 17, 31, 32, 33, 100, 257])
@pytest.mark.parametrize(
    ('tile', 'overlap', 'align'),
    [
        (16, 0, 1), (16, 8, 1), (16, 16, 1), (16, 3, 2), (32, 8, 8), (33, 16, 5), (1, 0, 1),
        (1, 1, 1), (48, 4, 16), (40, 29, 16),
    ],
)  # fmt: skip
def test_weights_sum_to_one_everywhere(length, tile, overlap, align):
    tiles = tile_weights(length, tile, overlap, align)
    total = np.zeros(length)
    for t in tiles:
        assert t.start % align == 0
        assert 0 < t.stop - t.start <= tile + -(-overlap // align) * align
        assert (t.weights >= 0).all() and len(t.weights) == t.stop - t.start
        total[t.start : t.stop] += t.weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert tiles[0].start == 0 and tiles[-1].stop == length
    for a, b in zip(tiles, tiles[1:]):
        assert a.stop - b.start >= overlap
        # nothing within three eighths of the overlap of a false edge is used
        unused = overlap * 3 // 8
        assert not a.weights[len(a.weights) - unused :].any() and not b.weights[:unused].any()
    for t in tiles:
        first, last = t.spare
        assert not t.weights[:first].any() and not t.weights[len(t.weights) - last :].any()
        assert t.weights[first] > 0 and t.weights[-1 - last] > 0


def test_an_image_of_so_many_tiles_is_cut_into_so_many():
    for count in (1, 2, 3, 7):
        assert len(tile_weights(64 * count, 64, 24, 8)) == count


def test_weights_change_gradually():
    for t in tile_weights(2000, 512, 64, 32):
        assert np.abs(np.diff(t.weights)).max() < 0.12


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((0, 8, 2), 'at least 1'),
        ((9, 0, 0), 'at least 1'),
        ((9, 8, 9), '0 to a tile, 8, got 9'),
        ((9, 8, -1), '0 to a tile, 8, got -1'),
        ((90, 30, 10, 32), 'tile=30 is below the stride of the network, 32'),
    ],
)
def test_sizes_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        tile_weights(*arguments)


def blur(batch: torch.Tensor) -> torch.Tensor:
    """Mean of 9 x 9 pixels: what it sees is known exactly."""
    padded = functional.pad(batch, (4, 4, 4, 4), mode='replicate')
    return functional.avg_pool2d(padded, 9, stride=1)


@pytest.mark.parametrize('shape', [(100, 130), (64, 300), (33, 32), (32, 32), (5, 200), (1, 1)])
@pytest.mark.parametrize('batch_size', [1, 4])
def test_equal_to_untiled(shape, batch_size):
    image = np.random.default_rng(0).random(shape, np.float32)
    whole = blur(torch.from_numpy(image)[None, None])[0, 0].numpy()
    calls = []

    def function(batch):
        calls.append(tuple(batch.shape))
        return blur(batch)

    tiled = restore_tiled(function, image, 32, 16, batch_size, align=1)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    assert max(c[0] for c in calls) <= batch_size
    assert max(c[2] for c in calls) <= 48 and max(c[3] for c in calls) <= 48


@pytest.mark.parametrize('batch_size', [1, 3])
def test_what_has_no_weight_is_not_asked_for(batch_size):
    image = np.random.default_rng(0).random((100, 150), np.float32)
    whole = blur(torch.from_numpy(image)[None, None])[0, 0].numpy()
    restored = 0

    def function(batch, spare):
        nonlocal restored
        top, bottom, left, right = spare
        height, width = batch.shape[2:]
        part = blur(batch)[..., top : height - bottom, left : width - right]
        restored += part.numel()
        return part

    tiled = restore_tiled(function, image, 32, 16, batch_size, align=4, trims=True)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    # less than a quarter more than the image, by what is blended; the tiles have more than twice
    assert image.size < restored < 1.25 * image.size
    with pytest.raises(ValueError, match='keeps the size'):
        restore_tiled(lambda batch, spare: batch, image, 32, 16, align=4, trims=True)


def test_equal_to_untiled_for_a_network_that_pools():
    """Tiles start on the network's own grid: a shifted grid would give other values."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(8),
        nn.Conv2d(4, 4, 1),
        nn.Upsample(scale_factor=8),
        nn.Conv2d(4, 1, 1),
    ).eval()
    image = np.random.default_rng(0).random((160, 200), np.float32)
    with torch.no_grad():
        whole = net(torch.from_numpy(image)[None, None])[0, 0].numpy()
        aligned = restore_tiled(net, image, 64, 29, align=8)
    np.testing.assert_allclose(aligned, whole, atol=1e-5)


def test_memory_maps_integers_and_progress(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8)
    source = np.memmap(tmp_path / 'in', np.uint8, 'w+', shape=pixels.shape)
    source[:] = pixels
    out = np.memmap(tmp_path / 'out', np.float32, 'w+', shape=pixels.shape)
    out[:] = np.nan
    told = []
    result = restore_tiled(
        lambda batch: 1 - batch,
        source,
        32,
        8,
        3,
        out,
        lambda done, total: told.append((done, total)),
        align=4,
        scale=255,
    )
    assert result is out
    np.testing.assert_allclose(out, 1 - pixels / 255, atol=1e-6)
    done, totals = zip(*told)
    assert list(done) == sorted(done) and set(totals) == {done[-1]}


def test_memory_does_not_grow_with_height():
    def peak(height: int) -> int:
        image, out = np.zeros((height, 256), np.uint8), np.empty((height, 256), np.float32)
        tracemalloc.start()
        restore_tiled(lambda batch: batch, image, 64, 16, 2, out, align=16)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(4096) < 1.5 * peak(256)


def test_wrong_input_and_wrong_networks():
    image = np.zeros((40, 40), np.float32)
    with pytest.raises(ValueError, match=r'\(H, W\)'):
        restore_tiled(blur, image[None])
    with pytest.raises(ValueError, match=r'\(H, W\)'):
        restore_tiled(blur, image[:0])
    with pytest.raises(ValueError, match='batch_size'):
        restore_tiled(blur, image, batch_size=0)
    for out in (np.empty((40, 41), np.float32), np.empty((40, 40))):
        with pytest.raises(ValueError, match='out must be float32'):
            restore_tiled(blur, image, out=out)
    with pytest.raises(ValueError, match='keeps the size'):
        restore_tiled(lambda batch: batch[..., 1:], image)
    with pytest.raises(ValueError, match='NaN or infinite values for rows 0-15, columns 0-15'):
        restore_tiled(lambda batch: batch / 0, image, 16, 4, 1, align=1)
