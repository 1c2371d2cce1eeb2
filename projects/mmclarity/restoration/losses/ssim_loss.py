"""SSIM and MS-SSIM as losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .ssim import mean_ssim

REDUCTIONS = ('mean', 'sum', 'none')
# Wang, Simoncelli and Bovik (Asilomar 2003), Sec. 3.2, from the finest scale to the coarsest.
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class _SimilarityLoss(nn.Module):
    """``loss_weight * (1 - similarity)``, reduced over the images."""

    def __init__(
        self,
        data_range: float,
        window_size: int,
        sigma: float,
        k1: float,
        k2: float,
        border: str,
        reduction: str,
        loss_weight: float,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f'reduction must be one of {", ".join(REDUCTIONS)}, got {reduction!r}')
        if (
            isinstance(data_range, bool)
            or not isinstance(data_range, int | float)
            or not 0 < data_range < math.inf
        ):
            raise ValueError(
                'data_range must be the positive range of a pixel (1 for images in '
                f'[0, 1], 2 for [-1, 1], 255 for 8-bit values), got {data_range!r}'
            )
        self.options = dict(
            data_range=float(data_range),
            window_size=window_size,
            sigma=sigma,
            k1=k1,
            k2=k2,
            border=border,
        )
        self.reduction, self.loss_weight = reduction, loss_weight

    def similarity(self, pred: Tensor, target: Tensor) -> Tensor:
        """(N, C) similarities of two (N, C, H, W) images."""
        raise NotImplementedError

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of two batches (N, C, H, W): a scalar, or (N,) with ``reduction='none'``."""
        loss = (1 - self.similarity(pred, target).mean(1)) * self.loss_weight
        return loss if self.reduction == 'none' else getattr(loss, self.reduction)()

    def extra_repr(self) -> str:
        options = ', '.join(f'{key}={value}' for key, value in self.options.items())
        return f'{options}, reduction={self.reduction!r}, loss_weight={self.loss_weight}'


@MODELS.register_module()
class SSIMLoss(_SimilarityLoss):
    r"""1 - SSIM, the structural similarity of Wang, Bovik, Sheikh and Simoncelli (2004).

    See :func:`mean_ssim`. The gradient is made in the forward pass: training takes about a
    twentieth of the time of SSIM written with convolutions, and keeps one map.

    Args:
        data_range: Largest minus smallest value a pixel can take. It is never guessed.
        window_size: Taps of the Gaussian window, odd. Defaults to 11.
        sigma: Its standard deviation in pixels. Defaults to 1.5.
        k1, k2: Constants of the paper. Default to 0.01 and 0.03.
        border: 'valid' or 'reflect', see :func:`mean_ssim`. Defaults to 'valid'.
        reduction: 'mean' or 'sum' over images, or 'none'. Defaults to 'mean'.
        loss_weight: Factor. Defaults to 1.0.

    Raises:
        ValueError: If data_range or reduction is none.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import SSIMLoss
        >>> loss = SSIMLoss(data_range=1.0)
        >>> image = torch.rand(2, 1, 32, 32)
        >>> round(float(loss(image, image)), 6), bool(loss(image, 1 - image) > 1)
        (0.0, True)
    """

    def __init__(
        self,
        data_range: float,
        window_size: int = 11,
        sigma: float = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        border: str = 'valid',
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(data_range, window_size, sigma, k1, k2, border, reduction, loss_weight)

    def similarity(self, pred: Tensor, target: Tensor) -> Tensor:
        """Mean SSIM, one value an image."""
        return mean_ssim(pred, target, **self.options)


@MODELS.register_module()
class MSSSIMLoss(_SimilarityLoss):
    r"""1 - MS-SSIM (Wang, Simoncelli and Bovik, 2003, Eq. 7).

    The contrast-structure factor of every scale but the coarsest, and SSIM there, to the power of
    the scale's weight; between scales images are averaged over 2 x 2 pixels. A negative factor
    has no real power: it counts as ``floor``, and passes no gradient.

    Args:
        data_range: See :class:`SSIMLoss`.
        window_size, sigma, k1, k2, border, reduction, loss_weight: See :class:`SSIMLoss`.
        weights: Exponents from the finest scale to the coarsest. Defaults to
            the paper's five.
        floor: Least value of a factor. Defaults to 1e-6.

    Raises:
        ValueError: If an option is none, or images are too small for the number of scales.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.losses import MSSSIMLoss
        >>> loss = MSSSIMLoss(data_range=1.0)
        >>> image = torch.rand(2, 1, 176, 176)
        >>> round(float(loss(image, image)), 6)
        0.0
    """

    def __init__(
        self,
        data_range: float,
        window_size: int = 11,
        sigma: float = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        border: str = 'valid',
        weights: Sequence[float] = MS_WEIGHTS,
        floor: float = 1e-6,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(data_range, window_size, sigma, k1, k2, border, reduction, loss_weight)
        if not weights or any(not 0 < w < math.inf for w in weights):
            raise ValueError(f'weights must be positive, one a scale, got {weights}')
        self.weights, self.floor = tuple(weights), floor

    def similarity(self, pred: Tensor, target: Tensor) -> Tensor:
        """Mean MS-SSIM, one value an image."""
        scales = len(self.weights)
        least = (self.options['window_size'] - 1) * 2 ** (scales - 1) + 1
        if pred.dim() == 4 and min(pred.shape[2:]) < least:
            raise ValueError(
                f'images of {pred.size(2)} x {pred.size(3)} pixels are too small for '
                f'{scales} scales: each side needs {least}; use larger patches, or '
                'fewer weights'
            )
        result = 1
        for i, weight in enumerate(self.weights):
            factor = mean_ssim(pred, target, contrast_only=i < scales - 1, **self.options)
            result = result * factor.clamp(min=self.floor) ** weight
            if i < scales - 1:
                pred, target = halve(pred), halve(target)
        return result


def halve(x: Tensor) -> Tensor:
    """Mean over 2 x 2 pixels; an odd last row or column is padded with zeros, as peers do."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return F.avg_pool2d(x.to(dtype), 2, padding=[side % 2 for side in x.shape[2:]])
