"""A restored picture put back into a copy of its file, and numbers into a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from mmclarity.utils.files import replacing

from . import files
from .files import SEMImageError

if TYPE_CHECKING:
    from .micrograph import SEMImage

_BAND = 256  # rows
_SLACK = 1e-3  # restored values this far outside [0, 1] are rounding and are clipped


def write_sem(
    path: str | Path, restored: np.ndarray, like: SEMImage, overwrite: bool = False
) -> None:
    """Writes a copy of ``like``'s file with the picture replaced, or nothing at all.

    Type, size, byte order, compression, resolution, descriptions, vendor tags, data bar, border
    and transparency are those of the original; a colour file gets the grey values in its three
    channels. The file appears under its name only when it is complete.

    Args:
        path: the new file, of the format of ``like.path`` (TIFF for a JPEG or a file that
            RosettaSciIO reads); it may be ``like.path`` itself. Of a file with several pictures,
            the others are copied as they are: see :func:`.stack.restoring`.
        restored: (h, w) of ``like.image``, real, in [0, 1].
        like: what :func:`read_sem` returned for the original.
        overwrite: replace an existing file.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is not set.
        FileNotFoundError: the folder of ``path``, or the original, is not there.
        SEMImageError: wrong size or values, or another format.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration import read_sem, write_sem
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tifffile.imwrite(f'{folder}/a.tif', np.full((48, 64), 90, np.uint8))
        ...     like = read_sem(f'{folder}/a.tif')
        ...     write_sem(f'{folder}/b.tif', np.full((48, 64), 0.4, np.float32), like)
        ...     int(tifffile.imread(f'{folder}/b.tif')[0, 0])
        102
    """
    path = Path(path)
    grey = grey_values(restored, like)
    with replacing(path, overwrite) as part:
        if like.path is None:
            if path.suffix.lower() not in ('.tif', '.tiff'):
                raise SEMImageError(f'{path}: an image made in memory is written as TIFF; use .tif')
            whole = like.pixels.copy()
            whole[like.content] = grey
            tifffile.imwrite(part, whole, **files.resolution_tags(like.pixel_size))
            return
        stored = files.load(like.path, like.page)
        check_unchanged(stored, like)
        files.rewrite(stored, grey, like.content, part, path.name, like.annotations)


def check_unchanged(stored: files.Stored, like: SEMImage) -> None:
    """Refuses to write over a picture that is not the one that was read."""
    values = stored.values()
    if values.shape[:2] != like.pixels.shape or values.dtype != like.pixels.dtype:
        raise SEMImageError(f'{like.path}: has changed since it was read; read it again')


def check_writable(path: str | Path, like: SEMImage) -> None:
    """Finds out before the work what :func:`write_sem` would refuse after it.

    Raises:
        FileNotFoundError: the folder of ``path`` is not there.
        SEMImageError: ``path`` has the ending of another format.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.io import check_writable, from_array
        >>> check_writable('restored.png', from_array(np.zeros((48, 64), np.uint8)))
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f'{path}: no folder {path.parent} to write to')
    if like.path is not None:
        files.check_rewritable(like.path, path.suffix)


def write_map(
    path: str | Path, values: np.ndarray, pixel_size: float | None = None, overwrite: bool = False
) -> None:
    """Writes (H, W) numbers, for example an uncertainty, as a float32 TIFF, or nothing at all.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration.io import write_map
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_map(f'{folder}/spread.tif', np.full((48, 64), 0.25), pixel_size=5e-9)
        ...     tifffile.imread(f'{folder}/spread.tif')[0, :2]
        array([0.25, 0.25], dtype=float32)
    """
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise SEMImageError(f'{path}: a map is (H, W), not {values.shape}')
    with replacing(Path(path), overwrite) as part:
        tifffile.imwrite(part, values, compression='zlib', **files.resolution_tags(pixel_size))


def grey_values(restored: np.ndarray, like: SEMImage) -> np.ndarray:
    """``restored`` in the type and scale of ``like``."""
    restored = np.asarray(restored)
    name = like.path or 'the image'
    if restored.shape != like.image.shape:
        raise SEMImageError(
            f'{name}: the restored picture is {restored.shape}, the original '
            f'{like.image.shape} (rows, columns, without data bar and border)'
        )
    if restored.dtype.kind != 'f':
        raise TypeError(f'{name}: restored must be float in [0, 1], not {restored.dtype}')
    low, high = float(restored.min()), float(restored.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SEMImageError(
            f'{name}: the restored picture holds NaN or infinite values; nothing was written'
        )
    if low < -_SLACK or high > 1 + _SLACK:
        raise SEMImageError(
            f'{name}: the restored picture goes from {low:g} to {high:g}, not within '
            '[0, 1]; nothing was written'
        )
    grey = np.empty(restored.shape, like.pixels.dtype)
    for top in range(0, len(grey), _BAND):  # no second floating point copy of a large image
        scaled = restored[top : top + _BAND].astype(np.float64).clip(0, 1)
        scaled = like.black + scaled * (like.data_range - like.black)
        grey[top : top + _BAND] = np.rint(scaled) if grey.dtype.kind != 'f' else scaled
    return grey
