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
    'FINEST',
    'FINEST_PRINT',
    'Metadata',
    'metres',
    'parse_fei',
    'parse_feixml',
    'parse_fibics',
    'parse_fibsem',
    'parse_hitachi',
    'parse_imagej',
    'parse_jeol',
    'parse_tescan',
    'parse_zeiss',
    'whole',
]

_METRES = {'m': 1.0, 'cm': 1e-2, 'mm': 1e-3, 'um': 1e-6, 'nm': 1e-9, 'pm': 1e-12, 'inch': 0.0254}
_ANGSTROM = dict.fromkeys(('a', '\xe5', 'angstrom', 'angstroms'), 1e-10)
_NAMES = {'micron': 'um', 'microns': 'um', 'in': 'inch', 'inches': 'inch'} | {
    f'{name}met{ending}{plural}': unit
    for name, unit in dict(micro='um', nano='nm', pico='pm', milli='mm', centi='cm').items()
    for ending in ('er', 're')
    for plural in ('', 's')
}
_QUANTITY = re.compile(r'([0-9.,]+(?:[eE][-+]?\d+)?)\s*([^\W\d_]+)?')
# Metres: no printer or screen asks for finer pixels, so what is coarser may be one of theirs.
FINEST_PRINT = 5e-6
FINEST = 1e-12  # no microscope resolves that: a resolution that nobody has set


@dataclass(frozen=True)
class Metadata:
    """What a vendor's tags tell.

    Attributes:
        vendor: 'FEI', 'Zeiss', 'TESCAN', 'JEOL', 'Hitachi', 'Phenom', 'Fibics', 'OpenFIBSEM',
            'OME', 'ImageJ' or None.
        size: rows and columns of the picture, without the data bar.
        bar: rows of the data bar.
        pixel_size: metres.
        field: metres from the left to the right of the picture, where no pixel size is told.
        pixel_height: metres, where it differs from the width, which is ``pixel_size``.
    """

    vendor: str | None = None
    size: tuple[int, int] | None = None
    bar: int | None = None
    pixel_size: float | None = None
    field: float | None = None
    pixel_height: float | None = None


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
    rows, columns = whole(image.get('ResolutionY')), whole(image.get('ResolutionX'))
    width = _number(scan.get('PixelWidth'))
    if width is None:
        # [Scan] is a copy of the section that [Beam] names; some versions leave the copy out
        name = sections.get('Beam', {}).get('Scan', 'EScan')
        scan = {**sections.get(name, {}), **scan}
        width = _number(scan.get('PixelWidth'))
    if width is None and columns:
        beam = sections.get(sections.get('Beam', {}).get('Beam', 'EBeam'), {})
        field = _number(scan.get('HorFieldsize')) or _number(beam.get('HFW'))
        width = field / columns if field else None
    return Metadata(
        'FEI',
        (rows, columns) if rows and columns else None,
        whole(sections.get('PrivateFei', {}).get('DatabarHeight')),
        width,
    )


def parse_feixml(text: str) -> Metadata:
    """Reads the tag 34683: of Phenom, ``<FeiImage>``, which its JPEG files hold as well.

    Newer microscopes of Thermo Fisher put ``<Metadata>`` there.
    """
    if '<FeiImage' not in text:
        found = re.search(r'<PixelSize>\s*<X\b[^>]*\bunit="([^"]+)"[^>]*>([^<]+)<', text)
        return (
            Metadata('FEI', pixel_size=metres(found.group(2), found.group(1)))
            if found
            else (Metadata())
        )
    found = re.search(r'<pixelWidth\b[^>]*\bunit="([^"]+)"[^>]*>([^<]+)<', text)
    bar = re.search(r'<databarHeight>\s*(\d+)\s*<', text)
    return Metadata(
        'Phenom',
        bar=int(bar.group(1)) if bar else None,
        pixel_size=metres(found.group(2), found.group(1)) if found else None,
    )


