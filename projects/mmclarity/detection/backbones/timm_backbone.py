"""Any image network of timm as a backbone."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmclarity.errors import UsageError


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Feature maps of a network of timm (Wightman, "PyTorch Image Models"), by its name there.

    ConvNeXt, for one, which mmdet has from mmpretrain only. Weights come from timm
    (``pretrained=True`` fetches them), or from a file (``checkpoint_path``).

    Args:
        name: A model of ``timm.list_models()``.
        out_indices: Which levels, the finest first; ``channels`` says how wide each is.
        norm_eval: Keep batch norm at its running statistics in training, as detectors trained on
            small batches do. Defaults to False.
        init_cfg: mmengine initialisation. Defaults to None.
        kwargs: See ``timm.create_model``.

    Raises:
        UsageError: If timm is not installed, or has no such network.

    Examples:
        >>> import torch
        >>> from mmclarity.detection.backbones import TimmBackbone
        >>> backbone = TimmBackbone('resnet10t', out_indices=(2, 3))
        >>> backbone.channels
        [128, 256]
        >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 64, 64))]
        [(1, 128, 8, 8), (1, 256, 4, 4)]
    """

    def __init__(
        self,
        name: str,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        norm_eval: bool = False,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError as error:
            raise UsageError('TimmBackbone needs timm: pip install timm') from error
        if name not in timm.list_models():
            near = ', '.join(timm.list_models(f'*{name.partition("_")[0]}*')[:8])
            raise UsageError(f'timm {timm.__version__} has no network {name!r}; near: {near}')
        self.net = timm.create_model(
            name, features_only=True, out_indices=tuple(out_indices), **kwargs
        )
        self.channels = self.net.feature_info.channels()
        self.norm_eval = norm_eval

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) to one map a level."""
        return tuple(self.net(x))

    def train(self, mode: bool = True) -> TimmBackbone:
        """See torch; ``norm_eval`` is obeyed."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
