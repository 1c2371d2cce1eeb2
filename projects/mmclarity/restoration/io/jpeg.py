"""JPEG and WebP: the picture in them. They change grey values, so that TIFF files are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmclarity.errors import said
from mmclarity.utils.images import orientation

from . import vendors
from .stored import SEMImageError, Stored
from .vendors import Metadata

__all__ = ['FORMATS', 'load']

FORMATS = ('JPEG', 'WEBP')  # Pillow's names
_EXIF, _MAKER_NOTE = 34665, 37500
# Chroma of a grey picture is rounding; what goes beyond is a colour.
_GREY = 12


def load(path: Path) -> Stored:
    """Reads 8 bit grey or colour; the channels of a grey picture stored in colour are made equal.

    Both store brightness and colour apart, and colour at half the resolution: of grey pixels the
    brightness is taken, so that the rounding of colours is none.
    """
    try:
        with Image.open(path) as image:
            form = str(image.format)
            if form not in FORMATS or image.mode not in ('L', 'RGB', 'RGBA', 'YCbCr'):
                raise SEMImageError(
                    f'{path}: a {form} of mode {image.mode}; export the image as TIFF or PNG'
                )
            if getattr(image, 'n_frames', 1) > 1 and form == 'WEBP':
                raise SEMImageError(f'{path}: an animation; save the picture to restore on its own')
            told = dict(metadata=_metadata(image, path), orientation=orientation(image))
            if image.mode == 'L':
                return Stored(path, form, np.asarray(image)[..., None], 1, lossy=True, **told)
            opaque = image.mode == 'RGBA' and image.getextrema()[3] == (255, 255)
            if image.mode == 'RGBA' and not opaque:
                raise SEMImageError(
                    f'{path}: parts of it are transparent; export the image as TIFF or PNG'
                )
            colours = np.asarray(image.convert('RGB'))
    except SEMImageError:
        raise
    except Exception as error:  # decoders raise whatever they run into
        raise SEMImageError(
            f'{path}: can not be read as JPEG or WebP: {said(error)}; copy it again'
        ) from error
    brightness = np.asarray(Image.fromarray(colours).convert('L'))
    grey = np.ptp(colours.astype(np.int16), axis=2) <= _GREY
    samples = np.where(grey[..., None], brightness[..., None], colours)
    if grey.all():
        samples = samples[..., :1]
    lossy = form == 'JPEG' or b'VP8L' not in path.read_bytes()[:64]  # WebP's lossless kind
    return Stored(path, form, samples, samples.shape[2], lossy=lossy, **told)


def _metadata(image: Image.Image, path: Path) -> Metadata:
    """JEOL's EXIF maker note, or the XML that Phenom puts behind the picture or into EXIF."""
    exif = image.getexif()
    note = exif.get_ifd(_EXIF).get(_MAKER_NOTE) or exif.get(_MAKER_NOTE)
    if note:
        text = note.decode('latin-1') if isinstance(note, bytes) else str(note)
        found = vendors.parse_jeol(text)
        if found.vendor is not None:
            return found
    data = path.read_bytes()
    start, end = data.find(b'<FeiImage'), data.find(b'</FeiImage>')
    if 0 <= start < end:
        return vendors.parse_feixml(data[start:end].decode('utf-8', 'replace'))
    return Metadata()
