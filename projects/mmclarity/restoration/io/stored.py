"""What an image file stores, and the error for files that can not be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmclarity.errors import UsageError

from .layout import Content
from .vendors import Metadata

__all__ = ['SEMImageError', 'Stored']


class SEMImageError(UsageError):
    """An image that can not be used; the message names the file and the remedy."""


class ColourImageError(SEMImageError):
    """A coloured picture, one of whose channels has to be chosen.

    Args:
        text: The message.
        channels: How many there are.
        hint: A further sentence, where the file may be something else; '' where it is not.
    """

    def __init__(self, text: str, channels: int, hint: str = '') -> None:
        super().__init__(f'{text}.{hint}' if hint else text)
        self.channels, self.hint = channels, hint


@dataclass
class Stored:
    """What a file stores.

    Attributes:
        path: the file.
        format: 'TIFF', 'PNG', 'BMP', 'JPEG', 'WEBP', or the name of a format of RosettaSciIO.
        samples: (H, W, S) as stored; S = 1 or 3, one more with transparency. With ``palette``
            they are indices.
        colours: how many of the S are colours, 1 or 3.
        palette: (n, 3) uint8, or None.
        inverted: 0 is white.
        metadata: what the vendor's tags tell.
        page, pages: number of the picture, from 0, and how many the file holds.
        lossy: the compression has changed grey values.
        sidecar: a text file of the microscope beside the image, on which ``metadata`` rests.
        orientation: how a viewer turns the picture, 1 (not at all) to 8, after EXIF; a TIFF that is
            made of another format needs to say it.
        separate: colours lie one plane after the other, as programs write a stack of three by
            mistake.
    """

    path: Path
    format: str
    samples: np.ndarray
    colours: int
    palette: np.ndarray | None = None
    inverted: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    page: int = 0
    pages: int = 1
    lossy: bool = False
    sidecar: Path | None = None
    orientation: int = 1
    separate: bool = False

    def values(self) -> np.ndarray:
        """(H, W, C) grey values or colours, C = 1 or 3, 0 is black; a view where possible."""
        if self.palette is not None:
            if int(self.samples.max()) >= len(self.palette):
                raise SEMImageError(f'{self.path}: damaged: pixels point outside the palette')
            if (self.palette == self.palette[:, :1]).all():
                return self.palette[:, 0][self.samples]
            return self.palette[self.samples[..., 0]]
        values = self.samples[..., : self.colours]
        return np.iinfo(values.dtype).max - values if self.inverted else values

    def replaced(
        self, grey: np.ndarray, content: Content, kept: np.ndarray | None = None
    ) -> np.ndarray:
        """A copy of ``samples`` with the (h, w) values ``grey`` at ``content``.

        Args:
            grey: values of the type of :meth:`values`.
            content: rows and columns to replace.
            kept: (h, w) bool, pixels that stay as they are; None for none.
        """
        samples = self.samples.copy()
        if self.palette is not None:
            greys = np.flatnonzero((self.palette == self.palette[:, :1]).all(axis=1))
            if len(greys) < 2:
                raise SEMImageError(f'{self.path}: its palette has no grey scale; save it in grey')
            wanted = np.arange(256)[:, None] - self.palette[greys, 0].astype(int)[None]
            grey = greys[np.abs(wanted).argmin(axis=1)].astype(samples.dtype)[grey]
        elif self.inverted:
            grey = np.iinfo(samples.dtype).max - grey
        colours = samples[content][..., : self.colours]
        if kept is None:
            colours[...] = grey[..., None]
        else:
            colours[~kept] = grey[~kept][:, None]
        return samples
