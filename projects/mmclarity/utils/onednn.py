"""Convolutions by oneDNN itself: an activation as results are written, and few output channels.

torch hands a convolution to oneDNN without what comes after it, and does some (float32 of one cell
to a dozen channels) by other means. This is the operator that ``torch.compile`` uses; it has no
gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: What may follow: the operator's names and arguments.
ACTIVATIONS = {nn.Identity: ('none', []), nn.ReLU: ('relu', []), nn.ReLU6: ('hardtanh', [0.0, 6.0])}


def knows(x: Tensor, activation: type[nn.Module] = nn.Identity) -> bool:
    """Whether :func:`convolution` can be used here and now: in inference, on the CPU."""
    return (
        activation in ACTIVATIONS
        and x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_grad_enabled()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, '_convolution_pointwise')
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
    )


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    activation: type[nn.Module] = nn.Identity,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A convolution and an activation.

    Args:
        x: (N, C, H, W) of a type that :func:`knows` says yes to.
        weight: (C', C / groups, h, w).
        bias: (C',).
        stride: On both axes.
        padding: Zeros on both axes.
        dilation: On both axes.
        groups: Of channels.
        activation: One of :data:`ACTIVATIONS`.
        dtype: To compute in, whatever autocast says. By default what that, or else ``x``, asks for.

    Returns:
        (N, C', H', W').
    """
    if dtype is None:
        dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
    name, arguments = ACTIVATIONS[activation]
    with torch.autocast('cpu', enabled=False):
        return torch.ops.mkldnn._convolution_pointwise(
            x.to(dtype),
            weight.to(dtype),
            bias.to(dtype),
            padding,
            stride,
            dilation,
            groups,
            name,
            arguments,
            '',
        )
