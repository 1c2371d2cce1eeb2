"""Properties that every attention among regions must have."""

import pytest
import torch

from mmclarity.detection.attention import (
    RegionBatch,
    RegionBatchNorm,
    RegionLambda,
    RegionSelfAttention,
    RegionSourceTargetAttention,
    geometry,
)

DIMS = 8
MODULES = {
    'SA': lambda d=DIMS: RegionSelfAttention(d, 2, 0.32),
    'SA-geometry': lambda d=DIMS: RegionSelfAttention(d, 1, geometry_bias=True, pre_norm=True),
    'STA': lambda d=DIMS: RegionSourceTargetAttention(d, 2, 0.32),
    'STA-geometry': lambda d=DIMS: RegionSourceTargetAttention(d, 2, geometry_bias=True),
    'lambda-BN': lambda d=DIMS: RegionLambda(d, 2, 4, intra_depth=2),
    'lambda-LN': lambda d=DIMS: RegionLambda(d, 2, 4, norm='LN', pre_norm=True),
    'lambda-position': lambda d=DIMS: RegionLambda(d, 2, 4, position=True, norm='LN'),
    'SA-box': lambda d=DIMS: RegionSelfAttention(d, 2, box_embedding=True),
    'STA-box': lambda d=DIMS: RegionSourceTargetAttention(d, 2, box_embedding=True),
    'lambda-box': lambda d=DIMS: RegionLambda(d, 2, 4, box_embedding=True, norm='LN'),
}
every_module = pytest.mark.parametrize('name', MODULES)
# Images of unequal numbers, of none at all, none anywhere but one, equal ones in a mixed order.
LAYOUTS = [[3, 5], [4, 0, 2], [0, 0, 3], [2, 2, 2], [1, 6]]


def randomised(name, dims=DIMS, seed=0):
    torch.manual_seed(seed)
    module = MODULES[name](dims).double()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return module


def regions_of(counts, shuffle=True, seed=0):
    """Features (N, d) and rois (N, 5) of images with these counts."""
    g = torch.Generator().manual_seed(seed)
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    if shuffle:
        index = index[torch.randperm(len(index), generator=g)]
    n = len(index)
    corner = torch.rand(n, 2, generator=g, dtype=torch.float64) * 90
    size = torch.rand(n, 2, generator=g, dtype=torch.float64) * 50 + 1
    rois = torch.cat([index[:, None].double(), corner, corner + size], 1)
    return torch.randn(n, DIMS, generator=g, dtype=torch.float64), rois


def call(module, x, rois, num_images, src_x=None, src_rois=None, key_valid=None):
    if module.uses_sources:
        return module(x, RegionBatch(rois, num_images), src_x, RegionBatch(src_rois, num_images))
    return module(x, RegionBatch(rois, num_images, key_valid))


def only(x, rois, image):
    keep = rois[:, 0] == image
    rois = rois[keep].clone()
    rois[:, 0] = 0
    return x[keep], rois


# Batch norm in training takes its statistics from the whole batch, as it must.
@pytest.mark.parametrize(
    'name,training',
    [
        (name, training)
        for name in MODULES
        for training in (False, True)
        if not (training and name == 'lambda-BN')
    ],
)
@pytest.mark.parametrize('counts', LAYOUTS, ids=str)
@pytest.mark.parametrize('shuffle', [False, True])
def test_a_batch_gives_what_its_images_give_alone(name, training, counts, shuffle):
    module = randomised(name).train(training)
    x, rois = regions_of(counts, shuffle)
    src_x, src_rois = regions_of([2, 0, 3][: len(counts)], shuffle, seed=7)
    together = call(module, x, rois, len(counts), src_x, src_rois)
    for image in range(len(counts)):
        alone = call(module, *only(x, rois, image), 1, *only(src_x, src_rois, image))
        torch.testing.assert_close(together[rois[:, 0] == image], alone)


@every_module
def test_permuting_regions_permutes_outputs(name):
    module = randomised(name).train()
    x, rois = regions_of([4, 0, 3])
    src_x, src_rois = regions_of([3, 1, 2], seed=7)
    order, src_order = torch.randperm(7), torch.randperm(6)
    expected = call(module, x, rois, 3, src_x, src_rois)[order]
    got = call(module, x[order], rois[order], 3, src_x[src_order], src_rois[src_order])
    torch.testing.assert_close(got, expected)


@every_module
def test_starts_as_the_identity(name):
    module = MODULES[name]()
    x, rois = regions_of([4, 3])
    src_x, src_rois = regions_of([3, 2], seed=7)
    args = [t.float() for t in (x, rois, src_x, src_rois)]
    assert torch.equal(call(module, *args[:2], 2, *args[2:]), args[0])


