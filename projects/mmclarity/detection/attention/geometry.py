"""Where two boxes lie relative to each other, as features."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# A quarter of a megapair at a time: the embedded pairs of one chunk stay near 50 MB in float32.
PAIRS_PER_CHUNK = 1 << 18


def relative_geometry(queries: Tensor, keys: Tensor, eps: float = 1e-3) -> Tensor:
    r"""Log-scale relative centre and size of every pair of boxes.

    .. math::
        (\log(|x_m - x_n| / w_n),\ \log(|y_m - y_n| / h_n),\ \log(w_m / w_n),\ \log(h_m / h_n))

    for query n and key m, as in Relation Networks (Hu et al., CVPR 2018, Sec. 3.2), with the sign
    of the centre's offset kept (left is not right on a road): :math:`\operatorname{sign}(d)
    \log(1 + |d|)` replaces :math:`\log|d|`, which is -inf for a box and itself. It does not change
    under a common shift or scaling of both boxes.

    Args:
        queries (Tensor): Boxes (..., Nq, 4) as x1, y1, x2, y2 in pixels.
        keys (Tensor): Boxes (..., Nk, 4).
        eps (float): Least width and height in pixels. Defaults to 1e-3.

    Returns:
        Tensor: (..., Nq, Nk, 4), float32 or wider.
    """
    dtype = torch.promote_types(queries.dtype, torch.float32)
    queries, keys = queries.to(dtype), keys.to(dtype)
    q_size = (queries[..., 2:] - queries[..., :2]).clamp(min=eps)[..., :, None, :]
    k_size = (keys[..., 2:] - keys[..., :2]).clamp(min=eps)[..., None, :, :]
    q_centre = (queries[..., 2:] + queries[..., :2])[..., :, None, :] / 2
    k_centre = (keys[..., 2:] + keys[..., :2])[..., None, :, :] / 2
    offset = (k_centre - q_centre) / q_size
    return torch.cat([offset.sign() * offset.abs().log1p(), (k_size / q_size).log()], dim=-1)


class BoxEmbedding(nn.Module):
    """Where a box lies and how large it is, as a vector to be added to its features.

    Sines and cosines of the centre (wavelengths of 32 to 4096 pixels) and of the logarithm of
    width and height (wavelengths of 1/2 to 16 octaves), and a linear map: the position
    encoding of "Attention Is All You Need" (Sec. 3.5), of boxes instead of words. Unlike
    :func:`relative_geometry` it tells left from right of the road, and costs O(N).

    Args:
        embed_dims (int): Length of the vector.
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
        phase = torch.cat([(centre[..., None] * self.centre_frequency).flatten(1),
                           (size[..., None] * self.size_frequency).flatten(1)], dim=1)
        return self.proj(torch.cat([phase.sin(), phase.cos()], dim=1))


class PairGeometryEncoder(nn.Module):
    """Sin/cos embedding of :func:`relative_geometry` and a one-hidden-layer network.

    The hidden features of all pairs are never held at once: :meth:`contract` walks over the
    queries in chunks and recomputes a chunk in the backward pass.

    Args:
        hidden_dims (int): Width of the hidden layer. Defaults to 32.
        num_frequencies (int): Sine and cosine pairs for each of the four values, of wavelengths
            from 1/4 to 16 in log units. Defaults to 4.
    """

    def __init__(self, hidden_dims: int = 32, num_frequencies: int = 4) -> None:
        super().__init__()
        self.hidden_dims = hidden_dims
        wavelength = torch.logspace(math.log2(0.25), math.log2(16), num_frequencies, base=2)
        self.register_buffer('frequency', 2 * math.pi / wavelength, persistent=False)
        self.hidden = nn.Linear(8 * num_frequencies, hidden_dims)

    def embed(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Hidden features of all pairs: (B, Nq, Nk, hidden_dims)."""
        geometry = relative_geometry(queries, keys).to(self.frequency.dtype)
        phase = (geometry[..., None] * self.frequency).flatten(-2)
        return self.hidden(torch.cat([phase.sin(), phase.cos()], dim=-1)).relu()

    def contract(self, queries: Tensor, keys: Tensor, combine: Callable[..., Tensor],
                 *per_query: Tensor) -> Tensor:
        """``combine(hidden, *per_query)`` chunk by chunk along the queries (dim 1), joined.

        Args:
            queries (Tensor): Boxes (B, Nq, 4).
            keys (Tensor): Boxes (B, Nk, 4).
            combine (Callable): Takes hidden features (B, n, Nk, hidden_dims) and a slice of n
                queries of each of ``per_query``; returns a tensor with n in dim 1.
            per_query (Tensor): Tensors with Nq in dim 1.
        """

        def step(boxes: Tensor, *parts: Tensor) -> Tensor:
            return combine(self.embed(boxes, keys), *parts)

        batch, num_queries = queries.shape[:2]
        chunk = max(1, PAIRS_PER_CHUNK // max(1, batch * keys.size(1)))
        if num_queries <= chunk:
            return step(queries, *per_query)
        outputs = []
        for start in range(0, num_queries, chunk):
            parts = [t[:, start:start + chunk] for t in (queries, *per_query)]
            if torch.is_grad_enabled():
                outputs.append(checkpoint(step, *parts, use_reentrant=False))
            else:
                outputs.append(step(*parts))
        return torch.cat(outputs, dim=1)
