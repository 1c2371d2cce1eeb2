"""What lets the frozen OpenMMLab releases run on today's torch, without a compiler.

:func:`install` must be called before mmdet is imported. It does two things, both only once:

* ``mmcv-lite`` has no compiled operators (``mmcv._ext``). A stand-in module supplies ``nms`` and
  ``roi_align`` (forward, backward) from torchvision's kernels, CPU and CUDA, with the calling
  convention of mmcv 2.x; on the CPU, where torchvision's roi_align is slow, the same numbers come
  from :mod:`mmclarity.compat.roi_align_cpu`. Any other operator raises
  :class:`MissingOperatorError`, which names it. A compiled mmcv is left as it is.
* torch >= 2.6 loads checkpoints with ``weights_only=True`` and refuses the few types that mmengine
  puts into them beside tensors; these, and no others, are declared safe.
"""

import importlib.machinery
import importlib.util
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from . import roi_align_cpu

EXT_NAME = 'mmcv._ext'
_MARK = '__mmclarity_standin__'
HISTORY_STATISTICS = ('min', 'max', 'current', 'mean')
_MAX_POOL = 0  # mmcv passes pool_mode as an integer: 0 is 'max', 1 is 'avg'


class MissingOperatorError(NotImplementedError):
    """An mmcv operator was called that torchvision cannot stand in for."""


def _missing(operator: str) -> NoReturn:
    raise MissingOperatorError(
        f'mmcv operator "{operator}" needs a compiled mmcv, but mmcv-lite is installed and '
        'torchvision only stands in for nms and roi_align (average pooling). '
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
    pooled = None
    if input.device.type == 'cpu':
        pooled = roi_align_cpu.forward(input, rois, bins, *how)
    if pooled is None:
        pooled = torch.ops.torchvision.roi_align(input, rois, how[0], *bins, *how[1:])
    output.copy_(pooled)


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
    dtype = _compute_dtype(grad_output)
    grad_output, rois = grad_output.detach().to(dtype), rois.detach().to(dtype)
    how = float(spatial_scale), int(sampling_ratio), bool(aligned)
    bins = int(aligned_height), int(aligned_width)
    grad = None
    if grad_output.device.type == 'cpu':
        grad = roi_align_cpu.backward(grad_output, rois, grad_input.shape, *how)
    if grad is None:
        grad = torch.ops.torchvision._roi_align_backward(
            grad_output, rois, how[0], *bins, *grad_input.shape, *how[1:]
        )
    grad_input.add_(grad.to(grad_input.dtype))


def _fallback(name: str) -> Callable[..., NoReturn]:
    """Module ``__getattr__``: mmcv.ops asks for every operator by name while it is imported."""
    if name.startswith('__'):
        raise AttributeError(f'module {EXT_NAME!r} has no attribute {name!r}')

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        _missing(name)

    operator.__name__ = operator.__qualname__ = name
    return operator


def _make_extension() -> ModuleType:
    module = ModuleType(EXT_NAME, 'Operators of torchvision in the place of mmcv._ext.')
    # mmcv looks for its extension with pkgutil.find_loader, which wants a spec with a loader.
    module.__spec__ = importlib.machinery.ModuleSpec(
        EXT_NAME, importlib.machinery.BuiltinImporter, origin=f'{__name__}'
    )
    module.__loader__ = module.__spec__.loader
    setattr(module, _MARK, True)
    module.nms = nms
    module.roi_align_forward = roi_align_forward
    module.roi_align_backward = roi_align_backward
    module.get_compiler_version = lambda: 'not compiled (operators of torchvision)'
    module.get_compiling_cuda_version = lambda: 'not compiled (operators of torchvision)'
    module.__getattr__ = _fallback
    return module


def operators() -> str:
    """Which operators mmcv uses: ``'compiled mmcv'``, ``'torchvision'`` or ``'none'``."""
    module = sys.modules.get(EXT_NAME)
    if module is not None:
        return 'torchvision' if getattr(module, _MARK, False) else 'compiled mmcv'
    return 'compiled mmcv' if importlib.util.find_spec(EXT_NAME) is not None else 'none'


def _install_operators() -> None:
    if operators() != 'none':
        return
    # The kernels are registered with torch when torchvision is imported.
    import mmcv
    import torchvision  # noqa: F401

    module = _make_extension()
    sys.modules[EXT_NAME] = module
    mmcv._ext = module


def _history_statistic(owner: Any, name: str) -> Callable:
    """All that a ``getattr`` in a checkpoint may do: name a statistic of mmengine's HistoryBuffer.

    A HistoryBuffer carries its methods (``mean``, ``max``, ...) in its state, and pickle writes a
    method as ``getattr(HistoryBuffer, name)``. The real ``getattr`` would let a checkpoint reach
    anything, so this function is what the name stands for while weights are loaded.

    Raises:
        pickle.UnpicklingError: for any other object or name.
    """
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in HISTORY_STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for attribute {name!r} of {owner!r}; '
            f'only {", ".join(HISTORY_STATISTICS)} of HistoryBuffer are safe'
        )
    return getattr(HistoryBuffer, name)


def _install_safe_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read what mmengine saves for a resume."""
    add = getattr(torch.serialization, 'add_safe_globals', None)
    if add is None:  # torch < 2.4 has no such check to satisfy
        return
    from mmengine.logging import HistoryBuffer

    # Taken from what numpy itself pickles, because the module that holds them moved in numpy 2.
    functions = {
        '_reconstruct': np.zeros(1).__reduce__()[0],
        'scalar': np.float64(0).__reduce__()[0],
    }
    safe: list[Any] = [HistoryBuffer, np.ndarray, np.dtype]
    safe += [(_history_statistic, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    # numpy 1 and 2 write different module names for the same two functions.
    for package in ('numpy.core', 'numpy._core'):
        safe += [(func, f'{package}.multiarray.{name}') for name, func in functions.items()]
    kinds = np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?'
    safe += sorted({type(np.dtype(kind)) for kind in kinds}, key=lambda kind: kind.__name__)
    add(safe)


def install() -> None:
    """Make mmcv, mmengine and mmdet usable; call it before mmdet is imported. Idempotent."""
    _install_operators()
    _install_safe_globals()
