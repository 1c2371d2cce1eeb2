"""Maps of doubt and marked pictures, written beside a restored file page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from mmclarity.utils.files import replacing, write_bytes

from ..io.files import exceeds_tiff, resolution_tags
from ..io.micrograph import SEMImage
from . import uncertainty as spread
from .doubts import Doubts

__all__ = ['writing_doubts']


@contextmanager
def writing_doubts(
    map_path: Path, doubtful: Path, overwrite: bool, pixels: int
) -> Iterator[Callable[[Doubts, SEMImage], None]]:
    """Writes the maps of doubt and the marked pictures, page by page.

    Args:
        map_path: of the map, a TIFF.
        doubtful: of the marked picture: PNG, or TIFF for several pages.
        overwrite: replace existing files.
        pixels: of all pages together.

    Yields:
        ``add(found, image)`` for each page.
    """
    with ExitStack() as outputs:
        maps = outputs.enter_context(_pages(map_path, overwrite, 4 * pixels))
        paged = doubtful.suffix == '.tif'
        marked = outputs.enter_context(_pages(doubtful, overwrite, 3 * pixels)) if paged else None

        def add(found: Doubts, image: SEMImage) -> None:
            tags = resolution_tags(image.pixel_size)
            maps(found.std.astype(np.float32, copy=False), **tags)
            shown = spread.well_shown(found.restored)
            picture = spread.draw_particles(shown, found.particles, found.doubtful)
            if marked is None:
                _write_png(doubtful, picture)
            else:
                marked(picture[..., ::-1], photometric='rgb', **tags)

        yield add


@contextmanager
def _pages(path: Path, overwrite: bool, count: int) -> Iterator[Callable[..., None]]:
    """Writes pages of ``count`` bytes together."""
    large = exceeds_tiff(count)
    with replacing(path, overwrite) as part, tifffile.TiffWriter(part, bigtiff=large) as writer:

        def write(pixels: np.ndarray, **tags: Any) -> None:
            writer.write(pixels, compression='zlib', contiguous=False, metadata=None, **tags)

        yield write


def _write_png(path: Path, picture: np.ndarray) -> None:
    ok, data = cv2.imencode('.png', picture)
    if not ok:
        raise OSError(f'{path}: the picture could not be encoded')
    write_bytes(path, data.tobytes())
