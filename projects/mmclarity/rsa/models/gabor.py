"""A model of primary visual cortex that needs no recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gabor_pair(
    frequency: float, orientation: float, cycles: float = 0.56, aspect: float = 0.5
) -> Tensor:
    r"""An even and an odd Gabor filter.

    .. math::
        g(x, y) = e^{-(x'^2 + \gamma^2 y'^2) / 2 \sigma^2} \cos(2 \pi f x' + \phi)

    with x' across the bars and y' along them (Daugman 1985; fitted to simple cells by Jones and
    Palmer 1987), :math:`\phi` = 0 and -90 degrees. The mean of the even one is taken out under
    its envelope, so that uniform light gives nothing; both have unit energy.

    Args:
        frequency: f in cycles a pixel, in (0, 0.5).
        orientation: Of the bars' normal to the x axis, in radians.
        cycles: :math:`\sigma f`. 0.56 is a bandwidth of one octave. Defaults to 0.56.
        aspect: :math:`\gamma`, across to along. Defaults to 0.5.

    Returns:
        (2, s, s), s odd and wide enough for three standard deviations along the bars.

    Raises:
        ValueError: If the frequency is outside (0, 0.5).
    """
    if not 0 < frequency < 0.5:
        raise ValueError(f'frequency must lie between 0 and 0.5 cycles a pixel, got {frequency}')
    sigma = cycles / frequency
    radius = math.ceil(3 * sigma / min(1.0, aspect))
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    across = x * math.cos(orientation) + y * math.sin(orientation)
    along = -x * math.sin(orientation) + y * math.cos(orientation)
    envelope = torch.exp(-(across.square() + (aspect * along).square()) / (2 * sigma**2))
    even = envelope * torch.cos(2 * math.pi * frequency * across)
    even = even - envelope * (even.sum() / envelope.sum())
    odd = envelope * torch.sin(2 * math.pi * frequency * across)
    pair = torch.stack([even, odd])
    return (pair / pair.square().sum((1, 2), keepdim=True).sqrt()).float()


class GaborV1(nn.Module):
    """Simple and complex cells of several orientations and scales.

    Simple cells are half-rectified Gabor filters of four phases (0, 90, 180, 270 degrees); complex
    cells are the energy of a pair, :math:`\\sqrt{e^2 + o^2}` (Adelson and Bergen 1985), which does
    not depend on where in the receptive field a bar lies. Both are averaged over a pooling window.
    Contrast is normalised by the local energy of all orientations of a scale (Heeger 1992) if
    ``semi_saturation`` is given.

    Args:
        frequencies: Cycles a pixel. Defaults to 1/4, 1/8 and 1/16.
        orientations: Evenly over 180 degrees. Defaults to 8.
        pool: Side of the pooling window and its step, in pixels. Defaults to 8.
        semi_saturation: Energy at which a response is half of its largest.
            Defaults to None: linear in contrast.

    Raises:
        ValueError: If an option is out of range.

    Examples:
        >>> import torch
        >>> from mmclarity.rsa import GaborV1
        >>> cells = GaborV1(orientations=4)
        >>> cells(torch.rand(2, 1, 32, 32)).shape
        torch.Size([2, 60, 4, 4])
    """

    def __init__(
        self,
        frequencies: Sequence[float] = (1 / 4, 1 / 8, 1 / 16),
        orientations: int = 8,
        pool: int = 8,
        semi_saturation: float | None = None,
    ) -> None:
        super().__init__()
        if orientations < 1 or pool < 1 or not frequencies:
            raise ValueError(
                'orientations and pool must be at least 1 and frequencies not empty; '
                f'got {orientations}, {pool}, {frequencies}'
            )
        if semi_saturation is not None and semi_saturation <= 0:
            raise ValueError(f'semi_saturation must be positive, got {semi_saturation}')
        self.frequencies, self.orientations, self.pool = tuple(frequencies), orientations, pool
        self.semi_saturation = semi_saturation
        angles = [math.pi * i / orientations for i in range(orientations)]
        for i, frequency in enumerate(self.frequencies):
            pairs = torch.cat([gabor_pair(frequency, angle) for angle in angles])
            self.register_buffer(f'filters_{i}', pairs[:, None])
        # Their outputs are layers of their own, so that a recorder can name them.
        self.simple, self.complex = nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Responses (N, channels, h, w) of simple, then complex cells.

        Args:
            images: (N, 1 or 3, H, W), both sides at least ``pool``; colour is turned into
                luminance (ITU-R BT.601).

        Raises:
            ValueError: If the shape is another.
        """
        if images.dim() != 4 or images.size(1) not in (1, 3) or min(images.shape[2:]) < self.pool:
            raise ValueError(
                'images must be (N, 1 or 3, H, W) with sides of at least '
                f'{self.pool} pixels, got {tuple(images.shape)}'
            )
        if images.size(1) == 3:
            images = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(
                1, keepdim=True
            )
        simple, energy = [], []
        for i in range(len(self.frequencies)):
            even, odd = self._pairs(images, getattr(self, f'filters_{i}'))
            power = (even.square() + odd.square()).sqrt()
            if self.semi_saturation is not None:
                norm = power.mean(1, keepdim=True) + self.semi_saturation
                even, odd, power = even / norm, odd / norm, power / norm
            phases = torch.cat([even.relu(), odd.relu(), (-even).relu(), (-odd).relu()], 1)
            simple.append(F.avg_pool2d(phases, self.pool))
            energy.append(F.avg_pool2d(power, self.pool))
        return torch.cat([self.simple(torch.cat(simple, 1)), self.complex(torch.cat(energy, 1))], 1)

    def _pairs(self, images: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
        """Even and odd responses (N, orientations, H, W)."""
        radius = filters.size(-1) // 2
        # Edges are continued: a black frame would be a strong bar.
        padded = F.pad(images, [radius] * 4, mode='replicate')
        responses = F.conv2d(padded, filters.to(images.dtype))
        return responses[:, ::2], responses[:, 1::2]
