"""The operators of ``mmcv._ext`` by torchvision: what mmcv-lite, which compiles nothing, lacks.

A module supplies ``nms`` and ``roi_align`` (forward, backward) from torchvision's kernels, CPU and
CUDA, with the calling convention of mmcv 2.x; on the CPU, where torchvision's roi_align is slow,
the same numbers come from :mod:`.roi_align_cpu`, and ``softnms`` from :mod:`.soft_nms`. Any other
operator raises :class:`MissingOperatorError`, which names it. :mod:`.finder` puts the module in
place when mmcv asks for it; a compiled mmcv is left as it is.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor

from mmclarity.errors import UsageError

from . import roi_align_cpu
from .finder import EXT_NAME

_MAX_POOL = 0  # mmcv passes pool_mode as an integer: 0 is 'max', 1 is 'avg'


class MissingOperatorError(UsageError, NotImplementedError):
    """An mmcv operator was called that torchvision cannot stand in for."""


def _missing(operator: str) -> NoReturn:
    raise MissingOperatorError(
        f'mmcv operator "{operator}" needs a compiled mmcv, but mmcv-lite is installed and '
        'torchvision only stands in for nms, softnms and roi_align (average pooling). '
        'To get a compiled mmcv (torch <= 2.12 and a C++ compiler are needed): '
        'pip uninstall -y mmcv-lite && pip install --no-cache-dir --no-build-isolation mmcv==2.1.0'
    )


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    """The type to compute in: torchvision has no bfloat16 kernels, and half on CUDA only."""
    if tensor.dtype == torch.float64:
        return torch.float64
    if tensor.dtype == torch.float16 and tensor.is_cuda:
        return torch.float16
    return torch.float32


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression, as mmcv's ``nms`` operator.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2 in pixels, any real type.
        scores: (N,), any real type.
        iou_threshold: a box goes if its IoU with a better one is strictly greater, in [0, 1].
        offset: 0 or 1; the width of a box is ``x2 - x1 + offset``.

    Returns:
        (K,) int64 indices of the boxes that stay, best score first.

    Raises:
        ValueError: if ``offset`` is neither 0 nor 1.
    """
    if offset not in (0, 1):
        raise ValueError(f'nms: offset must be 0 or 1, got {offset!r}')
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    # Half precision cannot hold a box of a large image to the pixel: compute in single at least.
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    boxes, scores = boxes.detach().to(dtype), scores.detach().to(dtype)
    if offset:
        # Moving the far corner by one gives exactly the widths and overlaps of offset=1.
        boxes = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return torch.ops.torchvision.nms(boxes, scores, float(iou_threshold))


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Bilinear RoI pooling (RoIAlign, He et al. 2017), written into ``output``.

    Args:
        input: (N, C, H, W) feature map.
        rois: (R, 5) rows of image index, x1, y1, x2, y2 in pixels of the image.
        output: (R, C, aligned_height, aligned_width), overwritten.
        argmax_y: unused (for max pooling).
        argmax_x: unused (for max pooling).
        aligned_height: rows of bins.
        aligned_width: columns of bins.
        spatial_scale: cells of the feature map per pixel of the image.
        sampling_ratio: samples per bin and axis; 0 takes about one per cell.
        pool_mode: 1 for average; 0 for maximum.
        aligned: whether coordinates are shifted by half a cell.

    Raises:
        MissingOperatorError: for maximum pooling, which torchvision does not have.
    """
    if pool_mode == _MAX_POOL:
        _missing("roi_align_forward with pool_mode='max'")
    if output.numel() == 0:
        return
    dtype = _compute_dtype(input)
    input, rois = input.detach().to(dtype), rois.detach().to(dtype)
    how = float(spatial_scale), int(sampling_ratio), bool(aligned)
    bins = int(aligned_height), int(aligned_width)
    if input.device.type != 'cpu':
        output.copy_(torch.ops.torchvision.roi_align(input, rois, how[0], *bins, *how[1:]))
    elif output.dtype == dtype:
        roi_align_cpu.forward(input, rois, bins, *how, out=output.detach())
    else:
        output.copy_(roi_align_cpu.forward(input, rois, bins, *how))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` with respect to its input, added to ``grad_input``.

    Args:
        grad_output: (R, C, aligned_height, aligned_width).
        rois: (R, 5), as in the forward pass.
        argmax_y: unused (for max pooling).
        argmax_x: unused (for max pooling).
        grad_input: (N, C, H, W), added to.
        aligned_height: rows of bins.
        aligned_width: columns of bins.
        spatial_scale: cells of the feature map per pixel of the image.
        sampling_ratio: samples per bin and axis; 0 takes about one per cell.
        pool_mode: 1 for average; 0 for maximum.
        aligned: whether coordinates are shifted by half a cell.

    Raises:
        MissingOperatorError: for maximum pooling, which torchvision does not have.
    """
    if pool_mode == _MAX_POOL:
        _missing("roi_align_backward with pool_mode='max'")
    if grad_output.numel() == 0:
        return
    # of many regions on one place a sum in half precision would keep two digits
    dtype = torch.promote_types(grad_output.dtype, torch.float32)
    grad_output, rois = grad_output.detach().to(dtype), rois.detach().to(dtype)
    how = float(spatial_scale), int(sampling_ratio), bool(aligned)
    bins = int(aligned_height), int(aligned_width)
    if grad_output.device.type == 'cpu':
        grad = roi_align_cpu.backward(grad_output, rois, grad_input.shape, *how)
    else:
        grad = torch.ops.torchvision._roi_align_backward(
            grad_output, rois, how[0], *bins, *grad_input.shape, *how[1:]
        )
    grad_input.add_(grad.to(grad_input.dtype))


def _softnms(*args: Any, **kwargs: Any) -> Tensor:
    from .soft_nms import softnms  # it imports torchvision, which mmcv does not need to be imported

    return softnms(*args, **kwargs)


def _fallback(name: str) -> Callable[..., NoReturn]:
    """Module ``__getattr__``: mmcv.ops asks for every operator by name while it is imported."""
    if name.startswith('__'):
        raise AttributeError(f'module {EXT_NAME!r} has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        _missing(name)

    operator.__name__ = operator.__qualname__ = name
    return operator


class ExtensionLoader:
    """Makes the module ``mmcv._ext``."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module with its operators."""
        import torchvision  # noqa: F401  # registers its kernels with torch

        module = ModuleType(EXT_NAME, 'Operators of torchvision in the place of mmcv._ext.')
        module.nms = nms
        module.softnms = _softnms
        module.roi_align_forward = roi_align_forward
        module.roi_align_backward = roi_align_backward
        module.get_compiler_version = lambda: 'not compiled (operators of torchvision)'
        module.get_compiling_cuda_version = lambda: 'not compiled (operators of torchvision)'
        module.__getattr__ = _fallback
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module has all it needs."""


def extension_spec() -> ModuleSpec:
    """The spec with which ``mmcv._ext`` is imported where nothing is compiled."""
    return ModuleSpec(EXT_NAME, ExtensionLoader(), origin=__name__)


def operators() -> str:
    """Which operators mmcv uses: ``'compiled mmcv'``, ``'torchvision'`` or ``'none'``."""
    module = sys.modules.get(EXT_NAME)
    try:
        spec = importlib.util.find_spec(EXT_NAME) if module is None else module.__spec__
    except ModuleNotFoundError:  # no mmcv at all
        return 'none'
    if module is None and spec is None:
        return 'none'
    return (
        'torchvision'
        if isinstance(getattr(spec, 'loader', None), ExtensionLoader)
        else ('compiled mmcv')
    )
