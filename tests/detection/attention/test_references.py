"""Every attention among regions equals its equation, written out in Python floats."""

import math

import pytest
import torch

from mmclarity.detection.attention import (
    RegionBatch,
    RegionLambda,
    RegionSelfAttention,
    RegionSourceTargetAttention,
)

# Three images of 4, 0 and 3 regions in no order; region 2 may not serve as context.
IMAGES = [2, 0, 0, 2, 0, 2, 0]
VALID = [True, True, False, True, True, True, True]
DIMS = 6


def make_rois(images, seed=0):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(len(images), 2, generator=g, dtype=torch.float64) * 80
    size = torch.rand(len(images), 2, generator=g, dtype=torch.float64) * 40 + 2
    index = torch.tensor(images, dtype=torch.float64)[:, None]
    return torch.cat([index, corner, corner + size], 1)


def randomise(module, seed=0):
    """Float64, random everywhere: also where the initialisation is zero or one."""
    g = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) * 0.4)
        for name, buffer in module.named_buffers():
            if name.endswith('running_mean'):
                buffer.copy_(torch.randn(buffer.shape, generator=g, dtype=buffer.dtype))
            elif name.endswith('running_var'):
                buffer.copy_(torch.rand(buffer.shape, generator=g, dtype=buffer.dtype) + 0.5)
    return module


def features(n, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, DIMS, generator=g, dtype=torch.float64)


def linear(layer, row):
    weight = layer.weight.tolist()
    bias = [0.0] * len(weight) if layer.bias is None else layer.bias.tolist()
    return [b + sum(w * r for w, r in zip(line, row)) for line, b in zip(weight, bias)]


def softmax(values):
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [p / sum(powers) for p in powers]


def layer_norm(layer, row):
    if not isinstance(layer, torch.nn.LayerNorm):
        return row
    mean = sum(row) / len(row)
    var = sum((r - mean) ** 2 for r in row) / len(row)
    return [
        (r - mean) / math.sqrt(var + layer.eps) * w + b
        for r, w, b in zip(row, layer.weight.tolist(), layer.bias.tolist())
    ]


def hidden_geometry(encoder, query, key):
    """The encoder's hidden features of one pair of boxes (x1, y1, x2, y2)."""
    qw, qh, kw, kh = query[2] - query[0], query[3] - query[1], key[2] - key[0], key[3] - key[1]
    dx = ((key[0] + key[2]) - (query[0] + query[2])) / 2 / qw
    dy = ((key[1] + key[3]) - (query[1] + query[3])) / 2 / qh
    four = [
        math.copysign(math.log(1 + abs(dx)), dx),
        math.copysign(math.log(1 + abs(dy)), dy),
        math.log(kw / qw),
        math.log(kh / qh),
    ]
    phases = [value * f for value in four for f in encoder.frequency.tolist()]
    row = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
    return [max(0.0, h) for h in linear(encoder.hidden, row)]


def located(module, row, box):
    """The row plus sines and cosines of its box (x1, y1, x2, y2), mapped linearly."""
    if module.box_embedding is None:
        return row
    embedding = module.box_embedding
    phases = [
        c * f
        for c in ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        for f in embedding.centre_frequency.tolist()
    ]
    phases += [
        math.log2(s) * f
        for s in (box[2] - box[0], box[3] - box[1])
        for f in embedding.size_frequency.tolist()
    ]
    waves = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
    return [a + b for a, b in zip(row, linear(module.box_embedding.proj, waves))]


def finish(module, x_row, update):
    if not module.residual:
        return update
    return [a + b for a, b in zip(x_row, linear(module.out_proj, update))]


def reference_attention(module, x, rois, src_x, src_rois, src_valid):
    """softmax(q.k / t + log w_g) v for each region and head, and the weights themselves."""
    size = module.embed_dims // module.num_heads
    outputs, all_weights = [], []
    for row, roi in zip(x.tolist(), rois.tolist()):
        q = linear(module.q_proj, located(module, layer_norm(module.norm, row), roi[1:]))
        keys = [
            (r, b)
            for r, b, ok in zip(src_x.tolist(), src_rois.tolist(), src_valid)
            if ok and b[0] == roi[0]
        ]
        update = []
        for head in range(module.num_heads):
            part = slice(head * size, (head + 1) * size)
            logits, values = [], []
            for key_row, box in keys:
                key_row = layer_norm(module.norm, key_row)
                key = linear(module.k_proj, located(module, key_row, box[1:]))
                logit = sum(a * b for a, b in zip(q[part], key[part]))
                logit /= module.temperature
                if module.geometry is not None:
                    hidden = hidden_geometry(module.geometry, roi[1:], box[1:])
                    logit += math.log(max(linear(module.geometry_weight, hidden)[head], 1e-6))
                logits.append(logit)
                values.append(linear(module.v_proj, key_row)[part])
            weights = softmax(logits) if logits else []
            all_weights.append(weights)
            update += [sum(w * v[j] for w, v in zip(weights, values)) for j in range(size)]
        outputs.append(finish(module, row, update))
    return torch.tensor(outputs, dtype=torch.float64), all_weights


