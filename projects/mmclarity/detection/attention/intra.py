"""Attention among the cells of one region."""
from __future__ import annotations

import math

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .lambda_layer import content_lambda
from .self_attention import attention


@MODELS.register_module()
class IntraRegionAttention(BaseModule):
    """Self-attention or a lambda layer among the cells (7 x 7) of one RoI's pooled features.

    It stands before the first fully connected layer. Each cell has a learned position vector that
    is added to its queries and keys. The output projection starts at zero (residual).

    Args:
        in_channels (int): Channels C of the pooled features. Defaults to 256.
        roi_feat_size (int): Cells along one side. Defaults to 7.
        kind (str): 'attention' (Vaswani et al. 2017, Eq. 1) or 'lambda' (Bello 2021, the content
            lambda; the position vectors enter through queries and keys). Defaults to 'attention'.
        num_heads (int): Heads. Defaults to 4.
        key_dims (int): Length of a query per head. Defaults to 16.
        temperature (float, optional): t > 0, for 'attention' only; None is sqrt(key_dims).
            Defaults to None.
        residual (bool): False gives the pure transform. Defaults to True.
        init_cfg (dict, optional): mmengine initialisation. Defaults to None.

    Raises:
        ValueError: If the kind is unknown, C is not divisible by num_heads or t is not positive.
    """

    def __init__(self, in_channels: int = 256, roi_feat_size: int = 7, kind: str = 'attention',
                 num_heads: int = 4, key_dims: int = 16, temperature: float | None = None,
                 residual: bool = True, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if kind not in ('attention', 'lambda'):
            raise ValueError(f"kind must be 'attention' or 'lambda', got {kind!r}")
        if in_channels % num_heads:
            raise ValueError(f'in_channels ({in_channels}) must be divisible by num_heads '
                             f'({num_heads})')
        if temperature is not None and not 0 < temperature < math.inf:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.kind, self.num_heads, self.residual = kind, num_heads, residual
        self.roi_feat_size = roi_feat_size
        self.temperature = temperature or math.sqrt(key_dims)
        # A lambda layer's keys and values are shared by its heads.
        shared = num_heads if kind == 'lambda' else 1
        self.q_proj = nn.Linear(in_channels, key_dims * num_heads, bias=False)
        self.k_proj = nn.Linear(in_channels, key_dims * num_heads // shared, bias=False)
        self.v_proj = nn.Linear(in_channels, in_channels // shared, bias=False)
        self.position = nn.Parameter(torch.zeros(roi_feat_size**2, in_channels))
        nn.init.trunc_normal_(self.position, std=0.02)
        if residual:
            self.out_proj = nn.Linear(in_channels, in_channels)
            nn.init.zeros_(self.out_proj.weight)
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, roi_feat_size, roi_feat_size) to the same shape; N may be 0."""
        if x.shape[2:] != (self.roi_feat_size, self.roi_feat_size):
            raise ValueError(f'IntraRegionAttention has roi_feat_size={self.roi_feat_size} but '
                             f'the pooled features have shape {tuple(x.shape)}')
        cells = x.flatten(2).transpose(1, 2)
        placed = cells + self.position
        q = self.q_proj(placed).unflatten(-1, (self.num_heads, -1))
        if self.kind == 'lambda':
            keys = self.k_proj(placed).softmax(1).to(q.dtype)
            lam = content_lambda(keys[..., None], self.v_proj(cells)[..., None])
            out = torch.einsum('bnhk,bkv->bnhv', q, lam)
        else:
            k = self.k_proj(placed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            v = self.v_proj(cells).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            out = attention(q.transpose(1, 2), k, v, self.temperature, None).transpose(1, 2)
        out = out.flatten(2)
        if self.residual:
            out = cells + self.out_proj(out)
        return out.transpose(1, 2).reshape(x.shape).to(x.dtype)
