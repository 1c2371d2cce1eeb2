"""Images from a file, a folder, a pattern, a video or a camera, one after the other."""

from __future__ import annotations

import glob
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmclarity.errors import DataError, UsageError, said
from mmclarity.utils.files import listing
from mmclarity.utils.images import decode
from mmclarity.utils.names import as_text

from .detections import check_image

#: Formats that Pillow, but not every OpenCV reads rightly.
BY_PILLOW = ('AVIF', 'GIF', 'HEIF')
#: Of PNG, kinds of pixels that both read alike; OpenCV tells of odd profiles on the terminal.
PNG_MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA')
HEIF = ('.heic', '.heif')
IMAGES = (
    '.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm',
    '.jp2', '.avif', *HEIF,
)  # fmt: skip
VIDEOS = (
    '.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.ts', '.mts',
    '.m2ts', '.3gp', '.flv', '.ogv', '.h264', '.mjpeg',
)  # fmt: skip
#: Headers are wrong by a few frames; with fewer than this share a video is damaged or cut off.
MOST_FRAMES = 0.9

# Broken videos are told by us; FFmpeg reads this once, when OpenCV first uses it. -8 is silence.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')


@dataclass(frozen=True)
class Picture:
    """One image of a source.

    Attributes:
        name: Path below the folder that was given, or of a video ``VIDEO/000000.jpg``.
        pixels: (H, W, 3), 8 bit, blue, green, red, upright; None if it cannot be read. That of a
            video says that the rest of it cannot.
        error: Why not.
        remark: What is to be known of how it was read.
        video: Name of the video, and place of the frame in it.
        frame: Place in the video.
        rate: Frames a second of the video, 0 where it is not known.

    Examples:
        >>> from mmclarity.detection.inference import Picture
        >>> Picture('a.jpg', error='is no image').pixels is None
        True
    """

    name: str
    pixels: np.ndarray | None = None
    error: str = ''
    remark: str = ''
    video: str | None = None
    frame: int = 0
    rate: float = 0.0


def read_image(path: str | Path, tell: Callable[[str], object] | None = None) -> np.ndarray:
    """An image of any kind as (H, W, 3), 8 bit, blue, green, red, as a viewer shows it.

    Grey becomes three equal channels, transparency is dropped, CMYK becomes colours, and of 16 bit
    the upper eight are taken; where the file holds 10, 12 or 14 bit data, the upper eight of those.
    HEIC, as telephones write it, takes the package pillow-heif.

    Args:
        path: The file.
        tell: Is called with a sentence where not all of 16 bits are used, or further pictures in
            the file are not; by default a warning names the file and says it.

    Raises:
        DataError: Naming a file that cannot be read, and why.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> from mmclarity.detection.inference import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new('L', (64, 48), 90).save(f'{folder}/a.png')
        ...     read_image(f'{folder}/a.png').shape
        (48, 64, 3)
    """
    if tell is None:

        def tell(text: str) -> None:
            warnings.warn(f'{path}: {text}', stacklevel=4)

    try:
        content = Path(path).read_bytes()
        if not content:
            raise DataError(f'{path}: empty file')
        if Path(path).suffix.lower() in HEIF:
            _know_heif(path)
        with Image.open(io.BytesIO(content)) as image:
            pages = getattr(image, 'n_frames', 1) if image.format in ('TIFF', 'GIF') else 1
            if pages > 1:
                tell(f'holds {pages} pictures, of which the first is taken; save them one by one')
            image.load()  # finds what is cut off: OpenCV makes do with the rest
            if _is_simple_png(image, content) or image.mode == 'CMYK' or image.format in BY_PILLOW:
                rgb = ImageOps.exif_transpose(image).convert('RGB')
                return np.ascontiguousarray(np.asarray(rgb)[..., ::-1])
            if image.mode in ('F', 'I'):
                raise DataError(
                    f'{path}: pixels of 32 bit, or with a sign, which have no white of their own; '
                    'save it with 8 or 16 bit'
                )
        with _silent_opencv():
            pixels = decode(content, tell=tell)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f'{path}: too large: {said(error)}') from error
    except UnidentifiedImageError as error:
        raise DataError(f'{path}: cannot be read: no image, or of an unknown kind') from error
    except (OSError, SyntaxError, ValueError, cv2.error) as error:
        raise DataError(f'{path}: cannot be read: {str(error).splitlines()[0]}') from error
    if pixels is None:
        raise DataError(f'{path}: cannot be read: a kind of image that OpenCV does not know')
    return pixels


def _is_simple_png(image: Image.Image, content: bytes) -> bool:
    bits = content[24] if image.format == 'PNG' else 0  # of a channel; Pillow calls 16 RGB too
    return 0 < bits <= 8 and image.mode in PNG_MODES


def _know_heif(path: str | Path) -> None:
    """Teach Pillow HEIC.

    Raises:
        DataError: Saying what to install.
    """
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise DataError(
            f'{path}: HEIC takes a further package: pip install pillow-heif; or have the '
            'telephone write JPEG'
        ) from error
    pillow_heif.register_heif_opener()