def norm_rows(norm, rows, training):
    """Batch norm (statistics of all rows, or the running ones) or layer norm, row by row."""
    if isinstance(norm, torch.nn.LayerNorm):
        return [layer_norm(norm, row) for row in rows]
    out = [[0.0] * len(rows[0]) for _ in rows]
    for j in range(len(rows[0])):
        column = [row[j] for row in rows]
        if training and len(rows) > 1:
            mean = sum(column) / len(column)
            var = sum((c - mean) ** 2 for c in column) / len(column)
        else:
            mean, var = norm.running_mean[j].item(), norm.running_var[j].item()
        for i, c in enumerate(column):
            out[i][j] = (c - mean) / math.sqrt(var + norm.eps) * norm.weight[j].item() + norm.bias[
                j
            ].item()
    return out


def position_key(module, query, key, k, u):
    """E_nm, entry (k, u)."""
    flat = linear(module.geometry_key, hidden_geometry(module.geometry, query, key))
    return flat[k * module.intra_depth + u]


def reference_lambda(module, x, rois, valid):
    """Bello 2021, Eq. 1-2: builds the (k, v) map of each region and applies it to its queries."""
    depth, kdim, heads = module.intra_depth, module.key_dims, module.num_heads
    vdim = module.embed_dims // heads
    rows = [layer_norm(module.norm, row) for row in x.tolist()]
    placed = [located(module, row, roi[1:]) for row, roi in zip(rows, rois.tolist())]
    queries = norm_rows(module.q_norm, [linear(module.q_proj, r) for r in placed], module.training)
    keys = [linear(module.k_proj, r) for r in placed]
    values = norm_rows(module.v_norm, [linear(module.v_proj, r) for r in rows], module.training)
    boxes, outputs = rois.tolist(), []
    for n, roi in enumerate(boxes):
        members = [m for m, b in enumerate(boxes) if b[0] == roi[0] and valid[m]]
        lam = [[0.0] * vdim for _ in range(kdim)]
        for k in range(kdim):
            for u in range(depth):
                shares = softmax([keys[m][k * depth + u] for m in members]) if members else []
                for share, m in zip(shares, members):
                    weight = share
                    if module.geometry is not None:
                        weight += position_key(module, roi[1:], boxes[m][1:], k, u) / len(members)
                    for v in range(vdim):
                        lam[k][v] += weight * values[m][v * depth + u]
        update = [
            sum(lam[k][v] * queries[n][h * kdim + k] for k in range(kdim))
            for h in range(heads)
            for v in range(vdim)
        ]
        outputs.append(finish(module, x[n].tolist(), update))
    return torch.tensor(outputs, dtype=torch.float64)


