"""A trained restorer applied to arrays, and with :mod:`.restores_files` to files and folders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmclarity.engine.config import load_config
from mmclarity.errors import UsageError

from ..general.appraising import appraise
from ..general.safeguards import guard
from ..general.weights import WEIGHTS, load_general, restore_general
from ..io.micrograph import SEMImage
from ..models import restore_batch
from ..models.restorers import generator_of, network_stride
from . import uncertainty as spread
from .building import build_restorer, check_options, default_overlap, is_general, listed
from .doubts import BOLDER, Doubts, find_doubts
from .files import FolderReport
from .job import Job, prepare
from .planning import GENERAL_OVERLAP, best_dtype, default_tile, measured_overlap
from .progress import Progress, part_of
from .remarks import mistaken, sharp_edges
from .restores_files import RestoresFiles
from .sharpening import sharpened
from .slow_levels import SlowLevels
from .tiling import restore_tiled, tile_weights

__all__ = ['FolderReport', 'Restorer', 'build_restorer']


class Restorer(RestoresFiles):
    """Restores micrographs: out of the box, or with models trained for one microscope.

    Without a config the general network is taken that ships with the package. It measures every
    image before it restores it: see :class:`.general.Appraisal`.

    Examples:
        >>> from mmclarity.restoration import Restorer
        >>> import numpy as np
        >>> noisy = np.random.default_rng(0).normal(120, 20, (64, 64)).clip(0, 255)
        >>> Restorer()(noisy.astype(np.uint8)).shape
        (64, 64)

    Args:
        config: of the models; file or Config; None for the general network. Its optional
            ``restoration=dict(bit_depth=8, pixel_size=5.8e-9)`` says what they were trained on:
            other images give a warning.
        checkpoint: weights, or several weights for an ensemble; None for the general network. Of
            that, without a config, what ``mmclarity-adapt`` wrote (``.safetensors``).
        device: 'cpu', 'cuda', 'cuda:1', ...
        tile: pixels at most, and the overlap on top, see :func:`.tiling.restore_tiled`; larger
            ones take less time and more memory. By default 2048, less on machines with little
            memory (:mod:`.planning`).
        overlap: pixels; by default measured, so that tiles differ from the whole image by less
            than one grey level of 8 bits (:func:`.planning.measured_overlap`).
        batch_size: tiles at once; by default 1, and 4 on a GPU.
        dtype: 'float32', 'bfloat16' or 'float16' for mixed precision. By default bfloat16 on
            processors that compute in it, for the networks of this package; else float32.
        strength: of the general network: factor on the noise it is told of. Above 1 it takes more
            away.
        tell: called with lines of plain words about every image: its noise, its grey levels.
        sharpen: of the general network: factor on how much edges are narrowed after the
            restoration (:func:`..ops.narrow_edges`). 1 makes them as narrow as in a slow scan, for
            a fifth of a decibel; 0 leaves them as the network gives them.
        slow_levels: give the grey levels that a slow scan would have, instead of those of the noisy
            image; of weights that ``mmclarity-adapt --clean`` made with pairs, which tell them.

    Raises:
        UsageError, TypeError: see :func:`build_restorer`; or the device is not there.
        ValueError: see :func:`.building.check_options`; no checkpoint, or sizes that do not go
            together.
    """

    levels = SlowLevels()

    def __init__(
        self,
        config: str | Path | Config | None = None,
        checkpoint: str | Path | Sequence[str | Path] | None = None,
        device: str = 'cpu',
        tile: int | None = None,
        overlap: int | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        strength: float = 1.0,
        tell: Callable[[str], object] | None = None,
        sharpen: float = 0.0,
        slow_levels: bool = False,
    ) -> None:
        whole = dict(tile=tile, overlap=overlap, batch_size=batch_size)
        check_options(device, strength, dtype, tell, sharpen, **whole)
        self.weights = listed(checkpoint)  # none: those of the package
        self.general = config is None and is_general(self.weights)
        if checkpoint is not None and not self.weights:
            raise ValueError('at least one checkpoint is needed')
        if sharpen and not self.general:
            raise UsageError(
                'sharpening after the restoration is of the general network; a network of your '
                'own takes generator.sharpen in its config, as configs/sharp_unet_sem.py of the '
                'repository does'
            )
        self.strength, self.tell, self.sharpen = strength, tell, sharpen
        self.trained_on: dict[str, object] = {}
        if self.general:
            files = self.weights or [WEIGHTS]
            self.models: list[nn.Module] = [load_general(path, device) for path in files]
        else:
            self.models = self._trained(config, device)
        if slow_levels:
            self.levels = SlowLevels.known_to(self.models, self.weights)
        network = self.models[0] if self.general else generator_of(self.models[0])
        if batch_size is None:
            batch_size = 1 if device == 'cpu' else 4
        tile = tile or default_tile(device, batch_size)
        # of a network of one's own it is measured at the first image that needs tiles
        self._measure = overlap is None and not self.general
        if overlap is None:
            most = GENERAL_OVERLAP if self.general else default_overlap(self.models[0], tile)
            overlap = min(most, tile)
        self.device = torch.device(device)
        self.dtype = best_dtype(network, device) if dtype is None else getattr(torch, dtype)
        if self.dtype == torch.float32:
            self.dtype = None
        self.tiling = dict(
            tile=tile,
            overlap=overlap,
            batch_size=batch_size,
            align=self.models[0].stride if self.general else network_stride(self.models[0]),
        )
        # sizes that do not go together are refused here, not at the first large image
        tile_weights(2 * tile + 1, tile, overlap, self.tiling['align'])
        self._said: set[str] = set()

    def _trained(self, config: str | Path | Config | None, device: str) -> list[nn.Module]:
        if config is None or not self.weights:
            raise UsageError(
                'a config needs a checkpoint and a checkpoint its config; without both, the '
                'general network is taken. (Weights of mmclarity-adapt, .safetensors, need none.)'
            )
        cfg = config if isinstance(config, Config) else load_config(str(config))
        self.trained_on = dict(cfg.get('restoration') or {})
        return [build_restorer(cfg, path, device) for path in self.weights]

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
        job = self._prepare(image, data_range)
        if len(self.models) == 1:
            return self._finished(self._run(self.models[0], job.pixels, job, progress), job)
        total = np.zeros(job.pixels.shape, np.float32)
        for i, model in enumerate(self.models):
            total += self._run(model, job.pixels, job, part_of(progress, i, len(self.models)))
        return self._finished(total / np.float32(len(self.models)), job)

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
            What :meth:`__call__` returns, the mean of the restorations (not sharpened), and their
            standard deviation; (H, W) float32 in [0, 1].
        """
        if not noise >= 0:
            raise ValueError(f'noise must be a number >= 0, got {noise}')
        job = self._prepare(image, data_range)
        restored, mean, std = self._several(job, noise, progress)
        return self._finished(restored, job), self.levels.of(mean), self.levels.spread(std)

    def with_doubts(
        self,
        image: np.ndarray | SEMImage,
        data_range: float | None = None,
        progress: Progress | None = None,
    ) -> Doubts:
        """Restores one picture several times and judges each of its particles.

        Of the general network, the chance that a particle is wrong is estimated (see
        :mod:`.doubts`), which takes one restoration more than :meth:`with_uncertainty`; of an
        ensemble, particles are doubted that only some members see; of another single network,
        those that are faint against the noise. Particles are judged before edges are sharpened.
        """
        job = self._prepare(image, data_range)
        alone, count = len(self.models) == 1, self._restorations
        judged = self.general and alone
        whole = count + judged

        def first(done: int, total: int) -> None:
            if progress is not None:
                progress(done, total * whole // count)

        restored, mean, std = self._several(job, 0.0, first)
        bolder = None
        if judged:
            last = part_of(progress, count, whole)
            bolder = self._run(self.models[0], job.pixels, job, last, BOLDER * self.strength)
        like = job.like or appraise(job.pixels, job.scale, job.black * job.scale)
        noisy = np.asarray(job.pixels / np.float32(job.scale), np.float32) - np.float32(job.black)
        found = find_doubts(noisy, restored, mean, std, like, bolder, alone)
        return replace(
            found,
            restored=self._finished(restored, job),
            mean=self.levels.of(found.mean),
            std=self.levels.spread(found.std),
        )

    @property
    def _restorations(self) -> int:
        """How many :meth:`_several` makes."""
        if len(self.models) > 1:
            return len(self.models)
        return len(spread.FLIPS) + self.general

    def _several(
        self, job: Job, noise: float, progress: Progress | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = self._restorations
        asked = iter(range(count))

        def run(model: nn.Module, copy: np.ndarray, twice: bool = True) -> np.ndarray:
            return self._run(model, copy, job, part_of(progress, next(asked), count), twice=twice)

        if len(self.models) > 1:
            mean, std = spread.mean_and_spread(
                [lambda model=model: run(model, job.pixels) for model in self.models]
            )
            return mean, mean, std
        model = self.models[0]
        if self.general:  # the spread of single looks; the answer is what two agree on
            plain = run(model, job.pixels)
            looks = spread.augmented(
                lambda copy: run(model, copy, False), job.pixels, noise * job.scale
            )
            return plain, *spread.mean_and_spread(looks)
        members = spread.augmented(lambda copy: run(model, copy), job.pixels, noise * job.scale)
        plain = members[0]()
        mean, std = spread.mean_and_spread([lambda: plain, *members[1:]])
        return plain, mean, std

    def _run(
        self,
        model: nn.Module,
        pixels: np.ndarray,
        job: Job,
        progress: Progress | None,
        strength: float | None = None,
        twice: bool = True,
    ) -> np.ndarray:
        def function(batch: Tensor, spare: Sequence[int] = (0, 0, 0, 0)) -> Tensor:
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
            ):
                levels = batch.to(self.device) - job.black
                if job.like is not None:
                    told = strength or self.strength
                    return restore_general(model, levels, job.like, told, twice, spare)
                return restore_batch(model, levels)

        if self._measure and max(pixels.shape) > self.tiling['tile'] + self.tiling['overlap']:
            self._measure = False
            measured = measured_overlap(function, self.tiling['align'])
            if measured is not None:
                self.tiling['overlap'] = min(measured, self.tiling['overlap'])
        options = dict(scale=job.scale, trims=job.like is not None, **self.tiling)
        restored = restore_tiled(function, pixels, progress=progress, **options)
        if job.like is None or not (twice and model.manner.guarded):
            return restored
        again = partial(restore_tiled, function, **options)
        told, black = strength or self.strength, job.black * job.scale
        shares = guard(pixels, restored, job.like, again, told, job.scale, black)
        for line in mistaken(shares[0], job.like):
            self._warn(job.source and f'{job.source} mistaken', f'{job.label}: {line}')
        for line in sharp_edges(shares[1]):
            self._warn(job.source and f'{job.source} sharp', f'{job.label}: {line}')
        return restored

    def _finished(self, restored: np.ndarray, job: Job) -> np.ndarray:
        return self.levels.of(self._sharpened(restored, job))

    def _sharpened(self, restored: np.ndarray, job: Job) -> np.ndarray:
        if not self.sharpen or job.like is None:
            return restored
        return sharpened(restored, job.like, self.sharpen, self.tiling, self.device)

    def _prepare(self, image: np.ndarray | SEMImage, data_range: float | None) -> Job:
        """Checked pixels as they are, what makes levels of them, and what the image is like."""
        job = prepare(image, data_range, self.general, self.trained_on, self.tell, self._warn)
        self.levels.check(job)
        return job

    def _warn(self, key: str, text: str) -> None:
        if not key or key not in self._said:
            self._said.add(key)
            warnings.warn(text, stacklevel=5)
