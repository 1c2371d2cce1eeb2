"""Where two boxes lie relative to each other, as features."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Pairs at a time: what a chunk holds (8 MB in float32) stays in the processor's cache.
PAIRS_PER_CHUNK = 1 << 16


def relative_geometry(queries: Tensor, keys: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Log-scale relative centre and size of every pair of boxes.

    .. math::
        (\log(|x_m - x_n| / w_n),\ \log(|y_m - y_n| / h_n),\ \log(w_m / w_n),\ \log(h_m / h_n))

    for query n and key m, as in Relation Networks (Hu et al., CVPR 2018, Sec. 3.2), with the sign
    of the centre's offset kept (left is not right on a road): :math:`\operatorname{sign}(d)
    \log(1 + |d|)` replaces :math:`\log|d|`, which is -inf for a box and itself. It does not change
    under a common shift or scaling of both boxes.

    Args:
        queries: Boxes (..., Nq, 4) as x1, y1, x2, y2 in pixels.
        keys: Boxes (..., Nk, 4).
        eps: Least width and height in pixels. Defaults to 1e-3.

    Returns:
        (..., Nq, Nk, 4), float32 or wider.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import relative_geometry
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 30, 10]])
        >>> [round(value, 3) for value in relative_geometry(boxes, boxes)[0, 1].tolist()]
        [0.916, 0.0, 0.693, 0.0]
    """
    (q_centre, q_size), (k_centre, k_size) = (_centre_and_size(b, eps) for b in (queries, keys))
    offset = (k_centre[..., None, :, :] - q_centre[..., :, None, :]) / q_size[..., :, None, :]
    ratio = k_size[..., None, :, :] / q_size[..., :, None, :]
    return torch.cat([_signed_log1p(offset), ratio.log()], dim=-1)


def _centre_and_size(boxes: Tensor, eps: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Boxes (..., 4) to two (..., 2), float32 or wider; no size below eps pixels."""
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, (high - low).clamp(min=eps)


def _signed_log1p(offset: Tensor) -> Tensor:
    return offset.abs().log1p_().copysign_(offset)


class BoxEmbedding(nn.Module):
    """Where a box lies and how large it is, as a vector to be added to its features.

    Sines and cosines of the centre (wavelengths of 32 to 4096 pixels) and of the logarithm of
    width and height (wavelengths of 1/2 to 16 octaves), and a linear map: the position
    encoding of "Attention Is All You Need" (Sec. 3.5), of boxes instead of words. Unlike
    :func:`relative_geometry` it tells left from right of the road, and costs O(N).

    Args:
        embed_dims: Length of the vector.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import BoxEmbedding
        >>> boxes = torch.tensor([[0.0, 0, 20, 10], [30, 30, 60, 60]])
        >>> BoxEmbedding(16)(boxes).shape
        torch.Size([2, 16])
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        centre = torch.logspace(5, 12, 8, base=2)
        size = torch.logspace(-1, 4, 6, base=2)
        self.register_buffer('centre_frequency', 2 * math.pi / centre, persistent=False)
        self.register_buffer('size_frequency', 2 * math.pi / size, persistent=False)
        self.proj = nn.Linear(4 * (len(centre) + len(size)), embed_dims)

    def forward(self, boxes: Tensor) -> Tensor:
        """Boxes (N, 4) as x1, y1, x2, y2 in pixels to vectors (N, embed_dims)."""
        boxes = boxes.to(self.centre_frequency.dtype)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).log2()
        phase = torch.cat(
            [
                (centre[..., None] * self.centre_frequency).flatten(1),
                (size[..., None] * self.size_frequency).flatten(1),
            ],
            dim=1,
        )
        return self.proj(torch.cat([phase.sin(), phase.cos()], dim=1))


