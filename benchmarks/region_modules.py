"""Attention among regions and among their cells, and public peers of it, to be timed alone."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

import mmclarity.detection  # noqa: F401  (makes mmdet importable)
from mmclarity.detection.attention import (
    IntraRegionAttention,
    RegionBatch,
    RegionLambda,
    RegionSelfAttention,
    RegionSourceTargetAttention,
)

DIMS, SOURCES = 1024, 128
CONTENT = 'RegionLambda, content'
# An N x N x k x v table: lambda-networks' global positions take gigabytes beyond this.
GLOBAL_POSITION_LIMIT = 1100


def random_rois(count: int, device: torch.device) -> Tensor:
    """(N, 5) in one image of 1280 x 720 pixels."""
    corner = torch.rand(count, 2, device=device) * torch.tensor([1000.0, 500], device=device)
    size = torch.rand(count, 2, device=device) * 200 + 8
    return torch.cat([torch.zeros(count, 1, device=device), corner, corner + size], 1)


def lambda_layer(dim: int, **kwargs) -> nn.Module | None:
    """The peer's layer with our defaults (4 heads, k = 16), if it is installed."""
    if importlib.util.find_spec('lambda_networks') is None:
        return None
    from lambda_networks import LambdaLayer

    return LambdaLayer(dim=dim, dim_k=16, heads=4, dim_u=1, **kwargs)


def region_modules(
    count: int, device: torch.device, kinds: list[str] | None
) -> dict[str, tuple[nn.Module, Callable]]:
    """Modules that work on (N, 1024), and how each is called."""
    rois = random_rois(count, device)
    regions, sources = RegionBatch(rois, 1), RegionBatch(rois[:SOURCES], 1)
    ours = {
        'RegionSelfAttention': RegionSelfAttention(DIMS),
        'RegionSelfAttention, geometry bias': RegionSelfAttention(DIMS, geometry_bias=True),
        f'RegionSourceTargetAttention, K = {SOURCES}': RegionSourceTargetAttention(DIMS),
        CONTENT: RegionLambda(DIMS),
        'RegionLambda, + position': RegionLambda(DIMS, position=True),
    }
    calls = {name: (m, lambda m, x: m(x, regions)) for name, m in ours.items()}
    source_target = f'RegionSourceTargetAttention, K = {SOURCES}'
    calls[source_target] = (ours[source_target], lambda m, x: m(x, regions, x[:SOURCES], sources))
    calls['torch MultiheadAttention'] = (
        nn.MultiheadAttention(DIMS, 1, batch_first=True),
        lambda m, x: m(x[None], x[None], x[None], need_weights=False)[0],
    )
    calls[f'torch MultiheadAttention, K = {SOURCES}'] = (
        nn.MultiheadAttention(DIMS, 1, batch_first=True),
        lambda m, x: m(x[None], x[None, :SOURCES], x[None, :SOURCES], need_weights=False)[0],
    )
    # It always has positions, on a grid; a kernel of one cell is the least it takes.
    calls['lambda-networks, 1-cell positions'] = (
        lambda_layer(DIMS, r=1),
        lambda m, x: m(x.t()[None, :, None, :]),
    )
    side = math.ceil(math.sqrt(count))
    if side * side <= GLOBAL_POSITION_LIMIT:
        padded = side * side - count
        calls['lambda-networks, global positions'] = (
            lambda_layer(DIMS, n=side),
            lambda m, x: m(
                nn.functional.pad(x, (0, 0, 0, padded)).t().reshape(1, DIMS, side, side)
            ),
        )
    return {
        name: call
        for name, call in calls.items()
        if call[0] is not None and (kinds is None or name in kinds)
    }


def cell_modules() -> dict[str, tuple[nn.Module, Callable]]:
    """Modules that work among the cells of (N, 256, 7, 7)."""
    calls = {
        'IntraRegionAttention, attention': (IntraRegionAttention(256), lambda m, x: m(x)),
        'IntraRegionAttention, lambda': (
            IntraRegionAttention(256, kind='lambda'),
            lambda m, x: m(x),
        ),
        'torch MultiheadAttention, 7 x 7 cells': (
            nn.MultiheadAttention(256, 4, batch_first=True),
            lambda m, x: m(*[x.flatten(2).transpose(1, 2)] * 3, need_weights=False)[0],
        ),
        'lambda-networks, 7 x 7 cells': (lambda_layer(256, n=7), lambda m, x: m(x)),
    }
    return {name: call for name, call in calls.items() if call[0] is not None}
