"""Batches of training examples without end, drawn from real and simulated clean images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

from ..io import list_images, read_sem
from .content import KINDS as SHAPES
from .content import make_structure
from .patches import Example, Ranges, draw_example, stretched
from .sharp import KINDS as SHARP
from .sharp import make_sharp

__all__ = ['ExampleBatches', 'example_loader']

JUDGES = {f'{number:03d}' for number in range(31, 51)}  # 031-035 to choose by, 036-050 to judge by
ALLOY_JUDGES = 5  # the last ones by name
# What the examples show: kind of clean image, share of the examples.
SHARES = dict(spheres=0.29, alloy=0.12, phantom=0.09, structure=0.16, sharp=0.34)
# Share of the sharp ones that are not resized, which would blur them.
UNZOOMED = 0.6
RADII = (3.0, 4.5, 8.0, 16.0)  # median ones of the simulated spheres
SIDE = 384  # of simulated images
# Batches that a worker process makes ahead.
AHEAD = 4


def _simulated(kind: str, seed: int) -> np.ndarray:
    """One simulated clean image at full contrast, a function of the two."""
    if kind == 'phantom':
        radius = RADII[seed % len(RADII)]
        return stretched(make_phantom(PhantomSettings(SIDE, median_radius=radius), seed).image)
    if kind == 'sharp':
        return stretched(make_sharp(sorted(SHARP)[seed % len(SHARP)], SIDE, seed))
    return stretched(make_structure(sorted(SHAPES)[seed % len(SHAPES)], SIDE, seed))


class ExampleBatches(IterableDataset):
    """Batches (noisy, clean, noise) as :class:`GeneralUNet` takes them.

    Each worker process of a loader keeps its own share of the simulated images, and draws its own
    examples.

    Args:
        data: folder of ``sem_pairs/high`` and ``sem_superalloy``; images that judge are left out.
        batch: examples a batch.
        size: of the patches in pixels.
        seed: with the number of the worker, where all of it comes from.
        phantoms: simulated images of spheres that are kept.
        structures: other simulated images that are kept.
        sharp: those with edges as sharp as pixels can show.
        renewed: chance that a simulated image is made anew when it is drawn from; it costs 15 to
            140 ms, an example 1 ms.
        ranges: how they are made worse; by default all that training covers.
        shares: of the examples by kind of clean image, on any scale; kinds that are not named have
            those of :data:`SHARES`.

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: a share is of no kind, or negative, or all are zero.
    """

    def __init__(
        self,
        data: Path,
        batch: int,
        size: int,
        seed: int = 0,
        phantoms: int = 48,
        structures: int = 240,
        sharp: int = 240,
        renewed: float = 0.0,
        ranges: Ranges | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.shares = SHARES | dict(shares or {})
        if set(self.shares) - set(SHARES):
            raise ValueError(f'shares are of {", ".join(SHARES)}; got {", ".join(shares or ())}')
        if min(self.shares.values()) < 0 or not any(self.shares.values()):
            raise ValueError(f'shares must be zero or more, and not all zero; got {self.shares}')
        self.ranges = ranges or Ranges()
        self.batch, self.size, self.seed, self.renewed = batch, size, seed, renewed
        self.counts = dict(phantom=phantoms, structure=structures, sharp=sharp)
        spheres = [p for p in list_images(data / 'sem_pairs/high') if p.stem not in JUDGES]
        alloy = list_images(data / 'sem_superalloy')[:-ALLOY_JUDGES]
        self.images = dict(
            spheres=[stretched(read_sem(path).unit) for path in spheres],
            alloy=[stretched(read_sem(path).unit) for path in alloy],
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless: (N, 1, S, S) noisy, (N, 1, S, S) clean, (N, 3) noise; float32."""
        worker = get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, index])
        images = self.images | {
            kind: [_simulated(kind, seed) for seed in range(index, count, workers)]
            for kind, count in self.counts.items()
        }
        kinds = [kind for kind, share in self.shares.items() if images[kind] and share]
        shares = np.array([self.shares[kind] for kind in kinds])
        while True:
            drawn = rng.choice(kinds, self.batch, p=shares / shares.sum())
            examples = [self._example(images[kind], kind, rng) for kind in drawn]
            noisy, clean, noise = (
                torch.from_numpy(np.stack([getattr(example, name) for example in examples]))
                for name in ('noisy', 'clean', 'noise')
            )
            yield noisy[:, None], clean[:, None], noise

    def _example(self, images: list[np.ndarray], kind: str, rng: np.random.Generator) -> Example:
        ranges = self.ranges
        if kind == 'sharp' and rng.uniform() < UNZOOMED:
            ranges = replace(ranges, zoom=(1.0, 1.0))
        return draw_example(self._draw(images, kind, rng), self.size, rng, ranges)

    def _draw(self, images: list[np.ndarray], kind: str, rng: np.random.Generator) -> np.ndarray:
        """One of the images, made anew by chance."""
        index = int(rng.integers(len(images)))
        if kind in self.counts and rng.uniform() < self.renewed:
            images[index] = _simulated(kind, int(rng.integers(2**31)))
        return images[index]


def example_loader(batches: ExampleBatches, workers: int, device: torch.device) -> DataLoader:
    """A loader of the batches.

    Args:
        batches: what is loaded.
        workers: processes that draw examples; 0 draws them in this one.
        device: where the batches will go; for a GPU they come in pinned memory.
    """
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == 'cuda',
        prefetch_factor=AHEAD if workers else None,
        # a forked process would inherit what threads and the GPU's driver are in the middle of
        multiprocessing_context='spawn' if workers else None,
    )
