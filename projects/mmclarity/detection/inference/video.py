"""Drawn frames as a video that browsers play."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmclarity.utils.files import replacing

#: Pictures a second where the source does not tell.
RATE = 25.0


def check_can_write() -> None:
    """Refuse early what would fail at the first frame.

    Raises:
        ModuleNotFoundError: Saying what to install.
    """
    try:
        import av  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'drawing into a video needs a further package: pip install av; or give --frames for '
            'single pictures, --no-draw for none'
        ) from error


class DrawnVideo:
    """H.264 in MP4, written whole or not at all.

    Args:
        path: The file, ending in ``.mp4``.
        rate: Frames a second; 0 where it is not known.
        overwrite: Replace an existing file.
    """

    def __init__(self, path: Path, rate: float, overwrite: bool) -> None:
        import av

        self._stack = ExitStack()
        part = self._stack.enter_context(replacing(path, overwrite=overwrite, parents=True))
        self._container = av.open(str(part), 'w', format='mp4')
        self._rate = Fraction(rate or RATE).limit_denominator(1001)
        self._stream: Any = None

    def append(self, pixels: np.ndarray) -> None:
        """A further frame (H, W, 3), 8 bit, blue, green, red; all of one size."""
        import av

        if self._stream is None:
            self._stream = self._container.add_stream('libx264', rate=self._rate)
            # Colours are kept for every second row and column, so that both must be even.
            height, width = (length + length % 2 for length in pixels.shape[:2])
            self._stream.width, self._stream.height = width, height
            self._stream.pix_fmt = 'yuv420p'
            self._stream.options = {'crf': '20'}
        height, width = self._stream.height, self._stream.width
        missing = height - pixels.shape[0], width - pixels.shape[1]
        if any(missing):
            pixels = cv2.copyMakeBorder(
                pixels, 0, max(missing[0], 0), 0, max(missing[1], 0), cv2.BORDER_REPLICATE
            )[:height, :width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='bgr24')
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file and give it its name."""
        with self._stack:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()

    def drop(self) -> None:
        """Leave nothing of it."""
        self._container.close()
        self._stack.__exit__(InterruptedError, InterruptedError(), None)
