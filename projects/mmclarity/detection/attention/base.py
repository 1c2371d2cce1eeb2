"""What all attention among regions has in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from .geometry import BoxEmbedding
from .regions import RegionBatch


class BaseRegionAttention(BaseModule, metaclass=ABCMeta):
    """Lets every region of an image take in the features of other regions of that image.

    The output is ``x + W_o f(norm(x))``. ``W_o`` starts at zero, so a detector with the module
    inserted gives exactly what it gave without, and training decides how much context to let in.

    Args:
        embed_dims: Length d of a region's feature.
        residual: False gives the pure transform ``f(x)``, without W_o. Defaults to True.
        pre_norm: Layer-normalise the features that enter the transform (not the residual
            path). Trained features of a box head have a standard deviation of about five, at
            which a softmax over regions hardly learns. Defaults to True.
        box_embedding: Add an embedding of each region's box to what queries and keys are
            made from, so that they can tell where in the image a region lies. Defaults to True.
        init_cfg: mmengine initialisation. Defaults to None.

    Examples:
        >>> from mmclarity.detection.attention import BaseRegionAttention
        >>> from mmclarity.detection.attention import RegionBatch, RegionSelfAttention
        >>> issubclass(RegionSelfAttention, BaseRegionAttention)
        True
    """

    # Whether the module reads its context from separate source regions.
    uses_sources = False
    # Whether its pair weights may be negative (no softmax).
    signed_weights = False

    def __init__(
        self,
        embed_dims: int,
        residual: bool = True,
        pre_norm: bool = True,
        box_embedding: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims = embed_dims
        self.residual = residual
        self.norm = nn.LayerNorm(embed_dims) if pre_norm else nn.Identity()
        self.box_embedding = BoxEmbedding(embed_dims) if box_embedding else None
        if residual:
            self.out_proj = nn.Linear(embed_dims, embed_dims)
            nn.init.zeros_(self.out_proj.weight)
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Tensor,
        regions: RegionBatch,
        source_x: Tensor | None = None,
        sources: RegionBatch | None = None,
    ) -> Tensor:
        """Add context to the features of all regions.

        Args:
            x: Features (N, d).
            regions: The N regions.
            source_x: Features (S, d) of the sources.
            sources: The S sources.

        Returns:
            (N, d), of the dtype of ``x``.
        """
        source_x, sources = self._context(x, regions, source_x, sources)
        if x.size(0) == 0:
            # Nothing to compute, but every parameter must take part in the graph: distributed
            # training waits for the gradient of each.
            return x + sum(p.sum() for p in self.parameters()) * 0
        context = source_x if source_x is x else self.norm(source_x)
        queries = self.norm(x)
        update = self.attend(queries, regions, queries if source_x is x else context, sources)
        if not self.residual:
            return update.to(x.dtype)
        return x + self.out_proj(update).to(x.dtype)

    def explain(
        self,
        x: Tensor,
        regions: RegionBatch,
        source_x: Tensor | None = None,
        sources: RegionBatch | None = None,
    ) -> list[Tensor]:
        """How much each region takes from each other one.

        Returns:
            For every image a tensor (heads, Nq, Nk), rows and columns in the flat
            order of its regions and of its sources.
        """
        source_x, sources = self._context(x, regions, source_x, sources)
        with torch.no_grad():
            return self.weights(self.norm(x), regions, self.norm(source_x), sources)

    def _located(self, x: Tensor, regions: RegionBatch) -> Tensor:
        """Features (N, d) that know where their regions lie, if that is wanted."""
        if self.box_embedding is None:
            return x
        return x + self.box_embedding(regions.boxes).to(x.dtype)

    def _both_located(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> tuple[Tensor, Tensor]:
        """Queries and context that know where they lie; found once if they are the same."""
        located = self._located(queries, regions)
        if context is queries and sources is regions:
            return located, located
        return located, self._located(context, sources)

    def _context(
        self, x: Tensor, regions: RegionBatch, source_x: Tensor | None, sources: RegionBatch | None
    ) -> tuple[Tensor, RegionBatch]:
        if x.dim() != 2 or x.size(1) != self.embed_dims:
            raise ValueError(
                f'{type(self).__name__} has embed_dims={self.embed_dims} but the '
                f'region features have shape {tuple(x.shape)}; set embed_dims to the '
                'width of the layer it follows (fc_out_channels)'
            )
        if regions.boxes.size(0) != x.size(0):
            raise ValueError(f'{x.size(0)} features for {len(regions)} regions')
        if not self.uses_sources:
            return x, regions
        if source_x is None or sources is None:
            raise ValueError(
                f'{type(self).__name__} needs source regions; use it inside '
                'RegionAttentionRoIHead or CascadeRegionAttentionRoIHead'
            )
        return source_x, sources

    @abstractmethod
    def attend(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> Tensor:
        """The transform f: (N, d) and (S, d) to (N, d)."""

    @abstractmethod
    def weights(
        self, queries: Tensor, regions: RegionBatch, context: Tensor, sources: RegionBatch
    ) -> list[Tensor]:
        """The pair weights behind :meth:`attend`, one (heads, Nq, Nk) tensor an image."""
