"""What microscopes write beside a picture: pixel size, size of the picture, rows of the data bar.

One function a vendor, from the text that the file (or a text file beside it) holds to
:class:`Metadata`. What a text does not tell, or tells in a way that makes no sense, is None.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

__all__ = [
    'Metadata',
    'metres',
    'parse_fei',
    'parse_feixml',
    'parse_fibics',
    'parse_fibsem',
    'parse_hitachi',
    'parse_imagej',
    'parse_jeol',
    'parse_ome',
    'parse_tescan',
    'parse_zeiss',
]

_METRES = {'m': 1.0, 'cm': 1e-2, 'mm': 1e-3, 'um': 1e-6, 'nm': 1e-9, 'pm': 1e-12, 'inch': 0.0254}
_ANGSTROM = dict.fromkeys(('a', '\xe5', 'angstrom', 'angstroms'), 1e-10)
_NAMES = {'micron': 'um', 'microns': 'um', 'micrometer': 'um', 'nanometer': 'nm'}
_QUANTITY = re.compile(r'([0-9.]+(?:[eE][-+]?\d+)?)\s*([^\W\d_]+)?')


@dataclass(frozen=True)
class Metadata:
    """What a vendor's tags tell.

    Attributes:
        vendor: 'FEI', 'Zeiss', 'TESCAN', 'JEOL', 'Hitachi', 'Phenom', 'Fibics', 'OpenFIBSEM',
            'OME', 'ImageJ' or None.
        size: rows and columns of the picture, without the data bar.
        bar: rows of the data bar.
        pixel_size: metres.
    """

    vendor: str | None = None
    size: tuple[int, int] | None = None
    bar: int | None = None
    pixel_size: float | None = None


def _sections(text: str) -> dict[str, dict[str, str]]:
    """``[Name]`` and the ``key=value`` below it; what comes before the first is under ''."""
    sections: dict[str, dict[str, str]] = {'': {}}
    section = sections['']
    for line in text.splitlines():
        line = line.strip()
        if line.startswith('[') and line.endswith(']'):
            section = sections.setdefault(line[1:-1], {})
        elif '=' in line:
            key, _, value = line.partition('=')
            section[key.strip()] = value.strip()
    return sections


def parse_fei(text: str) -> Metadata:
    """Reads the tags 34680 and 34682 of FEI and Thermo Fisher: sections of ``key=value``."""
    sections = _sections(text)
    image, scan = sections.get('Image', {}), sections.get('Scan', {})
    rows, columns = _whole(image.get('ResolutionY')), _whole(image.get('ResolutionX'))
    width = _number(scan.get('PixelWidth'))
    if width is None:
        # [Scan] is a copy of the section that [Beam] names; some versions leave the copy out
        name = sections.get('Beam', {}).get('Scan', 'EScan')
        width = _number(sections.get(name, {}).get('PixelWidth'))
    return Metadata(
        'FEI',
        (rows, columns) if rows and columns else None,
        _whole(sections.get('PrivateFei', {}).get('DatabarHeight')),
        width,
    )


def parse_feixml(text: str) -> Metadata:
    """Reads the tag 34683 of Phenom, ``<FeiImage>``, which its JPEG files hold as well."""
    if '<FeiImage' not in text:
        return Metadata()
    found = re.search(r'<pixelWidth\b[^>]*\bunit="([^"]+)"[^>]*>([^<]+)<', text)
    bar = re.search(r'<databarHeight>\s*(\d+)\s*<', text)
    return Metadata(
        'Phenom',
        bar=int(bar.group(1)) if bar else None,
        pixel_size=metres(found.group(2), found.group(1)) if found else None,
    )


def parse_zeiss(text: str) -> Metadata:
    """Reads the tag 34118 of Zeiss: a name in capitals, then a line such as ``Pixel Size = 5 nm``.

    It does not tell the height of the data bar.
    """
    lines = [line.strip() for line in text.splitlines()]
    for wanted in ('AP_IMAGE_PIXEL_SIZE', 'AP_PIXEL_SIZE'):
        for name, line in zip(lines, lines[1:]):
            if name == wanted and '=' in line:
                value, _, unit = line.partition('=')[2].strip().partition(' ')
                size = metres(value, unit)
                if size is not None:
                    return Metadata('Zeiss', pixel_size=size)
    return Metadata('Zeiss')


def parse_tescan(text: str) -> Metadata:
    """Reads the tag 50431 of TESCAN: sections of ``key=value``, after some bytes of a header.

    Also its ``.hdr`` files. The picture may have been cut to any size: ``ImageStripSize`` tells
    the data bar's rows only.
    """
    values = dict(re.findall(r'^\s*(\w+)\s*=\s*(.*?)\s*$', text, re.MULTILINE))
    return Metadata(
        'TESCAN',
        bar=_whole(values.get('ImageStripSize')),
        pixel_size=_number(values.get('PixelSizeX')),
    )


def parse_jeol(text: str) -> Metadata:
    """Reads ``$CM_NAME value`` and ``$$SM_NAME value``: an EXIF maker note, or a ``.txt`` file.

    The pixel size is stated by newer software; older files tell how many pixels the scale bar is
    long, to one pixel.
    """
    values = {}
    for line in text.splitlines():
        found = re.match(r'\s*\$+(\w+)\s*(.*?)\s*$', line)
        if found:
            values.setdefault(found.group(1), found.group(2))
    if not any(name.startswith('CM_') for name in values):
        return Metadata()
    sides = (values.get('CM_IMAGE_SIZE') or values.get('CM_FULL_SIZE') or '').split()
    columns, rows = (_whole(side) for side in sides) if len(sides) == 2 else (None, None)
    size = _quantity(values.get('CM_PIXEL_SIZE'), 'nm')
    field = _quantity(values.get('CM_FIELD_OF_VIEW'), 'um')
    if size is None and field is not None and columns:
        size = field / columns
    if size is None:
        marker = _quantity(values.get('SM_MICRON_MARKER'), 'um')
        bar = _number(values.get('SM_MICRON_BAR'))
        size = marker / bar if marker and bar else None
    return Metadata(
        'JEOL',
        (rows, columns) if rows and columns else None,
        _whole(values.get('SM_PNU_HEIGHT')),
        size,
    )


def parse_hitachi(text: str) -> Metadata:
    """Reads the ``.txt`` file beside a Hitachi image: ``PixelSize`` in nm below [SemImageFile]."""
    values = _sections(text).get('SemImageFile')
    if values is None:
        return Metadata()
    sides = re.findall(r'\d+', values.get('DataSize', ''))
    size = _number(values.get('PixelSize'))
    return Metadata(
        'Hitachi',
        (int(sides[1]), int(sides[0])) if len(sides) == 2 else None,
        pixel_size=size * 1e-9 if size else None,
    )


def parse_fibics(text: str) -> Metadata:
    """Reads the tag 51023 of Fibics (Zeiss Atlas, NPVE): XML, the width of the field in um."""
    start = text.find('<Fibics')
    end = text.find('</Fibics>')
    if start < 0 or end < 0:
        return Metadata()
    try:
        root = ElementTree.fromstring(text[start : end + len('</Fibics>')])
    except ElementTree.ParseError:
        return Metadata('Fibics')
    columns, rows = _whole(root.findtext('Image/Width')), _whole(root.findtext('Image/Height'))
    field, vector = root.find('Scan/FOV_X'), root.findtext('Scan/Ux')
    size = None
    if field is not None and columns:
        width = metres(field.text or '', field.get('units', 'um'))
        size = width / columns if width else None
    elif vector is not None:  # micrometres from one pixel of a line to the next, turned
        across = _real(vector), _real(root.findtext('Scan/Uy') or '0')
        size = float(np.hypot(*across)) * 1e-6 or None if None not in across else None
    return Metadata('Fibics', (rows, columns) if rows and columns else None, pixel_size=size)


def parse_fibsem(text: str) -> Metadata:
    """Reads the JSON that OpenFIBSEM writes as description: ``pixel_size`` of x and y in metres."""
    try:
        values = json.loads(text)
    except ValueError:
        return Metadata()
    size = values.get('pixel_size') if isinstance(values, dict) else None
    if not isinstance(size, dict):
        return Metadata()
    return Metadata('OpenFIBSEM', pixel_size=_number(str(size.get('x'))))


def parse_ome(text: str) -> Metadata:
    """Reads OME-XML: ``PhysicalSizeX`` in micrometres, or in its ``PhysicalSizeXUnit``."""
    size = re.search(r'\bPhysicalSizeX="([^"]+)"', text)
    unit = re.search(r'\bPhysicalSizeXUnit="([^"]+)"', text)
    vendor = 'Phenom' if 'phenom' in text.lower() else 'OME'
    name = unit.group(1) if unit else 'um'
    return Metadata(vendor, pixel_size=metres(size.group(1), name) if size else None)


def parse_imagej(text: str, resolution: float | None) -> Metadata:
    """Reads an ImageJ description: lines of ``key=value``.

    Args:
        text: the description.
        resolution: pixels per unit, of the tag XResolution.
    """
    unit = re.search(r'^unit=(.*?)\s*$', text, re.MULTILINE)
    if unit is None or not resolution:
        return Metadata('ImageJ')
    name = unit.group(1).encode('latin-1', 'replace').decode('unicode_escape', 'replace')
    return Metadata('ImageJ', pixel_size=metres(repr(1 / resolution), name))


def metres(value: str, unit: str) -> float | None:
    """Metres; None if the number or the unit is none."""
    name = unit.strip().replace('\xb5', 'u').replace('\u03bc', 'u')
    name = _NAMES.get(name.lower(), name)
    factor = _METRES.get(name) or _ANGSTROM.get(name.lower())
    number = _number(value)
    return number * factor if number is not None and factor else None


def _quantity(text: str | None, unit: str) -> float | None:
    """Metres of the first quantity in a text such as ``12.5um 9.4um``; ``unit`` if it has none."""
    found = _QUANTITY.match(text or '')
    return metres(found.group(1), found.group(2) or unit) if found else None


def _number(text: str | None) -> float | None:
    """A positive finite number, or None."""
    value = _real(text or '')
    return value if value is not None and value > 0 else None


def _real(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    """A whole number >= 0, or None."""
    return int(text) if text and text.isdecimal() else None