@every_module
@pytest.mark.parametrize(
    'counts,sources',
    [
        ([4, 3], [3, 2]),
        ([4, 0], [0, 3]),
        ([1, 0], [1, 0]),
        ([0, 0], [2, 3]),
        ([0], [0]),
        ([3, 2], [0, 0]),
    ],
    ids=str,
)
def test_gradients_reach_every_parameter(name, counts, sources):
    """None is left out of the graph, for distributed training waits for each."""
    module = randomised(name).train()
    x, rois = regions_of(counts)
    src_x, src_rois = regions_of(sources, seed=7)
    x.requires_grad_()
    call(module, x, rois, len(counts), src_x, src_rois).pow(3).sum().backward()
    for key, p in module.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), key
        if counts == [4, 3] and sources == [3, 2]:
            assert p.grad.abs().sum() > 0, key
    assert x.grad is not None


@pytest.mark.parametrize('name', ['SA', 'SA-geometry', 'lambda-BN', 'lambda-LN', 'lambda-position'])
def test_invalid_keys_are_never_looked_at(name):
    """A region that is no key changes only its own output, and it still gets context itself."""
    module = randomised(name).eval()
    x, rois = regions_of([4, 3])
    valid = torch.ones(7, dtype=torch.bool)
    valid[2] = valid[5] = False
    before = call(module, x, rois, 2, key_valid=valid)
    changed = x.clone()
    changed[~valid] += 3
    after = call(module, changed, rois, 2, key_valid=valid)
    torch.testing.assert_close(after[valid], before[valid])
    assert (after[~valid] - before[~valid]).abs().min() > 0
    moved = rois.clone()
    moved[~valid, 3:] += 5
    torch.testing.assert_close(call(module, x, moved, 2, key_valid=valid)[valid], before[valid])
    assert (before - call(module, x, rois, 2)).abs().max() > 1e-6


@pytest.mark.parametrize('name', ['SA', 'SA-geometry', 'lambda-BN', 'lambda-LN', 'lambda-position'])
@pytest.mark.parametrize('counts', [[3], [3, 2], [2, 2]], ids=str)
def test_an_image_without_any_valid_key_gets_no_context(name, counts):
    module = randomised(name).eval()
    x, rois = regions_of(counts)
    x.requires_grad_()
    valid = rois[:, 0] != 0
    out = call(module, x, rois, len(counts), key_valid=valid)
    zero = torch.zeros_like(x)
    nothing = (x + module.out_proj(zero))[~valid]
    torch.testing.assert_close(out[~valid], nothing)
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters())


_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')


@every_module
@pytest.mark.parametrize(
    ('device', 'dtype'),
    [
        ('cpu', torch.bfloat16),
        # half a minute a module on a processor without units for it
        pytest.param('cpu', torch.float16, marks=pytest.mark.slow),
        pytest.param('cuda', torch.bfloat16, marks=_CUDA),
        pytest.param('cuda', torch.float16, marks=_CUDA),
    ],
    ids=str,
)
def test_mixed_precision_is_finite_at_published_size(name, device, dtype):
    """t = 0.32, 1000 proposals of 1024 dimensions, forward and backward; features up to ~30."""
    torch.manual_seed(0)
    dims = 1024
    kinds = {
        'SA': lambda: RegionSelfAttention(dims, 1, 0.32),
        'SA-geometry': lambda: RegionSelfAttention(dims, 1, 0.32, geometry_bias=True),
        'STA': lambda: RegionSourceTargetAttention(dims, 1, 0.32),
        'STA-geometry': lambda: RegionSourceTargetAttention(dims, 1, 0.32, geometry_bias=True),
        'lambda-BN': lambda: RegionLambda(dims),
        'lambda-LN': lambda: RegionLambda(dims, norm='LN'),
        'lambda-position': lambda: RegionLambda(dims, position=True),
        'SA-box': lambda: RegionSelfAttention(dims, 1, 0.32, box_embedding=True),
        'STA-box': lambda: RegionSourceTargetAttention(dims, 1, 0.32, box_embedding=True),
        'lambda-box': lambda: RegionLambda(dims, box_embedding=True),
    }
    module = kinds[name]().to(device)
    torch.nn.init.normal_(module.out_proj.weight, std=0.02)
    x = (torch.randn(1000, dims, device=device).relu() * 8).requires_grad_()
    corner = torch.rand(1000, 2, device=device) * 600
    rois = torch.cat(
        [
            torch.zeros(1000, 1, device=device),
            corner,
            corner + torch.rand(1000, 2, device=device) * 300,
        ],
        1,
    )
    with torch.autocast(device, dtype):
        out = call(module, x, rois, 1, x[:128], rois[:128])
        loss = out.float().mean()
    loss.backward()
    assert out.dtype == torch.float32 and out.isfinite().all()
    assert (out - x).abs().max() > 0
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize('dtype,tolerance', [(torch.float16, 5e-2), (torch.bfloat16, 2e-1)])
def test_mixed_precision_stays_near_single_precision(dtype, tolerance):
    torch.manual_seed(0)
    module = RegionSelfAttention(64, 2, residual=False)
    x, rois = torch.randn(30, 64), regions_of([30])[1].float()
    expected = module(x, RegionBatch(rois, 1))
    with torch.autocast('cpu', dtype):
        got = module(x, RegionBatch(rois, 1))
    assert (got - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize('name', ['SA-geometry', 'STA-geometry', 'lambda-position'])
def test_chunked_geometry_equals_whole_geometry(name, monkeypatch):
    """Outputs and gradients do not depend on how many pairs are embedded at a time."""
    module = randomised(name).train()
    x, rois = regions_of([6, 5])
    src_x, src_rois = regions_of([3, 4], seed=7)
    results = []
    for pairs in (1 << 18, 1, 17):
        monkeypatch.setattr(geometry, 'PAIRS_PER_CHUNK', pairs)
        module.zero_grad()
        out = call(module, x, rois, 2, src_x, src_rois)
        out.square().sum().backward()
        results.append([out.detach()] + [p.grad.clone() for p in module.parameters()])
        with torch.no_grad():
            torch.testing.assert_close(call(module, x, rois, 2, src_x, src_rois), out)
    for other in results[1:]:
        for got, expected in zip(other, results[0]):
            torch.testing.assert_close(got, expected)


def test_boxes_get_no_gradient_through_the_attention():
    module = randomised('lambda-position')
    x, rois = regions_of([4, 3])
    rois.requires_grad_()
    x.requires_grad_()
    call(module, x, rois, 2).sum().backward()
    assert rois.grad is None and x.grad is not None


def test_region_batch_norm_survives_a_single_region():
    norm = RegionBatchNorm(4).train()
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([1.0, 2, 3, 4]))
        norm.running_var.copy_(torch.tensor([1.0, 4, 9, 16]))
    x = torch.tensor([[2.0, 4, 6, 8]])
    expected = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(norm(x), expected)
    assert norm.running_mean.tolist() == [1, 2, 3, 4] and norm.num_batches_tracked == 0
    norm(x).sum().backward()
    assert norm.weight.grad.abs().sum() > 0


