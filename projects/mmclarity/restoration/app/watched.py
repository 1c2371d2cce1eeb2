"""A restorer that shows what it makes before it is written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..inference.doubts import Doubts
from ..inference.restorer import Restorer
from ..inference.sharpening import sharpened
from ..io.micrograph import SEMImage

__all__ = ['WatchedRestorer']


class WatchedRestorer(Restorer):
    """A restorer that shows every picture to ``watch`` before it is written.

    ``watch`` gets the image, its restoration, the same with narrower edges (None of another network
    than the general one), and the doubts (None without). Only the sharpened one depends on
    ``sharpen``, which is taken as 1 where it is 0: what is returned and written is not sharpened.
    """

    watch: Callable[..., None] | None = None
    _narrow: np.ndarray | None = None

    def __call__(self, image, data_range=None, progress=None):  # type: ignore[no-untyped-def]
        """See :meth:`.Restorer.__call__`."""
        restored = super().__call__(image, data_range, progress)
        self._show(image, restored, None)
        return restored

    def with_doubts(self, image, data_range=None, progress=None):  # type: ignore[no-untyped-def]
        """See :meth:`.Restorer.with_doubts`."""
        found = super().with_doubts(image, data_range, progress)
        self._show(image, found.restored, found)
        return found

    def _show(self, image: SEMImage, restored: np.ndarray, found: Doubts | None) -> None:
        narrow, self._narrow = self._narrow, None  # as large as the picture: not kept
        if self.watch is not None:
            self.watch(image, restored, narrow, found)

    def _sharpened(self, restored, job):  # type: ignore[no-untyped-def]
        """Narrowing edges takes a quarter of the network's time at most: both are made at once."""
        if self.general:
            amount = self.sharpen or 1.0
            narrow = sharpened(restored, job.like, amount, self.tiling, self.device)
            self._narrow = self.levels.of(narrow)
        return restored