def parse_zeiss(text: str) -> Metadata:
    """Reads the tag 34118 of Zeiss: a name in capitals, then a line such as ``Pixel Size = 5 nm``.

    Numbers without names come first, the fourth of them the size of a pixel where 1024 make a
    line. It does not tell the height of the data bar. AP_PIXEL_SIZE is one of the screen, and
    counts where nothing else is told.
    """
    lines = [line.strip() for line in text.splitlines()]
    told = {name: line.partition('=')[2].strip() for name, line in zip(lines, lines[1:])}
    size, shown = (
        _quantity(told.get(name), '') for name in ('AP_IMAGE_PIXEL_SIZE', 'AP_PIXEL_SIZE')
    )
    sides = [int(side) for side in re.findall(r'\d+', told.get('DP_IMAGE_STORE', ''))]
    store = (sides[1], sides[0]) if len(sides) == 2 and all(sides) else None
    first = _number(lines[3]) if len(lines) > 3 else None
    if size is not None or first is None:
        return Metadata('Zeiss', store, pixel_size=size or shown)
    return Metadata('Zeiss', store, field=1024 * first)


def parse_tescan(text: str) -> Metadata:
    """Reads the tag 50431 of TESCAN: sections of ``key=value``, after some bytes of a header.

    Also its ``.hdr`` files. The picture may have been cut to any size: ``ImageStripSize`` tells
    the data bar's rows only.
    """
    values = dict(re.findall(r'^\s*(\w+)\s*=\s*(.*?)\s*$', text, re.MULTILINE))
    return Metadata(
        'TESCAN',
        bar=whole(values.get('ImageStripSize')),
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
    columns, rows = (whole(side) for side in sides) if len(sides) == 2 else (None, None)
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
        whole(values.get('SM_PNU_HEIGHT')),
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
    columns, rows = whole(root.findtext('Image/Width')), whole(root.findtext('Image/Height'))
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


def parse_imagej(text: str, resolution: float | None) -> Metadata:
    """Reads an ImageJ description: lines of ``key=value``.

    Inches and centimetres come from the resolution of a screen or a print, where nobody has set
    a scale: they count where they are finer than those.

    Args:
        text: the description.
        resolution: pixels per unit, of the tag XResolution.
    """
    unit = re.search(r'^unit=(.*?)\s*$', text, re.MULTILINE)
    if unit is None or not resolution:
        return Metadata('ImageJ')
    name = re.sub(r'\\u([0-9a-fA-F]{4})', lambda code: chr(int(code[1], 16)), unit.group(1))
    name = re.sub(r'\\x([0-9a-fA-F]{2})', lambda code: chr(int(code[1], 16)), name)
    size = metres(repr(1 / resolution), name)
    if size is not None and size >= FINEST_PRINT and _unit(name) in ('inch', 'cm'):
        size = None
    return Metadata('ImageJ', pixel_size=size)


def _unit(name: str) -> str:
    """A unit of length as this module calls it."""
    name = name.strip().replace('\xb5', 'u').replace('\u03bc', 'u')
    return _NAMES.get(name.lower(), name)


def metres(value: str, unit: str) -> float | None:
    """Metres; None if the number or the unit is none."""
    name = _unit(unit)
    factor = _METRES.get(name) or _ANGSTROM.get(name.lower())
    number = _number(value)
    size = number * factor if number is not None and factor else None
    return size if size is not None and size >= FINEST else None


def _quantity(text: str | None, unit: str) -> float | None:
    """Metres of the first quantity in a text such as ``12.5um 9.4um``; ``unit`` if it has none."""
    found = _QUANTITY.match(text or '')
    return metres(found.group(1), found.group(2) or unit) if found else None


def _number(text: str | None) -> float | None:
    """A positive finite number, or None."""
    value = _real(text or '')
    return value if value is not None and value > 0 else None


def _real(text: str) -> float | None:
    """A finite number, or None; its decimals may stand behind a comma, as in half of Europe."""
    try:
        value = float(text.replace(',', '.'))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def whole(text: str | None) -> int | None:
    """A whole number >= 0, or None."""
    return int(text) if text and text.isdecimal() else None
