"""Sizes of image files, and a check that they are all there, whole and readable."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mmclarity.errors import DataError, said
from mmclarity.utils.images import upright_size

#: Last bytes of a whole file; after the marker some writers pad a little.
_END_MARKERS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}
_TAIL = 32  # bytes

SizeT = tuple[int, int]


class ImageFileError(DataError):
    """Image files that are missing, empty, cut off or no images."""


def probe_image(path: str, whole: bool = True) -> tuple[SizeT | None, str | None]:
    """Reads the header of an image and checks that the file is not cut off.

    Only header and tail are read. A file whose tail lacks the end marker is
    decoded in full to be sure; one that ends in zeros, as a download leaves it
    that first reserves the space, is refused although decoders make do with it.

    Args:
        path: The file.
        whole: Check the end of the file as well.

    Returns:
        ``(width, height)`` in pixels, as a viewer that follows the
        orientation tag shows it, and None; or None and what is wrong.
    """
    try:
        if Path(path).stat().st_size == 0:
            return None, 'empty file'
        with Image.open(path) as image:
            size = upright_size(image)
            if whole and not _has_end(path, image.format):
                if _is_filled_up(path, image.format):
                    return None, 'cut off or damaged: its end is filled with zeros'
                image.load()
    except (FileNotFoundError, NotADirectoryError):
        return None, 'missing'
    except IsADirectoryError:
        return None, 'a folder'
    except UnidentifiedImageError:
        return None, 'not an image'
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS / 1e6
        return None, (
            f'more than {limit:.0f} megapixels, which Pillow takes for an attack: cut it into '
            'parts, or raise PIL.Image.MAX_IMAGE_PIXELS'
        )
    except Exception as err:  # of a damaged file the decoders make errors of any kind
        return None, f'cut off or damaged: {said(err)}'
    return size, None


def _has_end(path: str, kind: str | None) -> bool:
    """Whether the file ends with the end marker of its format."""
    marker = _END_MARKERS.get(kind or '')
    if marker is None:
        return False
    return marker in _tail(path)


def _is_filled_up(path: str, kind: str | None) -> bool:
    """Whether the file ends in zeros, and they do not follow on the end marker as padding."""
    marker = _END_MARKERS.get(kind or '')
    if marker is None or any(_tail(path)):
        return False
    return not Path(path).read_bytes().rstrip(b'\0').endswith(marker)


def _tail(path: str) -> bytes:
    with open(path, 'rb') as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        return file.read()


def probe_images(paths: Sequence[str], whole: bool = True, threads: int = 8) -> list[SizeT]:
    """Probes many images.

    Args:
        paths: The files.
        whole: Check the ends of the files as well.
        threads: Number of readers; they wait for the disk most of the time.

    Returns:
        ``(width, height)`` of each in pixels.

    Raises:
        ImageFileError: Naming the first ten bad files and what is wrong with each.
    """
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(lambda path: probe_image(path, whole), paths))
    bad = [f'{path}: {why}' for path, (_, why) in zip(paths, results, strict=True) if why]
    if bad:
        more = f'\n  ... and {len(bad) - 10} more' if len(bad) > 10 else ''
        listed = '\n  '.join(bad[:10])
        raise ImageFileError(
            f'{len(bad)} of {len(paths)} images cannot be used:\n  {listed}{more}\nUnpack or '
            'download them again, correct data_root or data_prefix, or remove their frames '
            'from the labels.'
        )
    return [size for size, _ in results]
