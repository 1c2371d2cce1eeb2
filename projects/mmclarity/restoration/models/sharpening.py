"""Steeper edges for a restored image, and less of what is too faint to be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..ops.gaussian import gaussian_taps, smooth

# Standard deviations, in pixels, of the Gaussians below whose scale detail is steepened or damped.
FINE, COARSE = 1.0, 3.0


@dataclass(frozen=True)
class Sharpening:
    """An unsharp mask that tells edges from faint structure.

    A network gives the middle of what may have been there: where an edge may lie here or there the
    middle is soft, and where something may be there or not it is faint. Edges are to be steepened,
    and what is faint is not to be believed. With ``d_s = x - G_s x``, the detail of the image x
    below the scale s, and ``c_s = G_2s |d_s|``, how much of it lies near by,

        x + amount * w(c_1 / edge) * d_1 - damping * (1 - w(c_3 / faint)) * d_3,

    where ``w(r) = r^2 / (r^2 + 1)`` is Wiener's gain for a signal r times as strong as what
    disturbs it. The first part is an adaptive unsharp mask (Polesel, Ramponi and Mathews, IEEE
    Trans. Image Processing 2000), the second coring (Simoncelli and Adelson, ICIP 1996). With
    ``edge = damping = 0`` it is the plain unsharp mask.

    Args:
        amount: What is added of detail finer than a pixel, where there is much.
        edge: Contrast from which it counts as much, in units of the image. Defaults to 0:
            everywhere.
        damping: What is taken off detail finer than three pixels, where there is little;
            at most 1. Defaults to 0.
        faint: Contrast up to which it counts as little. Defaults to 0.04.

    Raises:
        ValueError: If a number is negative or not finite, damping above 1, or faint zero.
    """

    amount: float
    edge: float = 0.0
    damping: float = 0.0
    faint: float = 0.04

    def __post_init__(self) -> None:
        for name in ('amount', 'edge', 'damping', 'faint'):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f'{name} of sharpen must be at least 0 and finite, got {value}')
        if self.damping > 1 or not self.faint:
            raise ValueError(
                'damping of sharpen must be at most 1 and faint above 0, got '
                f'{self.damping} and {self.faint}'
            )

    @property
    def radius(self) -> int:
        """Pixels beyond which nothing changes an output pixel."""
        fine = _reach(FINE) + (_reach(2 * FINE) if self.edge else 0)
        coarse = _reach(COARSE) + _reach(2 * COARSE)
        return max(fine if self.amount else 0, coarse if self.damping else 0)

    def __call__(self, image: Tensor) -> Tensor:
        """Sharpen (N, C, H, W); borders repeat their last pixels."""
        out = image
        if self.amount:
            detail, share = _detail(image, FINE, self.edge)
            out = out + self.amount * share * detail
        if self.damping:
            detail, share = _detail(image, COARSE, self.faint)
            out = out - self.damping * (1 - share) * detail
        return out


def _reach(sigma: float) -> int:
    return len(gaussian_taps(sigma)) // 2


def _detail(image: Tensor, sigma: float, level: float) -> tuple[Tensor, Tensor | float]:
    """Detail below a scale, and Wiener's gain for as much of it as lies near by."""
    detail = image - smooth(image, gaussian_taps(sigma).to(image))
    if not level:
        return detail, 1.0
    power = smooth(detail.abs(), gaussian_taps(2 * sigma).to(image)).square()
    return detail, power / (power + level**2)
