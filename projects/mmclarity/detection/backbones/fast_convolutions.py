"""Convolutions of a trained backbone, quick on the CPU: no batch norm of their own, quick backward.

Batch norm that keeps its running statistics is one multiplication and one addition a channel. Both
go into the convolution before it: as a scale of its few weights and as its bias, instead of a pass
over all its outputs forward and another one backward. The gradients of the norm's own weight and
bias come through the scaled ones, and are the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmclarity.utils import onednn
from mmclarity.utils.jit import compiled
from mmclarity.utils.models import is_heard

# The gradient of a smaller kernel (of stride 1) is as quick in torch.
LEAST_KERNEL = 5


@compiled(fastmath={'reassoc', 'contract', 'nsz'})
def _add_weight_gradient(
    out: np.ndarray, x: np.ndarray, grad: np.ndarray, rows: np.ndarray, stride: int, padding: int
) -> None:
    """Add to ``out`` (k, k, C) what some rows of the output contribute.

    Args:
        out: The weight's gradient, channels last.
        x: Input (N, H, W, C).
        grad: Gradient of the output (N, h, w, C).
        rows: First and last but one of the rows, counted over all N * h.
        stride: Of the convolution.
        padding: Of the convolution.
    """
    height, width = x.shape[1:3]
    for row in range(rows[0], rows[1]):
        image, y = row // grad.shape[1], row % grad.shape[1]
        for i in range(out.shape[0]):
            source = y * stride + i - padding
            if source < 0 or source >= height:
                continue
            for column in range(grad.shape[2]):
                g = grad[image, y, column]
                for j in range(out.shape[1]):
                    place = column * stride + j - padding
                    if place < 0 or place >= width:
                        continue
                    total, values = out[i, j], x[image, source, place]
                    for c in range(len(total)):
                        total[c] += values[c] * g[c]


def depthwise_weight_gradient(
    x: Tensor, grad: Tensor, size: int, stride: int, padding: int
) -> Tensor:
    """Gradient of a depthwise convolution's weight, the channels side by side in vectors.

    oneDNN's own takes about five times as long for kernels of 5x5 (672 channels at 24x40: 14 ms
    against 3 ms on two cores).

    Args:
        x: Input (N, C, H, W) on the CPU; float64, float32 or less, any layout.
        grad: Gradient of the output (N, C, h, w).
        size: Rows and columns of the kernel.
        stride: Of the convolution, on both axes.
        padding: Of the convolution, on both axes.

    Returns:
        (C, 1, size, size), float32, or float64 if ``x`` is.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    values, g = (t.detach().permute(0, 2, 3, 1).to(dtype).contiguous().numpy() for t in (x, grad))
    threads = max(1, torch.get_num_threads())
    out = np.zeros((threads, size, size, x.shape[1]), dtype=values.dtype)
    bounds = np.linspace(0, g.shape[0] * g.shape[1], threads + 1).astype(np.int64)
    work = [(out[i], values, g, bounds[i : i + 2], stride, padding) for i in range(threads)]
    if threads == 1:
        _add_weight_gradient(*work[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda args: _add_weight_gradient(*args), work))
    return torch.from_numpy(out.sum(0)).permute(2, 0, 1)[:, None]


class _DepthwiseConv(torch.autograd.Function):
    """A depthwise convolution in the input's type whose gradients are taken the quick way."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(
            x, weight.to(x.dtype), bias.to(x.dtype), stride, padding, groups=len(weight)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_x = _depthwise_input_gradient(x, weight, grad, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            by_weight = depthwise_weight_gradient(
                x, grad, weight.shape[2], ctx.stride, ctx.padding
            ).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            by_bias = grad.sum((0, 2, 3), dtype=weight.dtype)
        return by_x, by_weight, by_bias, None, None


def _depthwise_input_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int
) -> Tensor:
    size, groups = weight.shape[2], len(weight)
    if stride == 1:  # a convolution again, whose forward pass is the quick one
        turned = weight.flip(2, 3).to(grad.dtype).contiguous(memory_format=torch.channels_last)
        return F.conv2d(grad, turned, padding=size - 1 - padding, groups=groups)
    # In less than float32 this one is slow.
    wide = torch.promote_types(grad.dtype, torch.float32)
    by_x, _, _ = torch.ops.aten.convolution_backward(
        grad.to(wide),
        x.to(wide),
        weight.to(wide),
        None,
        [stride] * 2,
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        groups,
        [True, False, False],
    )
    return by_x.to(x.dtype)


def _is_quick_depthwise(conv: nn.Conv2d, x: Tensor) -> bool:
    size, stride, padding = conv.kernel_size, conv.stride, conv.padding
    return (
        x.device.type == 'cpu'
        and torch.is_grad_enabled()
        and conv.groups == conv.in_channels == conv.out_channels
        and size[0] == size[1]
        and stride[0] == stride[1]
        and (size[0] >= LEAST_KERNEL or stride[0] > 1)
        and padding == (size[0] // 2,) * 2
        and conv.dilation == (1, 1)
    )


def _can_fold(conv: nn.Conv2d, norm: nn.Module) -> bool:
    """Whether the statistics are fixed, and nobody listens to what lies between the two."""
    listened = is_heard(conv) or is_heard(norm)
    return not norm.training and norm.running_var is not None and norm.affine and not listened


def conv_norm_act(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(conv(x))`` for a timm ``BatchNormAct2d``, the norm folded in where it stands still.

    Args:
        conv: With zero padding.
        norm: Its batch norm, which ends with an activation (perhaps the identity).
        x: (N, C, H, W).

    Returns:
        (N, C', H', W').
    """
    if not _can_fold(conv, norm):
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    if _is_quick_depthwise(conv, x):
        if torch.is_autocast_enabled('cpu'):
            x = x.to(torch.get_autocast_dtype('cpu'))
        with torch.autocast('cpu', enabled=False):
            x = _DepthwiseConv.apply(x, weight, bias, conv.stride[0], conv.padding[0])
    elif onednn.knows(x, type(norm.act)) and not is_heard(norm.act):
        # A pass of its own takes as long as the convolution: 96 channels at 480x272 in bfloat16
        # 3.3 ms, 1.7 so (one core of an AMD Zen 5).
        return onednn.convolution(
            x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups, type(norm.act)
        )
    else:
        x = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    return norm.act(x)


class FoldedInvertedResidual(InvertedResidual):
    """timm's block (without squeeze-and-excitation, as in EfficientNet-Lite), folded."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        y = conv_norm_act(self.conv_pw, self.bn1, x)
        y = conv_norm_act(self.conv_dw, self.bn2, y)
        y = conv_norm_act(self.conv_pwl, self.bn3, y)
        return self.drop_path(y) + x if self.has_skip else y


class FoldedDepthwiseSeparable(DepthwiseSeparableConv):
    """timm's first block, folded."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        y = conv_norm_act(self.conv_pw, self.bn2, conv_norm_act(self.conv_dw, self.bn1, x))
        return self.drop_path(y) + x if self.has_skip else y


_FOLDED = {
    InvertedResidual: FoldedInvertedResidual,
    DepthwiseSeparableConv: FoldedDepthwiseSeparable,
}


def fold_blocks(blocks: nn.Module) -> None:
    """Give timm's blocks their folded forward pass; names and weights stay as they are."""
    for block in blocks.modules():
        if type(block) in _FOLDED and block.conv_s2d is None:
            block.__class__ = _FOLDED[type(block)]