@pytest.mark.parametrize('geometry', [False, True])
@pytest.mark.parametrize('heads,temperature', [(1, None), (1, 0.32), (2, None), (3, 32.0)])
@pytest.mark.parametrize('masked', [False, True])
def test_self_attention_equals_its_equation(heads, temperature, geometry, masked):
    module = randomise(RegionSelfAttention(DIMS, heads, temperature, geometry_bias=geometry))
    assert module.temperature == pytest.approx(temperature or math.sqrt(DIMS / heads))
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    valid = VALID if masked else [True] * len(IMAGES)
    regions = RegionBatch(rois, 3, torch.tensor(valid) if masked else None)
    expected, _ = reference_attention(module, x, rois, x, rois, valid)
    torch.testing.assert_close(module(x, regions), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    'pre_norm,residual,box_embedding',
    [(True, True, False), (False, False, False), (True, False, True), (False, True, True)],
)
def test_self_attention_options_equal_the_equation(pre_norm, residual, box_embedding):
    module = randomise(
        RegionSelfAttention(
            DIMS, 2, pre_norm=pre_norm, residual=residual, box_embedding=box_embedding
        )
    )
    assert residual == hasattr(module, 'out_proj')
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    expected, _ = reference_attention(module, x, rois, x, rois, [True] * len(IMAGES))
    torch.testing.assert_close(module(x, RegionBatch(rois, 3)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('geometry', [False, True])
@pytest.mark.parametrize(
    'source_images', [[0, 0, 2], [0, 1, 2], [2, 0, 1, 1, 2], [2, 2], [1]], ids=str
)
def test_source_target_attention_equals_its_equation(source_images, geometry):
    """Also for images without any source: they get a zero update."""
    module = randomise(
        RegionSourceTargetAttention(
            DIMS, 2, 0.7, geometry_bias=geometry, pre_norm=True, box_embedding=geometry
        )
    )
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    src_x, src_rois = features(len(source_images), 5), make_rois(source_images, 5)
    got = module(x, RegionBatch(rois, 3), src_x, RegionBatch(src_rois, 3))
    expected, _ = reference_attention(module, x, rois, src_x, src_rois, [True] * len(source_images))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('norm', ['BN', 'LN'])
@pytest.mark.parametrize('position', [False, True])
@pytest.mark.parametrize('depth,heads', [(1, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize('training,masked', [(False, False), (True, True)])
def test_lambda_equals_its_equation(norm, position, depth, heads, training, masked):
    module = RegionLambda(DIMS, heads, key_dims=3, intra_depth=depth, position=position, norm=norm)
    randomise(module).train(training)
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    valid = VALID if masked else [True] * len(IMAGES)
    regions = RegionBatch(rois, 3, torch.tensor(valid) if masked else None)
    expected = reference_lambda(module, x, rois, valid)
    torch.testing.assert_close(module(x, regions), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('box_embedding', [False, True])
def test_lambda_options_equal_the_equation(box_embedding):
    module = randomise(
        RegionLambda(
            DIMS, 2, key_dims=3, pre_norm=True, residual=False, box_embedding=box_embedding
        )
    ).eval()
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    expected = reference_lambda(module, x, rois, [True] * len(IMAGES))
    torch.testing.assert_close(module(x, RegionBatch(rois, 3)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('geometry', [False, True])
def test_attention_weights_equal_the_equation(geometry):
    """`explain` gives one (heads, Nq, Nk) tensor an image, in the flat order of its regions."""
    module = randomise(RegionSelfAttention(DIMS, 2, geometry_bias=geometry, box_embedding=geometry))
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    got = module.explain(x, RegionBatch(rois, 3))
    assert [tuple(w.shape) for w in got] == [(2, 4, 4), (2, 0, 0), (2, 3, 3)]
    _, expected = reference_attention(module, x, rois, x, rois, [True] * len(IMAGES))
    seen = {0: 0, 2: 0}
    for n, image in enumerate(IMAGES):
        for head in range(2):
            row = torch.tensor(expected[2 * n + head], dtype=torch.float64)
            torch.testing.assert_close(got[image][head, seen[image]], row, rtol=1e-9, atol=1e-9)
        seen[image] += 1


def rebuild(weights, values, images, heads_first=True):
    """Output from explained weights: rows of each image, values (N, heads, v)."""
    out = torch.zeros(len(images), values.size(1) * values.size(2), dtype=values.dtype)
    index = torch.tensor(images)
    for image, w in enumerate(weights):
        rows = (index == image).nonzero()[:, 0]
        if len(rows):
            mixed = torch.stack([w[h] @ values[rows, h] for h in range(values.size(1))], 1)
            out[rows] = mixed.flatten(1)
    return out


@pytest.mark.parametrize('masked', [False, True])
def test_explained_weights_reproduce_the_output(masked):
    x, rois = features(len(IMAGES)), make_rois(IMAGES)
    regions = RegionBatch(rois, 3, torch.tensor(VALID) if masked else None)
    attention = randomise(RegionSelfAttention(DIMS, 2, residual=False, geometry_bias=True))
    values = attention.v_proj(attention.norm(x)).view(len(x), 2, -1)
    torch.testing.assert_close(
        rebuild(attention.explain(x, regions), values, IMAGES), attention(x, regions)
    )

    lam = randomise(RegionLambda(DIMS, 2, 3, position=True, residual=False)).eval()
    values = lam.v_norm(lam.v_proj(lam.norm(x)))[:, None].expand(-1, 2, -1)
    torch.testing.assert_close(rebuild(lam.explain(x, regions), values, IMAGES), lam(x, regions))
