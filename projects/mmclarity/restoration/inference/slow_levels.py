"""Grey levels as a slow scan would have them, by weights that pairs taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from mmclarity.errors import UsageError

from ..general.manner import Manner
from .job import Job

__all__ = ['SlowLevels']


@dataclass(frozen=True)
class SlowLevels:
    """A quick scan's level is ``gain`` times a slow one's, plus ``offset``; 0 black and 1 white.

    Those of the quick scan itself, which are left as they are, are (1, 0).

    Attributes:
        white: what means white in a quick scan, see :attr:`.SEMImage.own_white`.
    """

    gain: float = 1.0
    offset: float = 0.0
    white: float | None = None

    @classmethod
    def known_to(cls, models: Sequence[nn.Module], weights: Sequence[str | Path]) -> SlowLevels:
        """The mean of what the models know.

        Args:
            models: restorers.
            weights: the file of each; none for those of the package.

        Raises:
            UsageError: one does not know any, or two have not the same white.
        """
        levels = [getattr(model, 'manner', Manner()).levels for model in models]
        if None in levels:
            which = weights[levels.index(None)] if weights else 'the weights of the package'
            raise UsageError(
                f'{which}: the grey levels of slow scans are known to weights that mmclarity-adapt '
                '--clean made with pairs, quick and slow scans of the same fields; these are other '
                'weights, leave out --slow-levels'
            )
        gains, offsets, whites = zip(*levels)
        if len(set(whites)) > 1:
            raise UsageError(
                'these weights were made with different --data-range, so that their grey levels do '
                'not go together; make them with one, or leave out --slow-levels'
            )
        return cls(float(np.mean(gains)), float(np.mean(offsets)), whites[0])

    @property
    def wanted(self) -> bool:
        """Whether they are others than the quick scan's."""
        return self != SlowLevels()

    def check(self, job: Job) -> None:
        """Refuses an image whose black and white are others than those that were learnt from.

        Raises:
            UsageError: its range was measured, or white is another value.
        """
        if not self.wanted:
            return
        if job.measured_range:
            raise UsageError(
                f'{job.label}: {job.pixels.dtype} has no black and white of its own, so that grey '
                'levels of slow scans are not known; give --data-range, the same as for '
                'mmclarity-adapt, or leave out --slow-levels'
            )
        # floating point has no other white than the one that is given
        if job.white == self.white or (self.white is None and job.pixels.dtype.kind == 'f'):
            return
        remedy = f'give --data-range {self.white:g}' if self.white else 'leave out --data-range'
        now, then = (
            'the largest value of its type' if white is None else f'{white:g}'
            for white in (job.white, self.white)
        )
        raise UsageError(
            f'{job.label}: white is {now}, and was {then} where these weights learnt the grey '
            f'levels of slow scans; {remedy}, or leave out --slow-levels'
        )

    def of(self, restored: np.ndarray) -> np.ndarray:
        """A restored image (H, W) in [0, 1], in these levels."""
        if not self.wanted:
            return restored
        return ((restored - np.float32(self.offset)) / np.float32(self.gain)).clip(0, 1)

    def spread(self, std: np.ndarray) -> np.ndarray:
        """A standard deviation of restored levels, in these."""
        return std / np.float32(self.gain) if self.wanted else std
