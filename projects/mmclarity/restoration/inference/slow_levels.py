"""Grey levels as a slow scan would have them, by weights that pairs taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from mmclarity.errors import UsageError

from ..io.micrograph import SEMImage

__all__ = ['SlowLevels']


@dataclass(frozen=True)
class SlowLevels:
    """A quick scan's level is ``gain`` times a slow one's, plus ``offset``; 0 black and 1 white.

    Those of the quick scan itself, which are left as they are, are (1, 0).
    """

    gain: float = 1.0
    offset: float = 0.0

    @classmethod
    def known_to(cls, models: Sequence[nn.Module]) -> SlowLevels:
        """The mean of what the models know.

        Raises:
            UsageError: one does not know any.
        """
        levels = [getattr(model, 'levels', None) for model in models]
        if None in levels:
            raise UsageError(
                'the grey levels of slow scans are known to weights that mmclarity-adapt --clean '
                'made with pairs, quick and slow scans of the same fields; these are other weights'
            )
        return cls(*map(float, np.mean(levels, 0)))

    @property
    def wanted(self) -> bool:
        """Whether they are others than the quick scan's."""
        return self != SlowLevels()

    def check(self, image: np.ndarray | SEMImage, label: str) -> None:
        """Refuses an image whose black and white are its own.

        Raises:
            UsageError: its range was measured.
        """
        if self.wanted and getattr(image, 'measured_range', False):
            raise UsageError(
                f'{label}: floating point has no black and white of its own, so that grey levels '
                'of slow scans are not known; give --data-range, the same as for mmclarity-adapt, '
                'or leave out --slow-levels'
            )

    def of(self, restored: np.ndarray) -> np.ndarray:
        """A restored image (H, W) in [0, 1], in these levels."""
        if not self.wanted:
            return restored
        return ((restored - np.float32(self.offset)) / np.float32(self.gain)).clip(0, 1)

    def spread(self, std: np.ndarray) -> np.ndarray:
        """A standard deviation of restored levels, in these."""
        return std / np.float32(self.gain) if self.wanted else std
