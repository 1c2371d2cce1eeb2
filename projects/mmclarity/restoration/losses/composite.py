"""Several losses as one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class CompositeLoss(nn.Module):
    """A weighted sum of losses that are called with (pred, target).

    Weights are those of the losses themselves (``loss_weight``), so a mix is one line of a
    config::

        dict(type='CompositeLoss', losses=dict(
            ssim=dict(type='SSIMLoss', data_range=1.0),
            l1=dict(type='L1Loss', loss_weight=0.2)))

    Args:
        losses: Configs by name.

    Raises:
        ValueError: If there is no loss.
        TypeError: If a loss is not a config.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import CompositeLoss
        >>> loss = CompositeLoss(
        ...     dict(
        ...         l1=dict(type='L1Loss'),
        ...         ssim=dict(type='SSIMLoss', data_range=1.0, loss_weight=0.5),
        ...     )
        ... )
        >>> image = torch.rand(1, 1, 32, 32)
        >>> round(float(loss(image, image)), 6)
        0.0
    """

    def __init__(self, losses: Mapping[str, dict]) -> None:
        super().__init__()
        if not losses:
            raise ValueError(
                'losses is empty: name at least one, e.g. '
                "losses=dict(ssim=dict(type='SSIMLoss', data_range=1.0))"
            )
        for name, cfg in losses.items():
            if not isinstance(cfg, Mapping) or 'type' not in cfg:
                raise TypeError(f'losses[{name!r}] must be dict(type=..., ...), got {cfg!r}')
        from mmagic.registry import MODELS as ALL  # for mmagic's own losses

        # By name, whatever the default scope: a detector loaded before may have set mmdet's.
        scope = {'_scope_': 'mmagic'}
        self.losses = nn.ModuleDict(
            {name: ALL.build({**scope, **cfg}) for name, cfg in losses.items()}
        )

    def parts(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Every loss by its name, weighted."""
        return {name: loss(pred, target) for name, loss in self.losses.items()}

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The sum."""
        return sum(self.parts(pred, target).values())


@MODELS.register_module()
class EdgeLoss(nn.Module):
    r"""Mean absolute difference of image gradients, :math:`|\nabla pred - \nabla target|`.

    Central differences on the 3 x 3 Sobel stencil, divided by eight, so that a slope of one per
    pixel counts as one. It rewards edges that are as steep as the target's and punishes structure
    that the target does not have.

    Where noise hides an edge's place by a pixel, the most likely gradient is too weak a one: edges
    come out wide. ``shortfall`` prices what is missing along the target's gradient once more,

    .. math:: \max(0,\; |\nabla target| - \nabla pred \cdot
        \nabla target / |\nabla target|),

    so that the gradient aims at a higher quantile of what is possible. It acts only where the
    target has an edge: nothing is invented for it.

    Args:
        shortfall: Weight of that part. Defaults to 0: none.
        reduction: 'mean' or 'sum'. Defaults to 'mean'.
        loss_weight: Factor. Defaults to 1.0.

    Raises:
        ValueError: If the reduction is unknown, or shapes differ or are too small.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import EdgeLoss
        >>> target = torch.zeros(1, 1, 32, 32)
        >>> float(EdgeLoss()(target + 0.5, target))
        0.0
    """

    def __init__(
        self, reduction: str = 'mean', loss_weight: float = 1.0, shortfall: float = 0.0
    ) -> None:
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        if shortfall < 0:
            raise ValueError(f'shortfall must be at least 0, got {shortfall}')
        self.reduction, self.loss_weight, self.shortfall = reduction, loss_weight, shortfall

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of two batches (N, C, H, W) of at least 3 x 3 pixels."""
        if pred.shape != target.shape or pred.dim() != 4 or min(pred.shape[2:]) < 3:
            raise ValueError(
                'pred and target must have one shape (N, C, H >= 3, W >= 3), got '
                f'{tuple(pred.shape)} and {tuple(target.shape)}'
            )
        if pred.dtype in (torch.half, torch.bfloat16):
            pred, target = pred.float(), target.float()
        # The stencil is linear: differences of the difference image.
        both = _gradient(pred - target)
        loss = F.l1_loss(both, torch.zeros_like(both), reduction=self.reduction)
        if self.shortfall:
            real = _gradient(target)
            length = real.square().sum(0).sqrt()
            # What is missing, along the target: minus (pred - target) . target / |target|.
            missing = F.relu(-(both * real).sum(0) / length.clamp(min=1e-6))
            loss = loss + self.shortfall * getattr(missing, self.reduction)()
        return loss * self.loss_weight


def _gradient(image: Tensor) -> Tensor:
    """(2, N, C, H - 2, W - 2): across and down, by separable Sobel stencils."""
    smooth_rows = (image[..., :-2, :] + 2 * image[..., 1:-1, :] + image[..., 2:, :]) / 8
    smooth_columns = (image[..., :-2] + 2 * image[..., 1:-1] + image[..., 2:]) / 8
    return torch.stack(
        [
            smooth_rows[..., 2:] - smooth_rows[..., :-2],
            smooth_columns[..., 2:, :] - smooth_columns[..., :-2, :],
        ]
    )
