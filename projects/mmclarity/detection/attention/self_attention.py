"""Dot-product attention among the regions of an image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from .base import BaseRegionAttention
from .geometry import PairGeometryEncoder
from .regions import RegionBatch


def attention(q: Tensor, k: Tensor, v: Tensor, temperature: float, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / temperature + bias) v, safe in half precision at small temperatures.

    A temperature of 0.32 makes logits a hundred times those of the usual sqrt(d): past float16's
    65504, where the fallback kernel would turn them into NaN. bfloat16 has the range.
    """
    dtype = q.dtype
    with torch.autocast(q.device.type, enabled=False):
        if dtype == torch.float16:
            q, k, v = q.float(), k.float(), v.float()
        if bias is not None and bias.dtype != torch.bool:
            bias = bias.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1 / temperature)
    return out.to(dtype)


@MODELS.register_module()
class RegionSelfAttention(BaseRegionAttention):
    r"""Inter-region self-attention: :math:`\mathrm{softmax}(Q K^T / t)\, V` over one image.

    Dot-product attention of "Attention Is All You Need" (Vaswani et al., 2017, Eq. 1) with the
    temperature left open.

    Args:
        embed_dims: Length d of a region's feature. Defaults to 1024.
        num_heads: Heads; each has d / num_heads dimensions. Defaults to 1.
        temperature: t > 0. None is sqrt(d / num_heads). The published values
            are 32 (= sqrt(1024)) and 0.32. Defaults to None.
        geometry_bias: Add the logarithm of a learned, non-negative weight of the pair's
            geometry to the logits (Relation Networks, Hu et al. 2018, Eq. 3 and 5).
            Defaults to False.
        residual: See :class:`BaseRegionAttention`. Defaults to True.
        pre_norm: See :class:`BaseRegionAttention`. Defaults to True.
        box_embedding: See :class:`BaseRegionAttention`. Defaults to True.
        init_cfg: mmengine initialisation. Defaults to None.

    Raises:
        ValueError: If embed_dims is not divisible by num_heads or temperature is not positive.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import RegionBatch, RegionSelfAttention
        >>> rois = torch.tensor([[0.0, 0, 0, 8, 8], [0, 4, 0, 9, 8], [1, 2, 2, 6, 6]])
        >>> regions, x = RegionBatch(rois, num_images=2), torch.randn(3, 32)
        >>> attention = RegionSelfAttention(32, temperature=4.0)
        >>> torch.equal(attention(x, regions), x)  # W_o starts at zero
        True
        >>> [tuple(weights.shape) for weights in attention.explain(x, regions)]
        [(1, 2, 2), (1, 1, 1)]
    """

    def __init__(
        self,
        embed_dims: int = 1024,
        num_heads: int = 1,
        temperature: float | None = None,
        geometry_bias: bool = False,
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
        if temperature is not None and not 0 < temperature < math.inf:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.num_heads = num_heads
        self.temperature = temperature or math.sqrt(embed_dims // num_heads)
        self.q_proj = nn.Linear(embed_dims, embed_dims)
        # A constant added to all keys cancels in the softmax.
        self.k_proj = nn.Linear(embed_dims, embed_dims, bias=False)
        self.v_proj = nn.Linear(embed_dims, embed_dims)
        # Logits start at unit scale or below whatever the temperature: at t = 0.32 they would
        # else be so large that the softmax picks one region at random and passes no gradient.
        gain = min(1.0, math.sqrt(self.temperature / math.sqrt(embed_dims // num_heads)))
        for proj, scale in ((self.q_proj, gain), (self.k_proj, gain), (self.v_proj, 1.0)):
            nn.init.xavier_uniform_(proj.weight, scale)
            if proj.bias is not None:
                nn.init.zeros_(proj.bias)
        if geometry_bias:
            self.geometry = PairGeometryEncoder()
            self.geometry_weight = nn.Linear(self.geometry.hidden_dims, num_heads)
            # Start near an even weight of one (a logarithm of zero), that is, plain attention.
            nn.init.normal_(self.geometry_weight.weight, std=0.01)
            nn.init.ones_(self.geometry_weight.bias)
        else:
            self.geometry = None

    def _heads(self, x: Tensor, regions: RegionBatch) -> Tensor:
        """Flat (N, d) to padded (images, heads, max_count, d / heads)."""
        return regions.pad(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def _bias(
        self, regions: RegionBatch, sources: RegionBatch
    ) -> tuple[Tensor | None, Tensor | None]:
        """Mask or bias on the logits, and (images,) flags of those that have any key at all."""
        mask, has_key = sources.key_mask, None
        if mask is not None:
            has_key = mask.any(1)
            # A row without keys has no softmax; let it see all (zeros) and drop the result after.
            mask = (mask | ~has_key[:, None])[:, None, None, :]
        if self.geometry is None:
            return mask, has_key
        bias = self.geometry.contract(
            regions.pad(regions.boxes),
            sources.pad(sources.boxes),
            lambda hidden: (
                (
                    self.geometry_weight.weight.to(hidden.dtype) @ hidden
                    + self.geometry_weight.bias[:, None]
                )
                .clamp(min=1e-6)
                .log()
            ),
        ).transpose(1, 2)
        if mask is not None:
            bias = bias.masked_fill(~mask, float('-inf'))
        return bias, has_key

    def attend(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> Tensor:
        """See :meth:`BaseRegionAttention.attend`."""
        if sources.boxes.size(0) == 0:
            # No source, no context; every parameter stays in the graph (distributed training).
            return torch.zeros_like(queries) + sum(p.sum() for p in self.parameters()) * 0
        bias, has_key = self._bias(regions, sources)
        located, keys = self._both_located(queries, regions, context, sources)
        out = attention(
            self._heads(self.q_proj(located), regions),
            self._heads(self.k_proj(keys), sources),
            self._heads(self.v_proj(context), sources),
            self.temperature,
            bias,
        )
        if has_key is not None:
            out = out.where(has_key[:, None, None, None], 0)
        return regions.unpad(out.transpose(1, 2).flatten(2))

    def weights(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> list[Tensor]:
        """See :meth:`BaseRegionAttention.weights`."""
        bias, has_key = self._bias(regions, sources)
        located, keys = self._both_located(queries, regions, context, sources)
        q = self._heads(self.q_proj(located), regions)
        k = self._heads(self.k_proj(keys), sources)
        dtype = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(q.device.type, enabled=False):
            logits = q.to(dtype) @ k.to(dtype).transpose(-1, -2) / self.temperature
        if bias is not None:
            logits = (
                logits.masked_fill(~bias, float('-inf'))
                if bias.dtype == torch.bool
                else logits + bias
            )
        weights = logits.softmax(-1)
        if has_key is not None:
            weights = weights.where(has_key[:, None, None, None], 0)
        return regions.split(weights, sources)


@MODELS.register_module()
class RegionSourceTargetAttention(RegionSelfAttention):
    """Source-target attention: the regions to be judged look at the RPN's most certain ones.

    Queries are the targets; keys and values come from the sources, the K proposals of the same
    image with the highest objectness. The rule is the same in training and testing, so the
    context does not change with the number of proposals, and no ground truth is among it.

    Args:
        num_sources: K, or fewer where the RPN yields fewer. Defaults to 128.
        kwargs: See :class:`RegionSelfAttention`.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import RegionBatch, RegionSourceTargetAttention
        >>> rois = torch.tensor([[0.0, 0, 0, 8, 8], [0, 4, 0, 9, 8], [0, 2, 2, 6, 6]])
        >>> regions, x = RegionBatch(rois, num_images=1), torch.randn(3, 32)
        >>> attention = RegionSourceTargetAttention(32, num_sources=1)
        >>> best = torch.tensor([2])
        >>> attention.explain(x, regions, x[best], regions.select(best))[0].flatten().tolist()
        [1.0, 1.0, 1.0]
    """

    uses_sources = True

    def __init__(
        self,
        embed_dims: int = 1024,
        num_heads: int = 1,
        temperature: float | None = None,
        num_sources: int = 128,
        **kwargs,
    ) -> None:
        if num_sources < 1:
            raise ValueError(f'num_sources must be at least 1, got {num_sources}')
        super().__init__(embed_dims, num_heads, temperature, **kwargs)
        self.num_sources = num_sources
