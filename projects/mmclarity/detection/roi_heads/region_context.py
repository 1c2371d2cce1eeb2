"""Which regions a box head gets to see together, and how that reaches it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..attention import RegionBatch


class RegionContext:
    """The regions of one pass of a box head: targets to be judged, and sources of context.

    Args:
        rois: Targets, shape (N, 5): image index and box.
        num_images: Images in the batch.
        key_valid: Bool (N,). False for targets that must not serve as context.
        source_rois: Sources, shape (S, 5).
        source_index: Shape (S,): where the sources stand among the targets, if they are some of
            them. They are then not pooled a second time.
        cut: True leaves the attention out: the head judges each region by itself, with the same
            weights.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.roi_heads import RegionContext
        >>> rois = torch.tensor([[0.0, 0, 0, 9, 9], [0, 5, 5, 20, 20], [1, 0, 0, 9, 9]])
        >>> context = RegionContext(rois, num_images=2, source_index=torch.tensor([1, 2]))
        >>> context.targets.counts
        [2, 1]
        >>> features, sources = context.sources_of(torch.arange(3.0)[:, None])
        >>> features.flatten().tolist(), sources.counts
        ([1.0, 2.0], [1, 1])
    """

    def __init__(
        self,
        rois: Tensor,
        num_images: int,
        key_valid: Tensor | None = None,
        source_rois: Tensor | None = None,
        source_index: Tensor | None = None,
        cut: bool = False,
    ) -> None:
        self.targets = RegionBatch(rois, num_images, key_valid)
        self.all_rois, self.regions = rois, self.targets
        self.cut = cut
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
            # len() would make a number of it, which an exporter has to leave open
            self._index = slice(rois.size(0), None)
            self._sources = RegionBatch(source_rois, num_images)

    def sources_of(self, x: Tensor) -> tuple[Tensor | None, RegionBatch | None]:
        """The rows of ``x`` (features of ``all_rois``) that are sources, and their regions."""
        if self._sources is None:
            return None, None
        return x[self._index], self._sources


@dataclass(frozen=True)
class PassContext:
    """What one pass of a RoI head has to tell its box heads beyond the boxes to be judged.

    Attributes:
        source_boxes: Of each image the boxes (S, 4) that the RPN finds most certain, where they
            are to be pooled on their own.
        source_index: Where they stand among the targets, if the targets are the proposals.
        key_valid: Bool, one flag a target: False for those that are nobody's context.
        cut: Leave the attention out (see :class:`RegionContext`).
        trace: The attention weights of each box head that runs are appended here, where somebody
            asks for them.
        first: What the first stage of a cascade has said already of the boxes to be judged.
    """

    source_boxes: Sequence[Tensor] | None = None
    source_index: Tensor | None = None
    key_valid: Tensor | None = None
    cut: bool = False
    trace: list[dict[str, list[Tensor]]] | None = None
    first: dict[str, Tensor] | None = None


class ContextFeatures(tuple):
    """Feature maps with a :class:`PassContext`: an argument that mmdet hands down by itself.

    Between ``loss`` or ``predict`` and ``_bbox_forward`` mmdet passes the maps on as they are, and
    nothing else of what the box heads have to know. It rides on them, so that the RoI head keeps
    nothing between, or during, calls. A slice is a plain tuple of maps.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.roi_heads import ContextFeatures
        >>> maps = ContextFeatures([torch.zeros(1, 4, 8, 8)])
        >>> changed = maps.having(cut=True)
        >>> changed.context.cut, maps.context.cut, changed[0] is maps[0]
        (True, False, True)
    """

    context: PassContext

    def __new__(cls, maps: Iterable[Tensor], context: PassContext | None = None) -> ContextFeatures:
        """Maps with a context; None keeps the one that rides on them."""
        self = super().__new__(cls, maps)
        self.context = context or context_of(maps)
        return self

    def having(self, **changes) -> ContextFeatures:
        """The same maps with some fields of the context replaced."""
        return ContextFeatures(self, replace(self.context, **changes))


def context_of(maps: Iterable[Tensor]) -> PassContext:
    """The context that rides on feature maps; an empty one on plain maps."""
    return maps.context if isinstance(maps, ContextFeatures) else PassContext()
