"""A lean U-net that is told the noise of the image at hand.

At full resolution it does nothing but add: the image is folded into four channels of half its
size (Shi et al., CVPR 2016; for denoising Zhang et al., FFDNet, IEEE TIP 2018), where a
convolution costs a quarter. Plain PyTorch: restoring needs no OpenMMLab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .manner import Manner

# Channels at 1/2, 1/4, 1/8 and 1/16 of the image's size.
WIDTHS = (72, 120, 192, 240)
# Half-size pixels over which the grey level is averaged that the noise depends on; odd.
LEVEL_WINDOW = 5
# Noise is shown to the network in this unit, so that usual values are near one.
SIGMA_UNIT = 0.1


def _block(before: int, width: int) -> nn.Sequential:
    """Two convolutions of 3 x 3, each with a leaky rectifier."""
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
    )


class GeneralUNet(nn.Module):
    """Restores images of any size, given what their noise is like.

    Args:
        widths: channels at 1/2, 1/4, ... of the image's size.
    """

    float32_output = True  # the image is added in float32
    manner = Manner()  # how the weights are used

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.encoder = nn.ModuleList(
            _block(before, width) for before, width in zip((6, *widths), widths)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(below, width, 1) for width, below in zip(widths, widths[1:])
        )
        self.decoder = nn.ModuleList(_block(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv2d(widths[0], 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.last.weight)  # training starts from the identity

    @property
    def stride(self) -> int:
        """Pixels of the image that one pixel of the deepest level stands for."""
        return 2 ** len(self.widths)

    @property
    def receptive_radius(self) -> int:
        """Pixels beyond which nothing changes an output pixel."""
        levels = len(self.widths)
        # down and up again: two convolutions each; interpolation reads one pixel of the level below
        convs = sum(4 * 2 ** (level + 1) for level in range(levels - 1)) + 2 * self.stride
        interpolated = sum(2 ** (level + 1) for level in range(1, levels))
        return convs + interpolated + self.stride + 2 + 2 * (LEVEL_WINDOW // 2)

    def forward(self, image: Tensor, noise: Tensor, spare: Sequence[int] = (0, 0, 0, 0)) -> Tensor:
        """Restores a batch.

        Args:
            image: (N, 1, H, W) in [0, 1], values beyond allowed; any H and W from 1.
            noise: (N, 3): slope and intercept of the noise's variance against the grey level, and
                its correlation with the next pixel of the line.
            spare: pixels above, below, left and right that are read and not restored. On the way
                up, where most of the work lies, they are computed only as far as they sway others.

        Returns:
            (N, 1, H, W) float32, less what is spare.

        Raises:
            ValueError: a shape is another, or nothing is left.
        """
        if image.dim() != 4 or image.shape[1] != 1 or 0 in image.shape[2:]:
            raise ValueError(f'images must be (N, 1, H, W), got {tuple(image.shape)}')
        if noise.shape != (len(image), 3):
            raise ValueError(f'noise must be ({len(image)}, 3), got {tuple(noise.shape)}')
        height, width = image.shape[2:]
        top, bottom, left, right = spare
        kept = slice(top, height - bottom), slice(left, width - right)
        if min(spare) < 0 or any(part.start >= part.stop for part in kept):
            raise ValueError(f'{tuple(spare)} is not to spare of {height} x {width} pixels')
        rows, columns = -height % self.stride, -width % self.stride
        mode = 'reflect' if rows < height and columns < width else 'replicate'
        padded = F.pad(image, (0, columns, 0, rows), mode=mode) if rows or columns else image
        folded = F.pixel_unshuffle(padded, 2)
        features = torch.cat([folded, *self._noise_planes(folded, noise)], 1)
        features = features.contiguous(memory_format=torch.channels_last)
        skips = []
        for level, block in enumerate(self.encoder):
            features = block(F.max_pool2d(features, 2) if level else features)
            skips.append(features)
        starts = [0, 0]  # where the features from below begin, in cells of the level
        for level in reversed(range(len(self.up))):
            below = F.interpolate(
                self.up[level](features), scale_factor=2, mode='bilinear', align_corners=False
            )
            skip = skips[level]
            parts = [_needed(p, level, cells) for p, cells in zip(kept, skip.shape[2:])]
            features = torch.cat([_cut(skip, parts), _cut(below, parts, starts)], 1)
            features = self.decoder[level](features)
            starts = [2 * part.start for part in parts]
        # The sum in float32: near 1, bfloat16 comes in steps of 1/128.
        added = F.pixel_shuffle(self.last(features).float(), 2)
        return _cut(padded, kept).float() + _cut(added, kept, starts)

    @staticmethod
    def _noise_planes(folded: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Standard deviation of the noise at each pixel, and its correlation: two (N, 1, h, w)."""
        slope, intercept, correlation = (noise[:, i, None, None, None] for i in range(3))
        half = LEVEL_WINDOW // 2
        level = F.avg_pool2d(
            F.pad(folded.mean(1, keepdim=True), (half,) * 4, mode='replicate'), LEVEL_WINDOW, 1
        )
        variance = slope * level.clamp(min=0) + intercept
        sigma = variance.clamp(min=0).sqrt() / SIGMA_UNIT
        return sigma, correlation.expand_as(sigma)