def test_region_batch_norm_ignores_padding():
    """Unequal images, hence padding: the running mean is that of the regions alone."""
    module = randomised('lambda-BN').train()
    x, rois = regions_of([5, 1, 0])
    before = module.v_norm.running_mean.clone()
    call(module, x, rois, 3)
    expected = 0.9 * before + 0.1 * module.v_proj(module.norm(x)).mean(0)
    torch.testing.assert_close(module.v_norm.running_mean, expected)


@pytest.mark.parametrize(
    'kind,kwargs,match',
    [
        (RegionSelfAttention, dict(num_heads=3), 'divisible'),
        (RegionLambda, dict(num_heads=3), 'divisible'),
        (RegionSelfAttention, dict(temperature=0), 'temperature must be positive'),
        (RegionSelfAttention, dict(temperature=-0.32), 'temperature must be positive'),
        (
            RegionSourceTargetAttention,
            dict(temperature=float('inf')),
            'temperature must be positive',
        ),
        (RegionSourceTargetAttention, dict(num_sources=0), 'num_sources must be at least 1'),
        (RegionLambda, dict(norm='GN'), "'BN'.*'LN'.*'GN'"),
    ],
)
def test_bad_options_are_named(kind, kwargs, match):
    with pytest.raises(ValueError, match=match):
        kind(**(dict(embed_dims=1024) | kwargs))


@every_module
def test_a_wrong_width_is_named_with_its_remedy(name):
    x, rois = regions_of([4])
    with pytest.raises(ValueError, match='embed_dims=8.*fc_out_channels'):
        call(MODULES[name](), torch.randn(4, 12), rois, 1, x, rois)
    with pytest.raises(ValueError, match='3 features for 4 regions'):
        call(MODULES[name](), x[:3], rois, 1, x, rois)


def test_source_target_attention_without_sources_says_where_it_belongs():
    x, rois = regions_of([4])
    with pytest.raises(ValueError, match='RegionAttentionRoIHead'):
        RegionSourceTargetAttention(DIMS)(x, RegionBatch(rois, 1))


@pytest.mark.parametrize('temperature', [0.32, None, 32.0])
@pytest.mark.parametrize('heads', [1, 4])
def test_attention_starts_soft_at_any_temperature(temperature, heads):
    """Some regions count more than others, yet none alone: gradients reach all of them."""
    torch.manual_seed(0)
    module = RegionSelfAttention(256, heads, temperature)
    x = torch.randn(100, 256) * 5
    boxes = torch.rand(100, 2) * 600
    rois = torch.cat([torch.zeros(100, 1), boxes, boxes + 40], 1)
    weights = module.explain(x, RegionBatch(rois, 1))[0]
    assert weights.amax(-1).median() < 0.3
    assert (weights * 100).std() > 0.1
