"""What OME-XML tells of the pictures of a TIFF file: pixel sizes, channels, depths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from typing import NamedTuple
from xml.etree import ElementTree

from .vendors import Metadata, metres, whole

__all__ = ['axes_ome', 'parse_ome']


def parse_ome(text: str, page: int = 0, width: int | None = None) -> Metadata:
    """Reads OME-XML: ``PhysicalSizeX`` in micrometres, or in its ``PhysicalSizeXUnit``.

    Args:
        text: the XML.
        page: number of the directory, as ``TiffData`` counts: a file may hold several images.
        width: of the picture in pixels; one of another width has been resampled since.
    """
    vendor = 'Phenom' if 'phenom' in text.lower() else 'OME'
    images = _ome_images(text)
    own = [image for image in images if any(a <= page < b for a, b in image.pages)] or images
    if width is not None:
        own = [image for image in own if image.width in (None, width)]
    sizes = {image.size for image in own}
    return Metadata(vendor, pixel_size=sizes.pop() if len(sizes) == 1 else None)


def axes_ome(text: str, name: str = '') -> tuple[int, bool]:
    """Channels of the pictures of OME-XML, and whether they lie at several depths.

    Args:
        text: the XML.
        name: of the file; what its XML says to lie in other files does not count.
    """
    channels, deep = 1, False
    for image in _ome_images(text):
        own = [channel for file, channel in image.planes if file == name]
        channels = max(channels, len(set(own)) if own else image.channels)
        deep = deep or image.slices > 1
    return channels, deep


class _OmeImage(NamedTuple):
    """An image of an OME file.

    Metres, columns, directories it lies in, channels, slices; and of planes that lie in several
    files, name of the file and channel.
    """

    size: float | None
    width: int | None
    pages: tuple[tuple[float, float], ...]
    channels: int = 1
    slices: int = 1
    planes: tuple[tuple[str, int], ...] = ()


@lru_cache(maxsize=4)  # every page of a stack asks
def _ome_images(text: str) -> tuple[_OmeImage, ...]:
    text = re.sub(r'^[^<]*<\?xml[^>]*\?>', '', text)  # it may name an encoding; this is text
    try:
        root = ElementTree.fromstring(text.strip())
    except ElementTree.ParseError:
        sizes = set(re.findall(r'\bPhysicalSizeX="([^"]+)"', text))
        units = re.findall(r'\bPhysicalSizeXUnit="([^"]+)"', text) or ['um']
        size = metres(sizes.pop(), unescape(units[0])) if len(sizes) == 1 else None
        return (_OmeImage(size, None, ()),)
    images = []
    for pixels in root.iter():
        if pixels.tag.rpartition('}')[2] == 'Pixels':
            value, unit = pixels.get('PhysicalSizeX'), pixels.get('PhysicalSizeXUnit', 'um')
            parts = [part for part in pixels if part.tag.rpartition('}')[2] == 'TiffData']
            images.append(
                _OmeImage(
                    metres(value, unit) if value else None,
                    whole(pixels.get('SizeX')),
                    tuple(map(_directories, parts)),
                    max(1, sum(part.tag.rpartition('}')[2] == 'Channel' for part in pixels)),
                    whole(pixels.get('SizeZ')) or 1,
                    tuple(plane for part in parts for plane in _planes(part)),
                )
            )
    return tuple(images)


def _planes(part: ElementTree.Element) -> Iterator[tuple[str, int]]:
    """File and channel of a ``TiffData`` of one plane."""
    for child in part:
        if 'FileName' in child.attrib and part.get('PlaneCount', '1') == '1':
            yield child.attrib['FileName'], whole(part.get('FirstC')) or 0


def _directories(part: ElementTree.Element) -> tuple[float, float]:
    """First directory of a ``TiffData`` and the one after its last."""
    first, count = whole(part.get('IFD')), whole(part.get('PlaneCount'))
    many = float('inf') if first is None and count is None else count or 1
    return first or 0, (first or 0) + many
