"""Pooling in one go: against mmdet's extractor, and what it does with half precision."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from mmclarity.detection.roi_heads import QuickRoIExtractor
from mmclarity.engine.hooks.precision import keep_float32, keeps_float32

STRIDES = [4, 8, 16]


def options(**layer):
    return dict(
        roi_layer=dict(dict(type='RoIAlign', output_size=7, sampling_ratio=0), **layer),
        out_channels=8,
        featmap_strides=STRIDES,
        finest_scale=40,
    )


def maps(images: int = 2, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, 8, 160 // s, 240 // s, generator=generator)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
        for s in STRIDES
    ]


def regions(count: int = 60, images: int = 2, largest: float = 300.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    size = torch.rand(count, 2, generator=generator) ** 2 * largest + 2
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([240.0, 160.0])
    image = torch.randint(0, images, (count, 1), generator=generator)
    return torch.cat([image.float(), centre - size / 2, centre + size / 2], 1)


@pytest.mark.parametrize('factor', [None, 1.5])
@pytest.mark.parametrize('count', [0, 1, 60])
@pytest.mark.parametrize('levels', [1, 3])
def test_the_same_numbers_and_gradients_as_mmdet(levels, count, factor):
    results = []
    for cls in (QuickRoIExtractor, SingleRoIExtractor):
        leaves = [m.double().requires_grad_() for m in maps()[:levels]]
        out = cls(**options())(leaves, regions(count).double(), factor)
        if out.requires_grad:  # mmdet's does not for no regions on one level
            weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
            (out * weight).sum().backward()
        results.append((out.detach(), [m.grad for m in leaves]))
    (ours, our_grads), (theirs, their_grads) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for one, other in zip(our_grads, their_grads):
        if one is None or other is None:  # no regions: mmdet gives no gradient
            assert count == 0 and not (one if other is None else other).any()
            continue
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('factor', [None, 1.5])
@pytest.mark.parametrize('count', [0, 1, 60])
@pytest.mark.parametrize('levels', [1, 3])
def test_elsewhere_than_on_the_cpu_the_same_numbers_too(levels, count, factor, monkeypatch):
    """In inference level by level; some of few regions' levels have none."""
    monkeypatch.setattr(QuickRoIExtractor, '_knows', lambda self, feats: False)
    with torch.no_grad():
        ours, theirs = (
            cls(**options())(maps()[:levels], regions(count), factor)
            for cls in (QuickRoIExtractor, SingleRoIExtractor)
        )
    assert torch.equal(ours, theirs)


def test_half_precision_moves_no_region():
    """mmdet rounds regions to the features' type: 3 significant digits."""
    given, rois = maps(dtype=torch.bfloat16), regions()
    extractor = QuickRoIExtractor(**options())
    exact = extractor([m.float() for m in given], rois)
    assert torch.equal(extractor(given, rois), exact.bfloat16())
    rounded = SingleRoIExtractor(**options())(given, rois).float()
    assert (rounded - exact).abs().max() > 10 * (exact.bfloat16().float() - exact).abs().max()


def test_gradients_in_half_precision_are_summed_in_single():
    given = [m.requires_grad_() for m in maps(images=1, dtype=torch.bfloat16)]
    wide = [m.detach().float().requires_grad_() for m in given]
    # 3,000 regions on one place: in bfloat16 the sum would stop growing at 256 times one share.
    rois = torch.tensor([[0.0, 40, 40, 60, 60]]).expand(3000, 5)
    extractor = QuickRoIExtractor(**options())
    extractor(given, rois).sum().backward()
    extractor(wide, rois).sum().backward()
    for one, other in zip(given, wide):
        torch.testing.assert_close(one.grad, other.grad.bfloat16(), rtol=0, atol=0)


def test_maps_that_need_no_gradient_get_none():
    given = maps()
    given[1].requires_grad_()
    QuickRoIExtractor(**options())(given, regions()).sum().backward()
    assert given[0].grad is None and given[2].grad is None and given[1].grad.any()


@pytest.mark.parametrize(
    ('layer', 'dtype'), [(dict(pool_mode='max'), torch.float32), ({}, torch.float16)]
)
def test_what_it_does_not_know_is_left_to_mmdet(layer, dtype):
    given, rois = maps(dtype=dtype), regions()
    extractor = QuickRoIExtractor(**options(**layer))
    assert not extractor._knows(given)
    if layer:  # the operator beneath says that it is missing, where mmcv is not compiled
        return
    want = SingleRoIExtractor(**options())([m.float() for m in given], rois)
    torch.testing.assert_close(extractor(given, rois), want)


def test_keep_float32_leaves_it_alone():
    extractor = QuickRoIExtractor(**options())
    model = torch.nn.ModuleDict({'bbox_roi_extractor': extractor})
    assert keep_float32(model) == ['bbox_roi_extractor']
    assert type(extractor) is QuickRoIExtractor and keeps_float32(extractor)


def test_image_index_outside_the_batch_is_refused():
    rois = regions(3)
    rois[2, 0] = 2
    with pytest.raises(ValueError, match='image index'):
        QuickRoIExtractor(**options())(maps(), rois)
