"""Export of a restorer to ONNX, with its padding and normalisation, for images of any size."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..io.micrograph import replacing
from ..models import restore_batch
from ..models.restorers import generator_of, network_stride, normalisation

PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
_EXAMPLE = (2, 1, 3, 5)  # batch, channels, rows and columns in strides: all different

__all__ = ['ExportableRestorer', 'check_onnx', 'export_onnx', 'missing_packages']


def missing_packages() -> list[str]:
    """Which of the packages that export and check need are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


class ExportableRestorer(nn.Module):
    """What :func:`.models.restore_batch` does, as a graph without branches on the size.

    Rows and columns are mirrored up to the network's stride by indices that are computed from the
    size, since an exporter keeps only one branch of an ``if``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.generator = _without_keywords(generator_of(model))
        self.stride = network_stride(model)
        for name, value in zip(('mean', 'std'), normalisation(model)):
            self.register_buffer(name, value.detach().clone().float().reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, H, W) in [0, 1] to the same."""
        height, width = image.shape[2:]
        padded = (image * 255 - self.mean) / self.std
        padded = padded.index_select(2, self._mirrored(height, image.device))
        padded = padded.index_select(3, self._mirrored(width, image.device))
        restored = self.generator(padded)[:, :, :height, :width]
        return ((restored * self.std + self.mean) / 255).clamp(0, 1)

    def _mirrored(self, size: int, device: torch.device) -> Tensor:
        index = torch.arange((size + self.stride - 1) // self.stride * self.stride, device=device)
        # an image smaller than what is added repeats its last pixels
        return (size - 1 - (size - 1 - index).abs()).abs().clamp(max=size - 1)


def _without_keywords(network: nn.Module) -> nn.Module:
    """A copy whose modules can be named in Python source, which the exporter writes.

    mmcv's ConvModule calls an instance norm ``in`` and looks it up by ``norm_name``.
    """
    network = copy.deepcopy(network)
    for module in network.modules():
        name = getattr(module, 'norm_name', None)
        if name is not None and iskeyword(name):
            module.add_module('norm_layer', module._modules.pop(name))
            module.norm_name = 'norm_layer'
    return network


def export_onnx(
    model: nn.Module, path: str | Path, opset: int = 18, overwrite: bool = False
) -> None:
    """Writes ``image`` (batch, 1, height, width) in [0, 1] -> ``restored``, all sizes free.

    Args:
        model: a restorer in evaluation mode, on the CPU.
        path: the new file; it holds the weights as well.
        opset: of ONNX, 18 or newer.
        overwrite: replace an existing file.

    Raises:
        ModuleNotFoundError: names the packages that are missing.
        FileExistsError, FileNotFoundError: see :func:`.io.write_sem`.
        ValueError: the model is in training mode.
    """
    missing = missing_packages()
    if missing:
        raise ModuleNotFoundError(f'export needs further packages: pip install {" ".join(missing)}')
    if model.training:
        raise ValueError('the model is in training mode; call model.eval() first')
    restorer = ExportableRestorer(model).eval()
    batch, channels, rows, columns = _EXAMPLE
    # not multiples of the stride, so that no size looks like a special one
    example = torch.rand(batch, channels, rows * restorer.stride - 1, columns * restorer.stride - 2)
    free = torch.export.Dim.DYNAMIC
    with replacing(Path(path), overwrite) as part, torch.no_grad():
        program = torch.onnx.export(
            restorer,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=['image'],
            output_names=['restored'],
            dynamic_shapes=({0: free, 2: free, 3: free},),
            verbose=False,
        )
        program.save(str(part), external_data=False)


def check_onnx(
    model: nn.Module,
    path: str | Path,
    shapes: Sequence[tuple[int, int, int]] = ((1, 96, 128), (3, 131, 75)),
    tolerance: float = 1e-4,
) -> float:
    """Compares an exported file with the model, in onnxruntime on the CPU.

    Args:
        model: what was exported, in evaluation mode, on the CPU.
        path: the file.
        shapes: (N, H, W) of the images to try.
        tolerance: largest difference that is accepted, in units of the range [0, 1].

    Returns:
        The largest difference.

    Raises:
        RuntimeError: a difference above ``tolerance``, or a result of another size.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    random, worst = np.random.default_rng(0), 0.0
    for batch, height, width in shapes:
        image = random.random((batch, 1, height, width), np.float32)
        found = session.run(None, {'image': image})[0]
        wanted = restore_batch(model, torch.from_numpy(image)).numpy()
        if found.shape != wanted.shape:
            raise RuntimeError(
                f'{path}: returns {found.shape} for {image.shape}, torch '
                f'{wanted.shape}; the export did not keep the sizes free'
            )
        worst = max(worst, float(np.abs(found - wanted).max()))
        if not worst <= tolerance:
            raise RuntimeError(
                f'{path}: differs from torch by {worst:.3g} of the range for '
                f'{image.shape}, more than {tolerance:g}'
            )
    return worst
