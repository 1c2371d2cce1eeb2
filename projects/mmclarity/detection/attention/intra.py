"""Attention among the cells of one region."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .lambda_layer import content_lambda
from .self_attention import attention


@MODELS.register_module()
class IntraRegionAttention(BaseModule):
    """Self-attention or a lambda layer among the cells (7 x 7) of one RoI's pooled features.

    It stands before the first fully connected layer. Each cell has a learned position vector that
    is added to its queries and keys. Values pass a bottleneck, as in Non-local Neural Networks
    (Wang et al. 2018, Sec. 3.3): there are 49 times as many cells as regions, and at full width
    their projections alone would cost a tenth of a detector. The output projection starts at zero
    (residual).

    Args:
        in_channels: Channels C of the pooled features. Defaults to 256.
        roi_feat_size: Cells along one side. Defaults to 7.
        kind: 'attention' (Vaswani et al. 2017, Eq. 1) or 'lambda' (Bello 2021, the content
            lambda; the position vectors enter through queries and keys). Defaults to 'attention'.
        num_heads: Heads. Defaults to 4.
        key_dims: Length of a query per head. Defaults to 16.
        value_dims: Length of the values of all heads together; None is
            in_channels / 4, down to a multiple of num_heads, or in_channels without the residual
            path, where the values are the output. Defaults to None.
        temperature: t > 0, for 'attention' only; None is sqrt(key_dims).
            Defaults to None.
        residual: False gives the pure transform. Defaults to True.
        init_cfg: mmengine initialisation. Defaults to None.

    Raises:
        ValueError: If the kind is unknown, value_dims is not divisible by num_heads or is not
            in_channels without the residual path, or t is not positive.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import IntraRegionAttention
        >>> cells = torch.randn(5, 32, 7, 7)
        >>> torch.equal(IntraRegionAttention(32)(cells), cells)  # it starts as the identity
        True
    """

    def __init__(
        self,
        in_channels: int = 256,
        roi_feat_size: int = 7,
        kind: str = 'attention',
        num_heads: int = 4,
        key_dims: int = 16,
        value_dims: int | None = None,
        temperature: float | None = None,
        residual: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if kind not in ('attention', 'lambda'):
            raise ValueError(f"kind must be 'attention' or 'lambda', got {kind!r}")
        if value_dims is None:
            value_dims = (
                max(in_channels // 4 // num_heads, 1) * num_heads if residual else in_channels
            )
        if value_dims < 1 or value_dims % num_heads:
            raise ValueError(
                f'value_dims ({value_dims}) must be divisible by num_heads ({num_heads})'
            )
        if not residual and value_dims != in_channels:
            raise ValueError(
                f'without the residual path the output is the values: value_dims '
                f'({value_dims}) must be in_channels ({in_channels})'
            )
        if temperature is not None and not 0 < temperature < math.inf:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.kind, self.num_heads, self.residual = kind, num_heads, residual
        self.roi_feat_size = roi_feat_size
        self.temperature = temperature or math.sqrt(key_dims)
        # A lambda layer's keys and values are shared by its heads.
        shared = num_heads if kind == 'lambda' else 1
        self.q_proj = nn.Linear(in_channels, key_dims * num_heads, bias=False)
        self.k_proj = nn.Linear(in_channels, key_dims * num_heads // shared, bias=False)
        self.v_proj = nn.Linear(in_channels, value_dims // shared, bias=False)
        self.position = nn.Parameter(torch.zeros(roi_feat_size**2, in_channels))
        nn.init.trunc_normal_(self.position, std=0.02)
        if residual:
            self.out_proj = nn.Linear(value_dims, in_channels)
            nn.init.zeros_(self.out_proj.weight)
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, roi_feat_size, roi_feat_size) to the same shape; N may be 0."""
        if x.shape[2:] != (self.roi_feat_size, self.roi_feat_size):
            raise ValueError(
                f'IntraRegionAttention has roi_feat_size={self.roi_feat_size} but '
                f'the pooled features have shape {tuple(x.shape)}'
            )
        q, k, v = self._project(x.flatten(2).transpose(1, 2).contiguous())
        if self.kind == 'lambda':
            lam = content_lambda(k.softmax(1).to(q.dtype)[..., None], v[..., None])
            out = torch.einsum('bnhk,bkv->bnhv', q.unflatten(-1, (self.num_heads, -1)), lam)
        else:
            out = attention(*map(self._heads, (q, k, v)), self.temperature, None).transpose(1, 2)
        out = out.flatten(2)
        if self.residual:
            out = self.out_proj(out)
        out = out.transpose(1, 2)
        if self.residual:
            out = x.flatten(2) + out
        return out.reshape(x.shape).to(x.dtype)

    def _project(self, cells: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values (N, cells, .) of cells (N, cells, C).

        One product for all three, and the positions are projected by themselves: the cells are
        the largest thing here by far, and are read once.
        """
        located = torch.cat([self.q_proj.weight, self.k_proj.weight])
        weight = torch.cat([located, self.v_proj.weight])
        qk, v = F.linear(cells, weight).split([len(located), len(self.v_proj.weight)], -1)
        qk = qk + F.linear(self.position, located)
        return *qk.split([len(self.q_proj.weight), len(self.k_proj.weight)], -1), v

    def _heads(self, x: Tensor) -> Tensor:
        """(N, cells, d) to (N, heads, cells, d / heads), in one piece, for the kernel's speed."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).contiguous()