class PairGeometryEncoder(nn.Module):
    """Sin/cos embedding of :func:`relative_geometry` and a one-hidden-layer network.

    The hidden features of all pairs are never held at once: :meth:`contract` walks over the
    queries in chunks and recomputes a chunk in the backward pass.

    Args:
        hidden_dims: Width of the hidden layer. Defaults to 32.
        num_frequencies: Sine and cosine pairs for each of the four values, of wavelengths
            from 1/4 to 16 in log units. Defaults to 4.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.attention import PairGeometryEncoder
        >>> boxes = torch.tensor([[[0.0, 0, 20, 10], [30, 30, 60, 60]]])
        >>> PairGeometryEncoder(hidden_dims=8).embed(boxes, boxes).shape
        torch.Size([1, 2, 8, 2])
    """

    def __init__(self, hidden_dims: int = 32, num_frequencies: int = 4) -> None:
        super().__init__()
        self.hidden_dims = hidden_dims
        wavelength = torch.logspace(math.log2(0.25), math.log2(16), num_frequencies, base=2)
        self.register_buffer('frequency', 2 * math.pi / wavelength, persistent=False)
        self.hidden = nn.Linear(8 * num_frequencies, hidden_dims)

    def embed(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Hidden features of all pairs: boxes (B, Nq, 4), (B, Nk, 4) to (B, Nq, hidden_dims, Nk).

        They come from the sines and cosines of :func:`relative_geometry` times the frequencies,
        in another order of work. Keys lie along the last axis, so that every step runs over long
        rows. And sizes only enter as differences b - a of logarithms: sin(f(b - a)) and
        cos(f(b - a)) are sums of products of a's waves and b's, so that one product with O(Nk)
        waves of the keys replaces waves of all pairs.
        """
        # Columns of the weight: sine and cosine; of x, y, width and height; frequencies.
        weight = self.hidden.weight.unflatten(1, (2, 4, len(self.frequency)))
        waves, q_size, k_size = self._waves(queries, keys)
        hidden = weight[:, :, :2].flatten(1).expand(waves.size(0), -1, -1).bmm(waves)

        sin_weight, cos_weight = weight[:, :, 2:].flatten(2).unbind(1)
        q_phase = (q_size[..., None] * self.frequency).flatten(2)[:, :, None]
        k_phase = (k_size[:, :, None] * self.frequency[:, None]).flatten(1, 2)
        bias = self.hidden.bias[:, None].expand(*queries.shape[:2], -1, -1)
        per_query = torch.cat(
            [
                sin_weight * q_phase.cos() + cos_weight * q_phase.sin(),
                cos_weight * q_phase.cos() - sin_weight * q_phase.sin(),
                bias,
            ],
            dim=3,
        ).flatten(0, 1)
        per_key = torch.cat([k_phase.sin(), k_phase.cos(), torch.ones_like(k_phase[:, :1])], dim=1)
        per_key = per_key[:, None].expand(-1, queries.size(1), -1, -1).flatten(0, 1)
        # In place: a further pass over all pairs would cost as much as the product itself.
        hidden = hidden.baddbmm_(per_query.to(hidden.dtype), per_key.to(hidden.dtype)).relu_()
        return hidden.unflatten(0, queries.shape[:2])

    @torch.no_grad()
    def _waves(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the centres, (B Nq, 4 num_frequencies, Nk), and log sizes (B, Nq, 2), (B, 2, Nk)."""
        dtype = self.frequency.dtype
        q_centre, q_size = _centre_and_size(queries)
        k_centre, k_size = (part.mT.contiguous() for part in _centre_and_size(keys))
        offset = (k_centre[:, None] - q_centre[..., None]).div_(q_size[..., None])
        phase = _signed_log1p(offset).to(dtype)[:, :, :, None] * self.frequency[:, None]
        # Straight into place: to join them afterwards would copy the waves of all pairs.
        waves = phase.new_empty(*phase.shape[:2], 2, *phase.shape[2:])
        torch.sin(phase, out=waves[:, :, 0])
        torch.cos(phase, out=waves[:, :, 1])
        return (waves.flatten(0, 1).flatten(1, 3), q_size.log().to(dtype), k_size.log().to(dtype))

    def contract(
        self, queries: Tensor, keys: Tensor, combine: Callable[..., Tensor], *per_query: Tensor
    ) -> Tensor:
        """``combine(hidden, *per_query)`` chunk by chunk along the queries (dim 1), joined.

        Args:
            queries: Boxes (B, Nq, 4).
            keys: Boxes (B, Nk, 4).
            combine: Takes hidden features (B, n, hidden_dims, Nk) and a slice of n
                queries of each of ``per_query``; returns a tensor with n in dim 1.
            per_query: Tensors with Nq in dim 1.
        """

        def step(boxes: Tensor, *parts: Tensor) -> Tensor:
            return combine(self.embed(boxes, keys), *parts)

        batch, num_queries = queries.shape[:2]
        chunk = max(1, PAIRS_PER_CHUNK // max(1, batch * keys.size(1)))
        if num_queries <= chunk:
            return step(queries, *per_query)
        outputs = []
        for start in range(0, num_queries, chunk):
            parts = [t[:, start : start + chunk] for t in (queries, *per_query)]
            if torch.is_grad_enabled():
                outputs.append(
                    checkpoint(step, *parts, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                outputs.append(step(*parts))
        return torch.cat(outputs, dim=1)