def _needed(kept: slice, level: int, cells: int) -> slice:
    """Cells of a level that its decoder has to be given for the kept pixels to come out right.

    From where it is cut, two convolutions go wrong by two cells, and by one more the last one of
    all, or else the interpolation to the next level.
    """
    margin = sum(3 * 2 ** (i + 1) for i in range(level + 1))
    side = 2 ** (level + 1)
    first, last = (kept.start - margin) // side, -(-(kept.stop + margin) // side)
    return slice(max(0, first), min(cells, last))


def _cut(features: Tensor, parts: Sequence[slice], starts: Sequence[int] = (0, 0)) -> Tensor:
    """Parts of (N, C, H, W) that begins at ``starts``."""
    rows, columns = (slice(p.start - s, p.stop - s) for p, s in zip(parts, starts))
    return features[..., rows, columns]


def widths_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The widths of the :class:`GeneralUNet` that weights are of.

    Args:
        state: of :meth:`GeneralUNet.state_dict`, of any precision.

    Raises:
        ValueError: they are of another network.
    """
    widths: list[int] = []
    while (weight := state.get(f'encoder.{len(widths)}.0.weight')) is not None:
        widths.append(len(weight))
    if not widths:
        raise ValueError('these are no weights of the general restorer')
    return tuple(widths)


def grown(state: Mapping[str, Tensor], widths: Sequence[int]) -> dict[str, Tensor]:
    """Weights of a wider network that gives what the narrow one gives (Net2Net: Chen et al., 2016).

    New channels start as a new network's do, but nobody listens to them yet: the old channels'
    weights for them are zero, so that training can begin where it ended.

    Args:
        state: of the narrow :class:`GeneralUNet`.
        widths: of the wide one, none of them smaller.

    Returns:
        Weights of ``GeneralUNet(widths)``, float32.

    Raises:
        ValueError: other weights, another number of levels, or a width is smaller.
    """
    narrow = widths_of(state)
    if len(widths) != len(narrow) or any(new < old for new, old in zip(widths, narrow)):
        raise ValueError(f'a network of widths {narrow} can not grow to {tuple(widths)}')
    wide = GeneralUNet(widths).state_dict()
    for name, weight in wide.items():
        old = state[name].float()
        rows = len(old)
        if weight.dim() == 1:
            weight.zero_()
            weight[:rows] = old
            continue
        weight[:rows] = 0
        part, _, layer, *_ = (*name.split('.'), '')
        # a decoder reads the skip and what comes from below, side by side
        parts = 2 if part == 'decoder' and layer == '0' else 1
        for new, values in zip(weight[:rows].chunk(parts, 1), old.chunk(parts, 1)):
            new[:, : values.shape[1]] = values
    return wide
