"""Files of several pictures: read one at a time, and copies filled one by one.

Stacks and series may be larger than the memory: neither the original nor the copy is ever held
as a whole. A copy is the original with other samples, so that what ImageJ and OME readers see
(axes, order, calibration, display settings) is what they saw before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.utils.files import replacing

from . import files
from .layout import Found, has_bar_of
from .micrograph import SEMImage, as_image
from .writing import check_unchanged, grey_values

__all__ = ['SEMStack', 'open_stack', 'rewriting_stack']


class SEMStack:
    """The pictures of an open file; see :func:`open_stack`.

    All pictures of one size have border and empty lines where the first of them has that is not
    blank, and the data bar if none is seen elsewhere. Among others, black pictures are accepted.

    Args:
        path: the file.
        pictures: of the open file.
        **reading: options of :func:`.micrograph.read_sem`.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration.io import SEMStack, open_stack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pages = np.full((3, 48, 64), 90, np.uint8)
        ...     tifffile.imwrite(f'{folder}/a.tif', pages, photometric='minisblack')
        ...     with open_stack(f'{folder}/a.tif') as stack:
        ...         isinstance(stack, SEMStack), [picture.page for picture in stack]
        (True, [0, 1, 2])
    """

    def __init__(self, path: Path, pictures: files.OpenPictures, **reading: Any) -> None:
        self.path, self._pictures, self._reading = path, pictures, reading
        self._content: dict[tuple[int, ...], Found] = {}

    @property
    def channels(self) -> int:
        """How many channels (detectors) the pages are of, where the file tells."""
        return getattr(self._pictures, 'channels', 1)

    @property
    def perhaps_unlike(self) -> bool:
        """Whether the file calls its pages slices or channels, as some programs call scans."""
        return getattr(self._pictures, 'perhaps_unlike', False)

    def __len__(self) -> int:
        return len(self._pictures)

    def __iter__(self) -> Iterator[SEMImage]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> SEMImage:
        """Reads one picture.

        Raises:
            IndexError: there is none of this number.
            SEMImageError: it cannot be used; the message names file and page.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'{self.path}: has {len(self)} pictures, none of number {index}')
        try:
            stored = self._pictures.load(index)
            shape = stored.samples.shape
            reading = {**self._reading, 'allow_black': True} if len(self) > 1 else self._reading
            if self._is_grey_among_colours(stored):
                reading = {**reading, 'channel': None}
            found = self._content.get(shape)
            if found is not None and not self._has_bar_of(found, stored):
                found = None
            image = as_image(stored, found=found, **reading)
        except files.SEMImageError as error:
            if len(self) > 1:
                error.args = (f'{error} (page {index + 1} of {len(self)})',)
            raise
        if not image.is_blank:
            self._content.setdefault(shape, Found(image.content, image.cropped_by, image.lines))
        return image

    def _is_grey_among_colours(self, stored: files.Stored) -> bool:
        """Whether the channel that is asked for is one of other pages: a grey page has but one."""
        return (
            self._reading.get('channel') in (1, 2)
            and stored.colours == 1
            and stored.palette is None
            and getattr(self._pictures, 'coloured', False)
        )

    def _has_bar_of(self, found: Found, stored: files.Stored) -> bool:
        """Whether a page has the data bar of the first: pages may be pictures of several kinds.

        What the maker tells is believed of all pages.
        """
        if found.cropped_by == 'metadata' or self._reading.get('crop', 'auto') != 'auto':
            return True
        return has_bar_of(stored.values(), found)


@contextmanager
def open_stack(path: str | Path, **reading: Any) -> Iterator[SEMStack]:
    """Opens a file of one or more pictures.

    Thumbnails and masks are no pictures; smaller copies of a picture neither.

    Args:
        path: multi-page TIFF, ImageJ stack, OME-TIFF, a file of several images that RosettaSciIO
            reads, or any file of one picture.
        **reading: options of :func:`.micrograph.read_sem`, without ``page``.

    Raises:
        FileNotFoundError: no such file.
        SEMImageError: it cannot be read.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration.io import open_stack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pages = np.full((3, 48, 64), 90, np.uint8)
        ...     tifffile.imwrite(f'{folder}/a.tif', pages, photometric='minisblack')
        ...     with open_stack(f'{folder}/a.tif') as stack:
        ...         len(stack), [picture.image.shape for picture in stack]
        (3, [(48, 64), (48, 64), (48, 64)])
    """
    path = Path(path)
    with files.open_pictures(path) as pictures:
        yield SEMStack(path, pictures, **reading)


@contextmanager
def rewriting_stack(
    path: str | Path, source: str | Path, overwrite: bool = False
) -> Iterator[Callable[[np.ndarray, SEMImage], None]]:
    """Writes a copy of a file whose pictures are replaced one by one, or nothing at all.

    The copy gets its name when the block ends without an error.

    Args:
        path: the new file; see :func:`.micrograph.write_sem`.
        source: the original.
        overwrite: replace an existing file.

    Yields:
        ``put(restored, like)``: ``restored`` (h, w) in [0, 1] for one picture of the original.
        Pictures of formats that are not written back have to come in their order.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration.io import open_stack, rewriting_stack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pages = np.full((3, 48, 64), 90, np.uint8)
        ...     tifffile.imwrite(f'{folder}/a.tif', pages, photometric='minisblack')
        ...     with open_stack(f'{folder}/a.tif') as stack:
        ...         with rewriting_stack(f'{folder}/b.tif', f'{folder}/a.tif') as write:
        ...             for picture in stack:
        ...                 write(np.ones((48, 64), np.float32), picture)
        ...     tifffile.imread(f'{folder}/b.tif').mean(axis=(1, 2))
        array([255., 255., 255.])
    """
    path, source = Path(path), Path(source)
    with (
        replacing(path, overwrite) as part,
        files.open_pictures(source) as pictures,
        files.rewrite_pages(source, part, path.name) as replace_picture,
    ):

        def put(restored: np.ndarray, like: SEMImage) -> None:
            grey = grey_values(restored, like)
            stored = pictures.load(like.page)
            check_unchanged(stored, like)
            replace_picture(stored, grey, like.content, like.annotations)

        yield put
