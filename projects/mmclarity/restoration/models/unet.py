"""A U-net for images of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from .sharpening import Sharpening

UPSAMPLINGS = ('nearest', 'bilinear', 'deconv', 'pixelshuffle')


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Grow (N, C, H, W) at the bottom and right to multiples, mirrored where it is large enough.

    Mirroring needs more pixels than it adds; an image smaller than that repeats its last ones.
    """
    height, width = image.shape[-2:]
    rows, columns = -height % multiple, -width % multiple
    if not (rows or columns):
        return image
    mode = 'reflect' if rows < height and columns < width else 'replicate'
    return F.pad(image, (0, columns, 0, rows), mode=mode)


class ConvBlock(nn.Module):
    """Convolutions of 3 x 3, each with an optional norm and a leaky rectifier."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_convs: int,
        norm_cfg: dict | None,
        slope: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(num_convs):
            layers.append(
                nn.Conv2d(
                    in_channels if index == 0 else out_channels,
                    out_channels,
                    3,
                    padding=1,
                    bias=norm_cfg is None,
                )
            )
            if norm_cfg is not None:
                from mmcv.cnn import build_norm_layer  # mmcv is slow to import

                layers.append(build_norm_layer(norm_cfg, out_channels)[1])
            layers.append(nn.LeakyReLU(slope, inplace=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C_out, H, W)."""
        return self.layers(x)


class Upsample(nn.Module):
    """Twice the size, half the channels."""

    def __init__(self, channels: int, out_channels: int, mode: str) -> None:
        super().__init__()
        if mode == 'deconv':
            self.layers: nn.Module = nn.ConvTranspose2d(channels, out_channels, 2, stride=2)
        elif mode == 'pixelshuffle':
            self.layers = nn.Sequential(
                nn.Conv2d(channels, 4 * out_channels, 1), nn.PixelShuffle(2)
            )
        else:
            options = {} if mode == 'nearest' else dict(align_corners=False)
            # The 1 x 1 convolution commutes with the interpolation and is cheaper before it.
            self.layers = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1),
                nn.Upsample(scale_factor=2, mode=mode, **options),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C / 2, 2 H, 2 W)."""
        return self.layers(x)


@MODELS.register_module()
class SEMUNet(BaseModule):
    """Encoder and decoder with skip connections (Ronneberger et al., MICCAI 2015), padded.

    The published restorer is a U-net of unknown size; every size here is an option. It takes
    images of any height and width from one pixel up: they are mirrored up to a multiple of
    ``2**depth`` and cropped back. There is no norm by default: restoration has to keep absolute
    grey levels, and a batch of one then trains as any other.

    Args:
        in_channels: Of the image. Defaults to 1.
        out_channels: Of the restored image. Defaults to 1.
        base_channels: At full resolution; doubled at each level. Defaults to 32.
        depth: Levels below full resolution; the stride is 2**depth. Defaults to 4.
        num_convs: Convolutions of a level, each way. Defaults to 2.
        max_channels: Where doubling ends. Defaults to 256.
        norm_cfg: Of mmcv, e.g. ``dict(type='GN', num_groups=8)``. Defaults to
            None.
        upsampling: 'nearest', 'bilinear' (both after a 1 x 1 convolution), 'deconv' (2 x 2)
            or 'pixelshuffle'. Defaults to 'bilinear'.
        residual: Predict what is to be added to the image; needs as many channels out as
            in. Training then starts from the identity. Defaults to True.
        slope: Of the rectifiers below zero. Defaults to 0.1.
        sharpen: In evaluation, the arguments of :class:`Sharpening` for the restored
            image, or only the first of them: a plain unsharp mask, which steepens edges and what
            was fabricated alike. Choose it on pairs. Defaults to 0.
        init_cfg: Of mmengine. Defaults to None: Kaiming's (2015).

    Raises:
        ValueError: If an option is unknown or out of range.

    Examples:
        >>> import torch
        >>> from mmclarity.restoration.models import SEMUNet
        >>> net = SEMUNet(base_channels=8, depth=3).eval()
        >>> net(torch.rand(2, 1, 61, 45)).shape
        torch.Size([2, 1, 61, 45])
    """

    float32_output = True  # see forward

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        base_channels: int = 32,
        depth: int = 4,
        num_convs: int = 2,
        max_channels: int = 256,
        norm_cfg: dict | None = None,
        upsampling: str = 'bilinear',
        residual: bool = True,
        slope: float = 0.1,
        sharpen: float | dict = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if upsampling not in UPSAMPLINGS:
            raise ValueError(
                f'upsampling must be one of {", ".join(UPSAMPLINGS)}, got {upsampling!r}'
            )
        if min(in_channels, out_channels, base_channels, num_convs, max_channels) < 1 or depth < 0:
            raise ValueError('channels and num_convs must be at least 1 and depth at least 0')
        if residual and in_channels != out_channels:
            raise ValueError(
                f'residual=True needs in_channels == out_channels, got {in_channels} '
                f'and {out_channels}'
            )
        self.in_channels, self.depth, self.residual = in_channels, depth, residual
        self.slope = slope
        options = sharpen if isinstance(sharpen, dict) else dict(amount=sharpen)
        self.sharpen = Sharpening(**options)
        widths = [min(base_channels * 2**level, max_channels) for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            ConvBlock(before, width, num_convs, norm_cfg, slope)
            for before, width in zip([in_channels, *widths], widths)
        )
        self.up = nn.ModuleList(
            Upsample(widths[level + 1], widths[level], upsampling) for level in range(depth)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(2 * width, width, num_convs, norm_cfg, slope) for width in widths[:-1]
        )
        self.last = nn.Conv2d(widths[0], out_channels, 1)

    def init_weights(self) -> None:
        """Kaiming's weights, or what init_cfg asks for; a residual starts as zero."""
        if self.init_cfg is not None:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, a=self.slope)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.residual:
            nn.init.zeros_(self.last.weight)
        self._is_init = True

    @property
    def stride(self) -> int:
        """Pixels that one pixel of the deepest level stands for."""
        return 2**self.depth

    @property
    def receptive_radius(self) -> int:
        """Pixels beyond which nothing changes an output pixel; an overlap of tiles this wide."""
        convs = len([m for m in self.encoder[0].modules() if isinstance(m, nn.Conv2d)])
        below = sum(2 * convs * 2**level for level in range(self.depth)) + convs * self.stride
        return below + 2 * self.stride + self.sharpen.radius

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, in_channels, H, W), any H and W from 1.

        Returns:
            (N, out_channels, H, W).

        Raises:
            ValueError: If the shape is another.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels or 0 in x.shape[2:]:
            raise ValueError(
                f'SEMUNet takes (N, {self.in_channels}, H, W) with H and W of at '
                f'least 1, got {tuple(x.shape)}'
            )
        height, width = x.shape[2:]
        padded = features = pad_to_multiple(x, self.stride)
        skips = []
        for level, block in enumerate(self.encoder):
            features = block(features if level == 0 else F.max_pool2d(features, 2))
            skips.append(features)
        for level in reversed(range(self.depth)):
            features = self.decoder[level](torch.cat([skips[level], self.up[level](features)], 1))
        # In bfloat16 an output near 1 would come in steps of 1/256.
        with torch.autocast(device_type=x.device.type, enabled=False):
            out = self.last(features.to(self.last.weight.dtype))
            if self.residual:
                out = out + padded
            if not self.training:
                out = self.sharpen(out)
        return out[..., :height, :width]
