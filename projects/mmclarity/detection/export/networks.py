"""The networks of a two-stage detector as torch modules that the ONNX exporter can follow."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ..attention import geometry
from ..roi_heads.region_attention_bbox_head import RegionAttentionBBoxHead
from ..roi_heads.region_context import RegionContext


class Trunk(nn.Module):
    """Image to what the RPN says, and the maps that regions are pooled from.

    Args:
        detector: mmdet's two-stage detector.
        num_maps: How many maps are pooled from.
    """

    def __init__(self, detector: nn.Module, num_maps: int) -> None:
        super().__init__()
        self.detector, self.num_maps = detector, num_maps

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W), prepared, to logits and deltas of all levels, and the maps."""
        maps = self.detector.extract_feat(image)
        logits, deltas = self.detector.rpn_head(maps)
        return (*logits, *deltas, *maps[: self.num_maps])


class Judge(nn.Module):
    """Pooled features and boxes of an image's regions to logits and deltas.

    Args:
        head: A box head, with attention among regions or without.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.looks = isinstance(head, RegionAttentionBBoxHead)

    def forward(
        self,
        features: Tensor,
        boxes: Tensor | None = None,
        sources: Tensor | None = None,
        source_features: Tensor | None = None,
        source_boxes: Tensor | None = None,
    ) -> tuple:
        """Features (N, C, h, w) and boxes (N, 4) of the regions to be judged.

        Sources of context are told by their places (S,) among the regions, or, in a cascade, whose
        regions have been moved, by features (S, C, h, w) and boxes (S, 4) of their own.
        """
        if not self.looks:
            return self.head(features)
        if source_boxes is None:
            return self.head(features, RegionContext(_rois(boxes), 1, source_index=sources))
        context = RegionContext(_rois(boxes), 1, source_rois=_rois(source_boxes))
        return self.head(torch.cat([features, source_features]), context)


def _rois(boxes: Tensor) -> Tensor:
    """Boxes (N, 4) of the one image as mmdet's (N, 5)."""
    return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)


def exported(
    module: nn.Module,
    arguments: Mapping[str, Tensor],
    free: Mapping[str, dict[int, Any]],
    opset: int,
) -> onnx.ModelProto:
    """A module in evaluation mode as an ONNX model.

    Args:
        module: Without branches on the sizes that are free.
        arguments: Examples, by the names of its parameters.
        free: Of each the axes whose lengths are free.
        opset: Of ONNX.
    """
    # What the exporter reports about its progress is of no use to whoever exports.
    loud = logging.getLogger('torch.onnx')
    before = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.no_grad(),
            _exportable_geometry(),
        ):
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                module.eval(),
                (),
                kwargs=dict(arguments),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=dict(free),
                verbose=False,
            )
    finally:
        loud.setLevel(before)
    return program.model_proto


@contextlib.contextmanager
def _exportable_geometry() -> Iterator[None]:
    """Pairs of regions in one piece, and no ``copysign``, which ONNX has not.

    Otherwise the number of pieces would depend on that of regions.
    """

    def contract(self, queries: Tensor, keys: Tensor, combine, *per_query: Tensor) -> Tensor:
        return combine(self.embed(queries, keys), *per_query)

    def signed_log1p(offset: Tensor) -> Tensor:
        return offset.sign() * offset.abs().log1p()

    encoder: Any = geometry.PairGeometryEncoder
    before = encoder.contract, geometry._signed_log1p
    encoder.contract, geometry._signed_log1p = contract, signed_log1p
    try:
        yield
    finally:
        encoder.contract, geometry._signed_log1p = before
