"""mmdet's pooling of regions from a feature pyramid, in one go on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmclarity.compat import roi_align_cpu

_TYPES = (torch.bfloat16, torch.float32, torch.float64)  # that the loops know


class _PooledLevels(torch.autograd.Function):
    """RoIAlign of regions from one of several maps each, as the maps' type says."""

    @staticmethod
    def forward(
        ctx: Any, rois: Tensor, chosen: list[Tensor], layers: list, *maps: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rois, *chosen)
        ctx.layers = layers
        ctx.maps = [(given.shape, given.dtype) for given in maps]
        out = maps[0].new_empty(len(rois), maps[0].shape[1], *layers[0].output_size)
        for places, layer, given in zip(chosen, layers, maps):
            roi_align_cpu.forward(
                given, rois, layer.output_size, *_how(layer), out=out, chosen=places
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple:
        rois, *chosen = ctx.saved_tensors
        grads: list[Tensor | None] = []
        for number, (places, layer, (shape, dtype)) in enumerate(zip(chosen, ctx.layers, ctx.maps)):
            if not ctx.needs_input_grad[3 + number]:
                grads.append(None)
                continue
            # Sums of many regions: not in half precision.
            part = grad[places].to(torch.promote_types(dtype, torch.float32))
            summed = roi_align_cpu.backward(part, rois[places], shape, *_how(layer))
            grads.append(summed.to(dtype))
        return None, None, None, *grads


def _how(layer: RoIAlign) -> tuple[float, int, bool]:
    return float(layer.spatial_scale), int(layer.sampling_ratio), bool(layer.aligned)


@MODELS.register_module()
class QuickRoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor``, which on the CPU pools without a detour.

    mmdet gives regions the type of the features; in bfloat16 an edge at 600 pixels moves by up to
    two. Here regions stay in float32 and features are read in the type they have, so that no map is
    copied under autocast. Elsewhere than on the CPU, and with other layers than averaging
    ``RoIAlign``, it is mmdet's, computed in float32.

    Args:
        args, kwargs: See mmdet's ``SingleRoIExtractor``.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.roi_heads import QuickRoIExtractor
        >>> extractor = QuickRoIExtractor(
        ...     roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
        ...     out_channels=8,
        ...     featmap_strides=[4, 8],
        ... )
        >>> maps = torch.ones(1, 8, 16, 16), torch.ones(1, 8, 8, 8)
        >>> extractor(maps, torch.tensor([[0.0, 4, 4, 32, 32]])).shape
        torch.Size([1, 8, 7, 7])
    """

    #: Of regions, whatever the features' type: :func:`.keep_float32` has nothing to do here.
    computes_in_float32 = True

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pools regions.

        Args:
            feats: Maps (N, C, H, W) of one type, finest first, as many as strides or fewer.
            rois: (R, 5): index of the image, x1, y1, x2, y2 in pixels of the network's input.
            roi_scale_factor: Enlarges regions about their centre, after their level is chosen.

        Returns:
            (R, C, h, w): on the CPU of the features' type, elsewhere float32 if that is a half
            precision.

        Raises:
            ValueError: If an image's index is not in [0, N).
        """
        rois = rois.to(torch.promote_types(rois.dtype, torch.float32))
        if not self._knows(feats):
            with torch.autocast(device_type=feats[0].device.type, enabled=False):
                wide = [f.to(torch.promote_types(f.dtype, torch.float32)) for f in feats]
                if torch.is_grad_enabled() or not len(rois) or torch.jit.is_tracing():
                    return super().forward(wide, rois, roi_scale_factor)
                return self._level_by_level(wide, rois, roi_scale_factor)
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None and len(feats) > 1:  # as mmdet
            rois = self.roi_rescale(rois, roi_scale_factor)
        chosen = [(levels == level).nonzero().flatten() for level in range(len(feats))]
        return _PooledLevels.apply(rois.detach(), chosen, list(self.roi_layers), *feats)

    def _level_by_level(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None
    ) -> Tensor:
        """As mmdet, which waits for a GPU at every level to say which regions are its own."""
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None and len(feats) > 1:  # as mmdet
            rois = self.roi_rescale(rois, roi_scale_factor)
        every = torch.arange(len(feats), device=rois.device)
        counts = (levels[:, None] == every).sum(0).tolist()
        order = levels.argsort()
        parts = zip(self.roi_layers, feats, rois[order].split(counts))
        pooled = torch.cat([layer(given, own) for layer, given, own in parts if len(own)])
        return torch.empty_like(pooled).index_copy_(0, order, pooled)

    def _knows(self, feats: Sequence[Tensor]) -> bool:
        return (
            all(f.device.type == 'cpu' and f.dtype in _TYPES for f in feats)
            and len({(f.dtype, f.shape[:2]) for f in feats}) == 1
            and all(
                type(layer) is RoIAlign and layer.pool_mode == 'avg' for layer in self.roi_layers
            )
            and not torch.jit.is_tracing()
            and not torch.compiler.is_compiling()
        )
