"""A price on structure that the reference does not have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..ops.gaussian import gaussian_taps, smooth

# Ratio of the two widths at which a difference of Gaussians is nearest to a Laplacian (Marr and
# Hildreth 1980).
RATIO = 1.6


@MODELS.register_module()
class ExcessStructureLoss(nn.Module):
    r"""Punishes particles that the restored image shows and the reference does not.

    Blob detectors find a particle of radius r where a difference of Gaussians D of width
    :math:`\sigma = r / \sqrt 2` is strong (Lindeberg 1998). At every scale

    .. math:: \mathrm{mean}\, \max(0,\; |D_\sigma \hat y| - |D_\sigma y| - m)

    is what the restored image :math:`\hat y` has beyond the reference y. It is one-sided: an image
    without structure costs nothing here, so that it goes with a loss that wants structure
    (:class:`SSIMLoss`), in a :class:`CompositeLoss`. A response of the wrong sign (a dark spot for
    a bright one) counts in full.

    Args:
        radii: Radii of the particles, in pixels. Defaults to (2, 4, 8).
        margin: Excess m that costs nothing, in units of the image. Defaults to 0.
        loss_weight: Factor. Defaults to 1.0.

    Raises:
        ValueError: If a radius is not positive, or the margin negative.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import ExcessStructureLoss
        >>> target = torch.full((1, 1, 64, 64), 0.3)
        >>> invented = target.clone()
        >>> invented[..., 28:36, 28:36] = 0.9
        >>> loss = ExcessStructureLoss()
        >>> float(loss(target, target)), bool(loss(invented, target) > loss(target, invented))
        (0.0, True)
    """

    def __init__(
        self,
        radii: Sequence[float] = (2.0, 4.0, 8.0),
        margin: float = 0.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not radii or min(radii) <= 0 or margin < 0:
            raise ValueError(
                'radii must be positive and margin at least 0, got '
                f'radii={tuple(radii)} and margin={margin}'
            )
        self.radii, self.margin, self.loss_weight = tuple(radii), margin, loss_weight
        for index, radius in enumerate(self.radii):
            sigma = radius / math.sqrt(2)
            for name, width in (('fine', sigma), ('coarse', RATIO * sigma)):
                self.register_buffer(f'{name}_{index}', gaussian_taps(width), persistent=False)

    def blobs(self, image: Tensor, index: int) -> Tensor:
        """Difference of Gaussians of one scale, of the size of the image, (N, C, H, W)."""
        fine, coarse = (getattr(self, f'{name}_{index}') for name in ('fine', 'coarse'))
        return smooth(image, fine) - smooth(image, coarse)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of two batches (N, C, H, W), a scalar."""
        if pred.shape != target.shape or pred.dim() != 4:
            raise ValueError(
                'pred and target must have one shape (N, C, H, W), got '
                f'{tuple(pred.shape)} and {tuple(target.shape)}'
            )
        with torch.autocast(device_type=pred.device.type, enabled=False):
            pred, target = pred.float(), target.float()
            loss = pred.new_zeros(())
            for index in range(len(self.radii)):
                mine, real = self.blobs(pred, index), self.blobs(target, index)
                # Along the sign of the real response; what goes against it is excess altogether.
                allowed = torch.where(mine * real > 0, real.abs(), torch.zeros_like(real))
                loss = loss + F.relu(mine.abs() - allowed - self.margin).mean()
        return loss * (self.loss_weight / len(self.radii))
