"""Lambda layer among the regions of an image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from .base import BaseRegionAttention
from .geometry import PairGeometryEncoder
from .regions import RegionBatch


class RegionBatchNorm(nn.BatchNorm1d):
    """Batch norm over a flat list of regions; fewer than two are normalised by the running state.

    Padding never reaches it, for it works on the flat list.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import RegionBatchNorm
        >>> norm = RegionBatchNorm(8)
        >>> norm(torch.rand(1, 8)).shape
        torch.Size([1, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (R, C) features; one region alone passes as it is in training too."""
        if not self.training or x.size(0) > 1:
            return super().forward(x)
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def build_region_norm(name: str, channels: int) -> nn.Module:
    """'BN' or 'LN' over features (N, channels)."""
    norms = {'BN': RegionBatchNorm, 'LN': nn.LayerNorm}
    if name not in norms:
        raise ValueError(f"norm must be 'BN' (batch norm) or 'LN' (layer norm), got {name!r}")
    return norms[name](channels)


def content_lambda(keys: Tensor, values: Tensor) -> Tensor:
    """Sum over regions and u of K V^T: (B, N, k, u), (B, N, v, u) to (B, k, v)."""
    return torch.einsum('bnku,bnvu->bkv', keys, values)


def masked_softmax(x: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over dim 1 of (B, N, ...) with zeros where mask (B, N) is False, even everywhere."""
    dtype = x.dtype
    # A sum of a thousand exponentials loses its small terms in half precision.
    x = x.float() if dtype in (torch.float16, torch.bfloat16) else x
    if mask is None:
        return x.softmax(1).to(dtype)
    mask = mask.reshape(*mask.shape, *[1] * (x.dim() - 2))
    weights = x.masked_fill(~mask, torch.finfo(x.dtype).min).softmax(1)
    return weights.masked_fill(~mask, 0).to(dtype)


@MODELS.register_module()
class RegionLambda(BaseRegionAttention):
    r"""Lambda layer (LambdaNetworks, Bello, ICLR 2021, Eq. 1-2 and Fig. 3) over an image's regions.

    The context becomes one small linear map that is applied to each region's queries:

    .. math::
        \lambda^c = \sum_{m,u} \bar K_{mu} V_{mu}^T, \quad
        \lambda^p_n = \frac{1}{M} \sum_{m,u} E_{nmu} V_{mu}^T, \quad
        y_n^h = (\lambda^c + \lambda^p_n)^T q_n^h

    with :math:`\bar K` the softmax of the keys over the M regions. The content map is shared by
    all heads and regions: O(N) in time and memory. E comes from the geometry of the pair instead
    of a table of grid positions, and its sum is a mean, so that 512 sampled and 1000 tested
    proposals give maps of one scale. Multiplied from the left,
    :math:`(q_n^T E_{nmu})`, it never needs an N x N x k x v tensor.

    Args:
        embed_dims: Length d of a region's feature. Defaults to 1024.
        num_heads: h; the value size is v = d / h. Defaults to 4.
        key_dims: k. Defaults to 16.
        intra_depth: u. Defaults to 1.
        position: Add the position lambdas. Defaults to False.
        norm: Normalisation of Q and V: 'BN' or 'LN'. Batch norm, as published, takes its
            statistics in training over all regions of the batch on this device, those that are
            nobody's context included; with layer norm images share nothing. Defaults to 'BN'.
        residual: See :class:`BaseRegionAttention`. Defaults to True.
        pre_norm: See :class:`BaseRegionAttention`. Defaults to True.
        box_embedding: See :class:`BaseRegionAttention`. Defaults to True.
        init_cfg: mmengine initialisation. Defaults to None.

    Raises:
        ValueError: If embed_dims is not divisible by num_heads or the norm is unknown.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import RegionBatch, RegionLambda
        >>> rois = torch.tensor([[0.0, 0, 0, 8, 8], [0, 4, 0, 9, 8]])
        >>> regions, x = RegionBatch(rois, num_images=1), torch.randn(2, 32)
        >>> layer = RegionLambda(32, num_heads=2, position=True)
        >>> tuple(layer(x, regions).shape), tuple(layer.explain(x, regions)[0].shape)
        ((2, 32), (2, 2, 2))
    """

    signed_weights = True

    def __init__(
        self,
        embed_dims: int = 1024,
        num_heads: int = 4,
        key_dims: int = 16,
        intra_depth: int = 1,
        position: bool = False,
        norm: str = 'BN',
        residual: bool = True,
        pre_norm: bool = True,
        box_embedding: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(embed_dims, residual, pre_norm, box_embedding, init_cfg)
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims ({embed_dims}) must be divisible by num_heads ({num_heads})'
            )
        self.num_heads, self.key_dims, self.intra_depth = num_heads, key_dims, intra_depth
        value_dims = embed_dims // num_heads
        self.q_proj = nn.Linear(embed_dims, key_dims * num_heads, bias=False)
        self.k_proj = nn.Linear(embed_dims, key_dims * intra_depth, bias=False)
        self.v_proj = nn.Linear(embed_dims, value_dims * intra_depth, bias=False)
        self.q_norm = build_region_norm(norm, key_dims * num_heads)
        self.v_norm = build_region_norm(norm, value_dims * intra_depth)
        # As in the paper: keys and values at d^-1/2, queries so that q.k starts at unit scale.
        nn.init.normal_(self.q_proj.weight, std=(embed_dims * key_dims) ** -0.5)
        nn.init.normal_(self.k_proj.weight, std=embed_dims**-0.5)
        nn.init.normal_(self.v_proj.weight, std=embed_dims**-0.5)
        if position:
            self.geometry = PairGeometryEncoder()
            self.geometry_key = nn.Linear(self.geometry.hidden_dims, key_dims * intra_depth)
        else:
            self.geometry = None

    def _project(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Q (B, N, h, k), K softmaxed (B, M, k, u) and V (B, M, v, u), padding zero."""
        located, keys = self._both_located(queries, regions, context, sources)
        q = regions.pad(self.q_norm(self.q_proj(located)))
        k = sources.pad(self.k_proj(keys))
        k = k.unflatten(-1, (self.key_dims, self.intra_depth))
        v = sources.pad(self.v_norm(self.v_proj(context)))
        k = masked_softmax(k, sources.key_mask)
        return (
            q.unflatten(-1, (self.num_heads, self.key_dims)),
            k,
            v.unflatten(-1, (-1, self.intra_depth)),
        )

    def _pair_weights(self, hidden: Tensor, q: Tensor) -> Tensor:
        """q_n^T E_nmu, from hidden features (B, N, j, M) of pairs: (B, N, h, u, M)."""
        # Fold the last layer into the queries: the pairs only ever carry the hidden width.
        weight = self.geometry_key.weight.view(self.key_dims, self.intra_depth, -1).to(q.dtype)
        bias = self.geometry_key.bias.view(self.key_dims, self.intra_depth).to(q.dtype)
        folded = torch.einsum('bnhk,kuj->bnhuj', q, weight).flatten(2, 3)
        offset = torch.einsum('bnhk,ku->bnhu', q, bias).flatten(2)[..., None]
        return (folded @ hidden.to(q.dtype) + offset).unflatten(2, (-1, self.intra_depth))

    def _over_pairs(
        self,
        q: Tensor,
        regions: RegionBatch,
        sources: RegionBatch,
        combine: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """``combine`` of chunks of the position weights (B, n, h, u, M), divided by M; joined.

        Keys that may not be looked at have weights too: the caller leaves them out.
        """
        boxes, mask = sources.pad(sources.boxes), sources.key_mask
        count = boxes.new_full(q.shape[:1], boxes.size(1)) if mask is None else mask.sum(1)
        q = q / count.clamp(min=1).to(q.dtype)[:, None, None, None]
        return self.geometry.contract(
            regions.pad(regions.boxes),
            boxes,
            lambda hidden, part: combine(self._pair_weights(hidden, part)),
            q,
        )

    def attend(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> Tensor:
        """See :meth:`BaseRegionAttention.attend`."""
        q, k, v = self._project(queries, regions, context, sources)
        out = torch.einsum('bnhk,bkv->bnhv', q, content_lambda(k, v))
        if self.geometry is not None:
            if sources.key_mask is not None:
                v = v * sources.key_mask[:, :, None, None].to(v.dtype)
            out = out + self._over_pairs(
                q, regions, sources, lambda weights: torch.einsum('bnhum,bmvu->bnhv', weights, v)
            )
        return regions.unpad(out.flatten(2))

    def weights(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> list[Tensor]:
        """Signed weights of each value in the output, summed over the intra-depth u.

        The output is their product with the values exactly for u = 1.
        """
        q, k, _ = self._project(queries, regions, context, sources)
        weights = torch.einsum('bnhk,bmku->bnhum', q, k)
        if self.geometry is not None:
            pairs = self._over_pairs(q, regions, sources, lambda part: part)
            if sources.key_mask is not None:
                pairs = pairs * sources.key_mask[:, None, None, None].to(pairs.dtype)
            weights = weights + pairs
        return regions.split(weights.sum(3).transpose(1, 2), sources)
