"""Which regions a box head gets to see together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention import RegionBatch


class RegionContext:
    """The regions of one pass of a box head: targets to be judged, and sources of context.

    Args:
        rois (Tensor): Targets, shape (N, 5): image index and box.
        num_images (int): Images in the batch.
        key_valid (Tensor, optional): Bool (N,). False for targets that must not serve as context.
        source_rois (Tensor, optional): Sources, shape (S, 5).
        source_index (Tensor, optional): Shape (S,): where the sources stand among the targets, if
            they are some of them. They are then not pooled a second time.
    """

    def __init__(
        self,
        rois: Tensor,
        num_images: int,
        key_valid: Tensor | None = None,
        source_rois: Tensor | None = None,
        source_index: Tensor | None = None,
    ) -> None:
        self.targets = RegionBatch(rois, num_images, key_valid)
        self.all_rois, self.regions = rois, self.targets
        self._sources = self._index = None
        if source_index is not None:
            self._index = source_index
            self._sources = self.targets.select(source_index)
        elif source_rois is not None:
            self.all_rois = torch.cat([rois, source_rois])
            valid = key_valid
            if valid is not None:
                valid = torch.cat([valid, valid.new_ones(len(source_rois))])
            self.regions = RegionBatch(self.all_rois, num_images, valid)
            self._index = slice(len(rois), None)
            self._sources = RegionBatch(source_rois, num_images)

    def sources_of(self, x: Tensor) -> tuple[Tensor | None, RegionBatch | None]:
        """The rows of ``x`` (features of ``all_rois``) that are sources, and their regions."""
        if self._sources is None:
            return None, None
        return x[self._index], self._sources
