"""Attention among the cells of one region."""

import math

import pytest
import torch

from mmclarity.detection.attention import IntraRegionAttention


def randomised(**kwargs):
    torch.manual_seed(0)
    module = IntraRegionAttention(**kwargs).double()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0, 0.4)
    return module


def linear(layer, row):
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    return [
        b + sum(w * r for w, r in zip(line, row)) for line, b in zip(layer.weight.tolist(), bias)
    ]


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def head_output(module, head, query, keys, values):
    """What one head writes for one cell: attention, or a lambda shared by all heads."""
    if module.kind == 'attention':
        kdim, vdim = len(keys[0]) // module.num_heads, len(values[0]) // module.num_heads
        ks = [k[head * kdim : (head + 1) * kdim] for k in keys]
        q = query[head * kdim : (head + 1) * kdim]
        w = softmax([sum(a * b for a, b in zip(q, k)) / module.temperature for k in ks])
        return [sum(wm * v[head * vdim + j] for wm, v in zip(w, values)) for j in range(vdim)]
    kdim = len(keys[0])
    out = [0.0] * len(values[0])
    for k in range(kdim):
        shares = softmax([key[k] for key in keys])
        for j in range(len(out)):
            lam = sum(s * v[j] for s, v in zip(shares, values))
            out[j] += query[head * kdim + k] * lam
    return out


def reference(module, x):
    """One region and one cell at a time; x is (N, C, S, S)."""
    out = x.clone()
    for n in range(len(x)):
        cells = [x[n, :, i, j].tolist() for i in range(x.size(2)) for j in range(x.size(3))]
        placed = [[a + b for a, b in zip(c, p)] for c, p in zip(cells, module.position.tolist())]
        keys = [linear(module.k_proj, c) for c in placed]
        values = [linear(module.v_proj, c) for c in cells]
        for m, cell in enumerate(cells):
            query = linear(module.q_proj, placed[m])
            row = [
                v
                for head in range(module.num_heads)
                for v in head_output(module, head, query, keys, values)
            ]
            if module.residual:
                row = [a + b for a, b in zip(cell, linear(module.out_proj, row))]
            out[n, :, m // x.size(3), m % x.size(3)] = torch.tensor(row, dtype=x.dtype)
    return out


@pytest.mark.parametrize('kind', ['attention', 'lambda'])
@pytest.mark.parametrize('heads,temperature', [(1, None), (2, None), (2, 0.32)])
@pytest.mark.parametrize('residual,value_dims', [(True, None), (True, 6), (False, None)])
def test_equals_its_equation(kind, heads, temperature, residual, value_dims):
    module = randomised(
        in_channels=4,
        roi_feat_size=3,
        kind=kind,
        num_heads=heads,
        key_dims=3,
        value_dims=value_dims,
        temperature=temperature,
        residual=residual,
    )
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(module(x), reference(module, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('kind', ['attention', 'lambda'])
def test_starts_as_the_identity_and_keeps_regions_apart(kind):
    x = torch.randn(5, 8, 7, 7)
    assert torch.equal(IntraRegionAttention(8, kind=kind)(x), x)
    module = randomised(in_channels=8, kind=kind)
    x = x.double()
    alone = torch.cat([module(x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(module(x), alone)


@pytest.mark.parametrize('kind', ['attention', 'lambda'])
@pytest.mark.parametrize('count', [0, 3])
def test_gradients_reach_every_parameter(kind, count):
    module = randomised(in_channels=8, kind=kind)
    x = torch.randn(count, 8, 7, 7, dtype=torch.float64, requires_grad=True)
    out = module(x)
    assert out.shape == x.shape
    out.square().sum().backward()
    for name, p in module.named_parameters():
        assert p.grad is not None, name
        assert bool(p.grad.abs().sum() > 0) == (count > 0), name


def test_works_on_channels_last_features():
    module = randomised(in_channels=8)
    x = torch.randn(3, 8, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(module(x.to(memory_format=torch.channels_last)), module(x))


@pytest.mark.parametrize('kind', ['attention', 'lambda'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_finite_at_a_low_temperature(kind, dtype):
    torch.manual_seed(0)
    module = IntraRegionAttention(64, kind=kind, temperature=0.32)
    torch.nn.init.normal_(module.out_proj.weight, std=0.05)
    x = torch.randn(20, 64, 7, 7) * 5
    with torch.autocast('cpu', dtype):
        out = module(x)
        out.sum().backward()
    assert out.dtype == x.dtype and out.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    'kwargs,match',
    [
        (dict(kind='conv'), "'attention' or 'lambda'"),
        (dict(in_channels=10, num_heads=4, residual=False), 'divisible'),
        (dict(in_channels=8, value_dims=6), 'divisible'),
        (dict(in_channels=8, value_dims=0), 'divisible'),
        (dict(in_channels=8, value_dims=4, residual=False), 'must be in_channels'),
        (dict(temperature=0.0), 'temperature must be positive'),
        (dict(temperature=-1.0), 'temperature must be positive'),
        (dict(temperature=float('nan')), 'temperature must be positive'),
    ],
)
def test_bad_options_are_named(kwargs, match):
    with pytest.raises(ValueError, match=match):
        IntraRegionAttention(**kwargs)


def test_another_cell_grid_is_refused():
    with pytest.raises(ValueError, match='roi_feat_size=7'):
        IntraRegionAttention(8)(torch.randn(2, 8, 14, 14))
