"""Quick and slow scans of one field, laid on one another: rows that teach and rows that judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..degradation.calibration import measured_pair
from ..io.micrograph import SEMImage
from ..io.pairs import shared_parts
from .appraisal import Appraisal
from .blind_spot import NoisyField
from .caution import Scene

__all__ = ['Lines', 'ScanPair', 'divided', 'kept_back', 'scene_of']

# Part of the rows, the last ones, that the network is judged on; pixels between them and what it is
# trained on; and rows that can be divided.
KEPT_BACK, APART, LEAST_ROWS = 5, 16, 96


class Lines:
    """Turns images so that their scan lines run along rows."""

    def __init__(self, upright: bool) -> None:
        """``upright``: they run along columns."""
        self.upright = bool(upright)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W) as it is, or laid on its side."""
        return np.ascontiguousarray(image.T) if self.upright else image


class ScanPair:
    """A quick and a slow scan of one field.

    Args:
        quick: the noisy image.
        slow: the clean one.
        lines: how scan lines run.

    Attributes:
        low, high: (H, W) float32, what both show, grey levels 0..255, lines along rows.
        sample: where the one lies in the other, and what the pair says of blur and levels.

    Raises:
        ValueError: they do not show one field of view.
    """

    def __init__(self, quick: SEMImage, slow: SEMImage, lines: Lines) -> None:
        self.slow = slow
        parts = shared_parts(quick, slow)
        self.low, self.high = (lines(part.unit) * 255 for part in parts)
        self.sample = measured_pair(self.low, self.high, quick.label, slow.label)
        # rows of the slow picture above those that both show
        along = int(lines.upright)
        self.above = parts[1].content[along].start - slow.content[along].start

    @property
    def first(self) -> int:
        """Row of the slow picture, the first that shows what the quick one is judged on."""
        place = self.sample.place
        moved = place.shift[0] + (abs(place.drift[0]) + abs(place.stretch[0])) / 2
        return int(self.above + kept_back(len(self.low)) - moved)

    def taught_and_held(self, one: NoisyField) -> tuple[Scene, NoisyField]:
        """The first rows of the quick scan, and the last ones, with what the slow one says of them.

        Args:
            one: the quick scan.

        Returns:
            What both show of rows that teach; and the rows that judge.
        """
        (above, below), (known, truth) = map(divided, self._levels(one.like))
        return Scene(*_where_known(above, known), one.like), replace(one, levels=below, truth=truth)

    def _levels(self, like: Appraisal) -> tuple[np.ndarray, np.ndarray]:
        """Both in the network's levels; the slow one NaN where it does not show the field.

        That is in the grey levels of this quick scan: from one to the next, brightness and contrast
        may have been set anew.
        """
        found, gain, offset = self.sample.place, self.sample.gain, self.sample.offset
        seen = found.region(self.low.shape, margin=4)  # interpolated from beyond the edge
        truth = np.full(self.low.shape, np.nan, np.float32)
        truth[seen] = (found.move(self.high)[seen] * gain + offset) / 255
        noisy, truth = (
            np.asarray(side * like.gain + like.offset, np.float32)
            for side in (self.low / 255, truth)
        )
        return noisy, truth


def scene_of(one: NoisyField, side: int) -> Scene:
    """What both show of a field, the middle at most.

    Args:
        one: from :meth:`ScanPair.taught_and_held`.
        side: pixels, at most.
    """
    noisy, clean = _where_known(one.levels, one.truth)
    rows, columns = (
        slice(spare, length - spare)
        for length in clean.shape
        for spare in [max(0, length - side) // 2]
    )
    part = (np.ascontiguousarray(level[rows, columns]) for level in (noisy, clean))
    return Scene(*part, one.like)


def _where_known(noisy: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the rows and columns in which nothing is known of the truth."""
    known = np.isfinite(truth)
    part = np.ix_(known.any(1), known.any(0))
    return noisy[part], truth[part]


def divided(levels: np.ndarray, others: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Rows that teach and rows that judge; of a small image, all do both.

    Args:
        levels: (H, W).
        others: rows from which on something else judges, a quick scan of the field.
    """
    first = kept_back(len(levels))
    if not first:
        return levels, levels
    last = min(first, *others) if others else first
    if last - APART < LEAST_ROWS:  # of a pair of which little is to be seen in both
        last = first
    return levels[: last - APART], levels[first:]


def kept_back(rows: int) -> int:
    """Of so many rows, the first that the network is judged on; zero if all teach and judge."""
    first = rows - rows // KEPT_BACK
    few = first - APART < LEAST_ROWS or rows - first < LEAST_ROWS // 2
    return 0 if few else first
