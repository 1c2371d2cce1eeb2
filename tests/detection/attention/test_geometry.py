"""Relative geometry of pairs of boxes."""

import math

import pytest
import torch

from mmclarity.detection.attention import BoxEmbedding, PairGeometryEncoder, relative_geometry


def boxes(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, n, 2, generator=g, dtype=torch.float64) * 100
    size = torch.rand(2, n, 2, generator=g, dtype=torch.float64) * 50 + 1
    return torch.cat([corner, corner + size], -1)


def test_values_of_a_hand_made_pair():
    """Query 10x20 at (15, 30), key 20x5 at (5, 70): one width left, two heights below."""
    query = torch.tensor([[10.0, 20, 20, 40]])
    key = torch.tensor([[-5.0, 67.5, 15, 72.5]])
    expected = torch.tensor([-math.log(2), math.log(3), math.log(2), math.log(0.25)])
    torch.testing.assert_close(relative_geometry(query, key)[0, 0], expected)


def test_rows_are_queries_and_columns_keys():
    q, k = boxes(3), boxes(5, 1)
    out = relative_geometry(q, k)
    assert out.shape == (2, 3, 5, 4)
    for n in range(3):
        for m in range(5):
            one = relative_geometry(q[:, n : n + 1], k[:, m : m + 1])[:, 0, 0]
            torch.testing.assert_close(out[:, n, m], one)


def test_unchanged_by_a_common_shift_and_scale_only():
    q, k = boxes(4), boxes(6, 1)
    shift = torch.tensor([7.0, -3, 7, -3], dtype=torch.float64)
    torch.testing.assert_close(
        relative_geometry(q * 2.5 + shift, k * 2.5 + shift), relative_geometry(q, k)
    )
    assert (relative_geometry(q, k + shift) - relative_geometry(q, k)).abs().max() > 0.01


def test_a_box_and_itself_is_zero_and_sides_differ_in_sign():
    q = boxes(3)
    own = relative_geometry(q, q).diagonal(dim1=1, dim2=2)
    assert not own.any()
    same_size = torch.tensor([[0.0, 0, 10, 10], [30, 0, 40, 10]])
    out = relative_geometry(same_size, same_size)
    assert out[0, 1, 0] == -out[1, 0, 0] > 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_boxes_without_area_and_half_precision_are_finite(dtype):
    flat = torch.tensor([[5, 5, 5, 5], [0, 0, 1280, 720], [9, 2, 3, 1]], dtype=dtype)
    out = relative_geometry(flat, flat)
    assert out.isfinite().all()
    assert out.dtype == torch.promote_types(dtype, torch.float32)


def test_embedding_of_a_pair_is_sines_then_cosines_of_each_value():
    encoder = PairGeometryEncoder(hidden_dims=5, num_frequencies=3).double()
    wavelengths = [0.25, 2.0, 16.0]
    assert encoder.frequency.tolist() == pytest.approx([2 * math.pi / w for w in wavelengths])
    q, k = boxes(2), boxes(3, 1)
    four = relative_geometry(q, k)[1, 0, 2].tolist()
    phases = [v * f for v in four for f in encoder.frequency.tolist()]
    row = torch.tensor(
        [math.sin(p) for p in phases] + [math.cos(p) for p in phases], dtype=torch.float64
    )
    expected = (encoder.hidden.weight @ row + encoder.hidden.bias).clamp(min=0)
    torch.testing.assert_close(encoder.embed(q, k)[1, 0, :, 2], expected)


def test_the_frequencies_are_not_in_checkpoints():
    assert set(PairGeometryEncoder().state_dict()) == {'hidden.weight', 'hidden.bias'}


def test_contract_without_keys_or_queries():
    encoder = PairGeometryEncoder()
    some, none = torch.rand(2, 3, 4), torch.rand(2, 0, 4)
    assert encoder.contract(some, none, lambda h: h.sum(3)).shape == (2, 3, 32)
    assert encoder.contract(none, some, lambda h: h.sum(3)).shape == (2, 0, 32)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_box_embedding_tells_boxes_apart_and_is_finite(dtype):
    torch.manual_seed(0)
    embed = BoxEmbedding(16)
    left, right = [[c, 8, c + 8, 40] for c in (0, 16)]
    out = embed(
        torch.tensor(
            [left, right, [5, 5, 5, 5], [0, 0, 8192, 4096], [9, 2, 3, 1], left], dtype=dtype
        )
    )
    assert out.isfinite().all() and out.dtype == torch.float32
    # Matrix products of some processors round a row by where it stands.
    torch.testing.assert_close(out[0], out[5])
    assert (out[0] - out[1]).abs().max() > 0.1
    assert embed(torch.zeros(0, 4)).shape == (0, 16)


def test_wavelengths_of_the_box_embedding():
    """From 32 to 4096 pixels for the centre, from half an octave to 16 for the size."""
    embed = BoxEmbedding(4)
    torch.testing.assert_close(
        2 * math.pi / embed.centre_frequency,
        torch.tensor([32.0, 64, 128, 256, 512, 1024, 2048, 4096]),
    )
    torch.testing.assert_close(
        2 * math.pi / embed.size_frequency, torch.tensor([0.5, 1, 2, 4, 8, 16])
    )
