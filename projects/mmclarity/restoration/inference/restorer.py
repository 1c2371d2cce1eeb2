"""A trained restorer applied to arrays, files and folders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import load_weights

from ..io.micrograph import (
    SEMImage,
    SEMImageError,
    check_writable,
    from_array,
    list_images,
    read_sem,
    replacing,
    write_map,
    write_sem,
)
from ..models import restore_batch
from ..models.restorers import generator_of, network_stride
from . import uncertainty as spread
from .tiling import restore_tiled, tile_weights

Progress = Callable[[int, int], None]
_DARK = 1 / 8  # of the range: a 16 bit picture darker than this often holds 12 bit data
_PIXEL_RATIO = 1.5  # larger or smaller pixels than in training by this factor are worth a word

__all__ = ['FolderReport', 'Restorer', 'build_restorer']


@dataclass
class FolderReport:
    """What became of the images of a folder: written files, and reasons by failed file."""

    done: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)


def build_restorer(
    config: str | Path | Config, checkpoint: str | Path, device: str = 'cpu'
) -> nn.Module:
    """Builds a restorer of mmagic and loads its weights, in evaluation mode.

    Where training kept a moving average of the weights (mmengine's EMAHook), ``state_dict`` of its
    checkpoints is the average: it is what gets loaded.

    Raises:
        UsageError: the config has no model, or the checkpoint is missing, damaged, or of another
            model.
        TypeError: the model is no restorer.
    """
    cfg = config if isinstance(config, Config) else load_config(str(config))
    if 'model' not in cfg:
        raise UsageError(f'{cfg.filename or "the config"} has no model')
    from mmagic.registry import MODELS  # its models may be named in the config

    # not for good: the caller may work with another library's scope
    with DefaultScope.overwrite_default_scope('mmagic'):
        model = MODELS.build(cfg.model)
    generator_of(model)
    load_weights(model, str(checkpoint))
    return model.to(device, memory_format=torch.channels_last).eval()


class Restorer:
    """Restores micrographs with one trained model or the mean of several.

    Args:
        config: of the models; file or Config. Its optional ``restoration=dict(bit_depth=8,
            pixel_size=5.8e-9)`` says what they were trained on: other images give a warning.
        checkpoint: weights, or several weights for an ensemble.
        device: 'cpu', 'cuda', 'cuda:1', ...
        tile: pixels, see :func:`.tiling.restore_tiled`; larger ones are faster and take memory.
        overlap: pixels; by default what :func:`default_overlap` finds for the network.
        batch_size: tiles at once.
        dtype: None for float32, 'bfloat16' or 'float16' for mixed precision.

    Raises:
        UsageError, TypeError: see :func:`build_restorer`.
        ValueError: unknown ``dtype``, no checkpoint, or sizes that do not go together.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | Sequence[str | Path],
        device: str = 'cpu',
        tile: int = 512,
        overlap: int | None = None,
        batch_size: int = 4,
        dtype: str | None = None,
    ) -> None:
        if dtype not in (None, 'bfloat16', 'float16'):
            raise ValueError(f"dtype must be None, 'bfloat16' or 'float16', not {dtype!r}")
        checkpoints = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
        if not checkpoints:
            raise ValueError('at least one checkpoint is needed')
        cfg = config if isinstance(config, Config) else load_config(str(config))
        self.models = [build_restorer(cfg, path, device) for path in checkpoints]
        if overlap is None:
            overlap = default_overlap(self.models[0], tile)
        self.device = torch.device(device)
        self.dtype = getattr(torch, dtype) if dtype else None
        self.tiling = dict(
            tile=tile, overlap=overlap, batch_size=batch_size, align=network_stride(self.models[0])
        )
        # sizes that do not go together are refused here, not at the first large image
        tile_weights(2 * tile + 1, tile, overlap, self.tiling['align'])
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        self.trained_on = dict(cfg.get('restoration') or {})
        self._said: set[str] = set()

    def __call__(
        self,
        image: np.ndarray | SEMImage,
        data_range: float | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Restores one picture.

        Args:
            image: (H, W), or what :func:`.io.read_sem` returned, whose content is taken.
            data_range: the value that means white; 255 and 65535 for 8 and 16 bit if not given,
                needed for floating point.
            progress: called with the number of tiles done and of all.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            SEMImageError: not (H, W), NaN or Inf, or values outside 0 to ``data_range``.
        """
        pixels, scale = self._prepare(image, data_range)
        if len(self.models) == 1:
            return self._run(self.models[0], pixels, scale, progress)
        total = np.zeros(pixels.shape, np.float32)
        for i, model in enumerate(self.models):
            total += self._run(model, pixels, scale, _part(progress, i, len(self.models)))
        return total / np.float32(len(self.models))

    def with_uncertainty(
        self,
        image: np.ndarray | SEMImage,
        data_range: float | None = None,
        noise: float = 0.0,
        progress: Progress | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Restores one picture several times.

        An ensemble is asked member by member; a single model is shown the picture and its mirror
        images (and ``noise`` on top, see :func:`.uncertainty.augmented`).

        Returns:
            What :meth:`__call__` returns, the mean of the restorations, and their standard
            deviation; (H, W) float32 in [0, 1].
        """
        pixels, scale = self._prepare(image, data_range)
        count = len(self.models) if len(self.models) > 1 else len(spread.FLIPS)
        asked = iter(range(count))

        def run(model: nn.Module, copy: np.ndarray) -> np.ndarray:
            return self._run(model, copy, scale, _part(progress, next(asked), count))

        if len(self.models) > 1:
            mean, std = spread.mean_and_spread(
                [lambda model=model: run(model, pixels) for model in self.models]
            )
            return mean, mean, std
        members = spread.augmented(lambda copy: run(self.models[0], copy), pixels, noise * scale)
        plain = members[0]()
        mean, std = spread.mean_and_spread([lambda: plain, *members[1:]])
        return plain, mean, std

    def _run(
        self, model: nn.Module, pixels: np.ndarray, scale: float, progress: Progress | None
    ) -> np.ndarray:
        def function(batch: Tensor) -> Tensor:
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
            ):
                return restore_batch(model, batch.to(self.device))

        return restore_tiled(function, pixels, progress=progress, scale=scale, **self.tiling)

    def _prepare(
        self, image: np.ndarray | SEMImage, data_range: float | None
    ) -> tuple[np.ndarray, float]:
        """Checked pixels as they are, and what to divide them by."""
        if not isinstance(image, SEMImage):
            image = from_array(image, data_range)
        elif data_range is not None:
            raise ValueError('data_range goes to read_sem where the image comes from a file')
        self._compare_with_training(image)
        return image.image, image.data_range

    def _compare_with_training(self, image: SEMImage) -> None:
        name, bits = image.path or 'the image', 8 * image.pixels.dtype.itemsize
        trained = self.trained_on.get('bit_depth')
        if trained and bits != trained:
            self._warn(
                'bit_depth',
                f'{name}: has {bits} bits per pixel, the model was trained on '
                f'{trained}: grey values are divided by {image.data_range:g}, and '
                'brightness and contrast should be as in training',
            )
        if bits == 16 and image.image.max() < _DARK * image.data_range:
            self._warn(
                f'dark {name}',
                f'{name}: its brightest pixel is {image.image.max()} of '
                f'{image.data_range:g}; if it holds 12 bit data, give data_range=4095',
            )
        size, wanted = image.pixel_size, self.trained_on.get('pixel_size')
        if size and wanted and not 1 / _PIXEL_RATIO < size / wanted < _PIXEL_RATIO:
            self._warn(
                'pixel_size',
                f'{name}: has pixels of {size * 1e9:.3g} nm, the model was '
                f'trained on {wanted * 1e9:.3g} nm: particles appear in other sizes than '
                'it has learnt',
            )

    def _warn(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            warnings.warn(text, stacklevel=4)

    def restore_file(
        self,
        src: str | Path,
        dst: str | Path,
        overwrite: bool = False,
        uncertainty: bool = False,
        progress: Progress | None = None,
        **reading: object,
    ) -> list[Path]:
        """Restores a file into another one of the same format; see :func:`.io.write_sem`.

        Args:
            src, dst: files; not the same one.
            overwrite: replace existing files.
            uncertainty: write ``NAME_uncertainty.tif`` (standard deviation, float32, in [0, 1])
                and ``NAME_doubtful.png`` (particles circled, doubtful ones in red) beside ``dst``;
                both show the picture without data bar and border.
            progress: as :meth:`__call__`.
            **reading: options of :func:`.io.read_sem`.

        Returns:
            The files written.

        Raises:
            FileExistsError, FileNotFoundError, SEMImageError: before anything is computed,
                wherever possible.
        """
        src, dst = Path(src), Path(dst)
        if dst.exists() and src.exists() and dst.samefile(src):
            raise SEMImageError(f'{src}: would be replaced by its restoration; choose another name')
        targets = [dst]
        if uncertainty:
            targets += [
                dst.with_name(f'{dst.stem}_uncertainty.tif'),
                dst.with_name(f'{dst.stem}_doubtful.png'),
            ]
        image = read_sem(src, **reading)
        for target in targets:
            if target.exists() and not overwrite:
                raise FileExistsError(
                    f'{target}: exists already; choose another name, or ask to overwrite'
                )
        check_writable(dst, image)
        if not uncertainty:
            write_sem(dst, self(image, progress=progress), image, overwrite)
            return targets
        restored, mean, std = self.with_uncertainty(image, progress=progress)
        write_sem(dst, restored, image, overwrite)
        write_map(targets[1], std, image.pixel_size, overwrite)
        picture = spread.draw_particles(restored, *spread.find_doubtful(restored, mean, std))
        _write_png(targets[2], picture)
        return targets

    def restore_folder(
        self,
        src: str | Path,
        dst: str | Path,
        overwrite: bool = False,
        uncertainty: bool = False,
        progress: Callable[[Path, int, int], None] | None = None,
        **reading: object,
    ) -> FolderReport:
        """Restores every image of a folder into another; one that fails does not stop the rest.

        Args:
            src, dst: folders, not the same one; ``dst`` is made if it is not there.
            overwrite, uncertainty, **reading: as :meth:`restore_file`.
            progress: called with the file, and the number of its tiles done and of all.

        Raises:
            FileNotFoundError, NotADirectoryError: see :func:`.io.list_images`.
            SEMImageError: one folder for both, or maps of two files would have one name.
        """
        src, dst = Path(src), Path(dst)
        images = list_images(src)
        if dst.exists() and dst.samefile(src):
            raise SEMImageError(f'{dst}: the originals are there; choose another folder')
        if uncertainty and len({path.stem for path in images}) < len(images):
            raise SEMImageError(
                f'{src}: files that differ in their ending only would share one '
                'uncertainty map; rename them'
            )
        dst.mkdir(parents=True, exist_ok=True)
        report = FolderReport()
        for path in images:

            def tell(done: int, total: int, path: Path = path) -> None:
                if progress is not None:
                    progress(path, done, total)

            try:
                report.done += self.restore_file(
                    path, dst / path.name, overwrite, uncertainty, tell, **reading
                )
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                text = str(error) or type(error).__name__
                report.failed[path] = text if str(path) in text else f'{path}: {text}'
        return report


def default_overlap(model: nn.Module, tile: int) -> int:
    """Pixels of overlap that keep a tile's false edges below 1e-3 of the range.

    Twice the radius that the network sees leaves no trace of them; two thirds of that were enough
    in a trial with a U-net of random weights (7e-4). Networks that do not tell their radius get a
    quarter of a tile.
    """
    radius = getattr(generator_of(model), 'receptive_radius', None)
    return min(-(-4 * radius // 3) if radius is not None else tile // 4, tile // 2)


def _part(progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress of one of ``count`` equal runs as progress of all."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, count * total)


def _write_png(path: Path, picture: np.ndarray) -> None:
    ok, data = cv2.imencode('.png', picture)
    if not ok:
        raise OSError(f'{path}: the picture could not be encoded')
    with replacing(path, overwrite=True) as part:
        part.write_bytes(data.tobytes())