def pictures(source: str, drawn: Path | None = None) -> tuple[Iterator[Picture], int | None]:
    """The images of a source, read one by one, and how many there are (None: unknown).

    Args:
        source: An image, a folder, a pattern such as ``'night/*.jpg'``, a video, or the number of
            a camera (``'0'``). Videos are read by OpenCV, which turns those of phones upright.
        drawn: Folder into which results are drawn; what lies in it is refused.

    Raises:
        UsageError: If there is no such thing, no image in it, or an image in ``drawn``.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> from mmclarity.detection.inference import pictures
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new('RGB', (64, 48)).save(f'{folder}/a.png')
        ...     found, count = pictures(folder)
        ...     count, [picture.pixels.shape for picture in found]
        (1, [(48, 64, 3)])
    """
    path = Path(source).expanduser()
    if source.isdigit() and not path.exists():
        return _frames(int(source), f'camera{source}'), None
    if path.is_dir():
        files = listing(path, IMAGES)
        if not files:
            below = any(item.is_dir() for item in path.iterdir())
            videos = listing(path, VIDEOS)
            raise UsageError(
                f'{source}: no image in this folder ({", ".join(IMAGES)})'
                + (f'; videos are read one by one: {videos[0]}' if videos else '')
                + (f"; its subfolders are read by a pattern: '{path}/**/*.jpg'" if below else '')
            )
        _tell_of_videos(source, listing(path, VIDEOS))
        return _images(_undrawn(files, drawn)), len(files)
    if path.is_file():
        _undrawn([path], drawn)
        if path.suffix.lower() in VIDEOS:
            return _video(path)
        return _images([path]), 1
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    files = [file for file in found if file.suffix.lower() in IMAGES]
    videos = [file for file in found if file.suffix.lower() in VIDEOS]
    if files:
        _tell_of_videos(source, videos)
        return _images(_undrawn(files, drawn)), len(files)
    if found:
        raise UsageError(
            f'{source}: no image among the {len(found)} that this pattern finds'
            + (f'; videos are read one by one: {videos[0]}' if videos else '')
        )
    raise UsageError(
        f'{source}: no such image, folder, pattern or video (cameras are numbers: 0, 1, ...)'
    )


def _tell_of_videos(source: str, videos: list[Path]) -> None:
    if videos:
        warnings.warn(
            f'{source}: videos are read one by one, and left out here: '
            + ', '.join(video.name for video in videos[:3])
            + (', ...' if len(videos) > 3 else ''),
            stacklevel=3,
        )


def _undrawn(files: list[Path], drawn: Path | None) -> list[Path]:
    """Refuse images that an earlier run has drawn, or that this one would draw over."""
    for file in files if drawn is not None else ():
        if drawn.resolve() in file.resolve().parents:
            raise UsageError(
                f'{file}: lies in {drawn}, into which results are drawn; give another --out, '
                '--no-draw, or a pattern that leaves it out'
            )
    return files


def _images(files: list[Path]) -> Iterator[Picture]:
    names = _names(files)
    for file, name in zip(files, names):
        remarks: list[str] = []
        try:
            pixels = read_image(file, remarks.append)
        except DataError as error:
            yield Picture(name, error=str(error))
            continue
        try:
            check_image(pixels)
        except DataError as error:
            yield Picture(name, error=f'{file}: {error}')
        else:
            yield Picture(name, pixels, remark=' '.join(remarks))


def _names(files: list[Path]) -> list[str]:
    """File names, or, where two are alike, their paths below the folder that they share.

    Bytes that are no UTF-8, as of old disks, are told as ``\\xe9``: tables are written in UTF-8.
    """
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        paths = [Path(os.path.abspath(file)) for file in files]
        shared = os.path.commonpath([path.parent for path in paths])
        names = [path.relative_to(shared).as_posix() for path in paths]
    return [as_text(name) for name in names]


def _video(path: Path) -> tuple[Iterator[Picture], int | None]:
    capture = _capture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    opened = capture.isOpened() and capture.read()[0]
    capture.release()
    if not opened:
        raise DataError(
            f'{path}: cannot be read as a video, or has no frame; is it whole, and of a known kind?'
        )
    name = as_text(path.stem)
    return _frames(str(path), name, count), count if count > 0 else None


def _capture(source: str | int) -> cv2.VideoCapture:
    with _silent_opencv():
        return cv2.VideoCapture(source)


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """What fails is said by us, once, and not by OpenCV's layers."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _frames(source: str | int, name: str, count: int = 0) -> Iterator[Picture]:
    capture = _capture(source)
    try:
        if not capture.isOpened():
            raise UsageError(f'{source}: no such camera, or it is in use')
        rate, frame = float(capture.get(cv2.CAP_PROP_FPS)), 0
        rate = rate if 0 < rate < 1000 else 0.0
        while True:
            there, pixels = capture.read()
            if not there:
                if frame < MOST_FRAMES * count:
                    error = (
                        f'{source}: only {frame} of {count} frames can be read; it is cut off or '
                        'damaged. Frames are counted as they are read: behind a damage their '
                        'numbers are too low'
                    )
                    yield Picture(name, error=error)
                return
            yield Picture(f'{name}/{frame:06d}.jpg', pixels, video=name, frame=frame, rate=rate)
            frame += 1
    finally:
        capture.release()
