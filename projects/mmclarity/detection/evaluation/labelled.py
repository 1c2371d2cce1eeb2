"""Labelled images in one form, whatever file they came from, and sizes to tell areas by."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmclarity.utils.json_files import LabelFileError

from ..datasets.scalabel import FRAME_ATTRIBUTES, UNDEFINED

Size = tuple[int, int]


@dataclass
class Labelled:
    """Images and what is labelled in them.

    Attributes:
        source: The file, for messages.
        names: File name of each image, without folder where that tells them apart.
        paths: File name of each image as labelled.
        ids: Place of an image by its id in COCO result lists.
        sizes: ``(width, height)`` in pixels of each image, None where unknown.
        attributes: Weather, time of day and so on of each image.
        categories: Names by id.
        gts: Ground truth as :class:`BoxEval` has it; ``image_id`` is the place.
        notes: What a reader of the numbers should know.
    """

    source: str
    names: list[str]
    paths: list[str]
    ids: dict[Any, int]
    sizes: list[Size | None]
    attributes: list[dict[str, str]]
    categories: dict[int, str]
    gts: list[dict]
    notes: list[str]

    def groups(self, keys: Sequence[str] = FRAME_ATTRIBUTES) -> dict[str, list[int]]:
        """Images by ``'weather/rainy'`` and so on; attributes that no image has are left out.

        Args:
            keys: Attributes; ``'weather+timeofday'`` gives ``'weather+timeofday/clear, night'``.
        """
        groups: dict[str, list[int]] = {}
        for key in keys:
            values = [
                tuple(attribute_value(item, part) for part in key.split('+'))
                for item in self.attributes
            ]
            if {part for value in values for part in value} != {UNDEFINED}:
                for value in sorted(set(values)):
                    members = [place for place, other in enumerate(values) if other == value]
                    groups[f'{key}/{", ".join(value)}'] = members
        return groups

    def units(self, wanted: str) -> tuple[list[str], str]:
        """What images are drawn with, so that those of one recording count as one thing.

        Args:
            wanted: ``'8'``: so many first characters of the file name; ``'folder'``; an attribute,
                e.g. ``'video_id'``.

        Returns:
            The unit of each image, and what the units are called.

        Raises:
            LabelFileError: If there is no such attribute, an image lacks it, or all are one.
        """
        if wanted.isdecimal() and int(wanted):
            found = [name[: int(wanted)] for name in self.names]
            told = f'recordings (the first {wanted} characters of the file names)'
        elif wanted == 'folder':
            found = [posixpath.dirname(path.replace('\\', '/')) for path in self.paths]
            told = 'folders'
        else:
            found = [attribute_value(item, wanted) for item in self.attributes]
            told = f'recordings ({wanted})'
            if UNDEFINED in found:
                known = sorted({key for item in self.attributes for key in item})
                raise LabelFileError(
                    f'--together {wanted}: {self.source} does not give it of image '
                    f'{self.names[found.index(UNDEFINED)]!r}; give a number of characters of the '
                    f'file names, folder, or one of {", ".join(known) or "its attributes (none)"}'
                )
        if len(set(found)) < 2:
            raise LabelFileError(f'--together {wanted}: all images are of one; nothing to draw')
        return found, told

    def chosen(self, names: Sequence[str] | None) -> dict[int, str]:
        """Categories to evaluate, by id: those asked for, or those that have objects.

        Raises:
            LabelFileError: If a name is unknown, or there is nothing to find.
        """
        unknown = [name for name in names or () if name not in self.categories.values()]
        if unknown:
            raise LabelFileError(
                f'--classes {unknown}: {self.source} has {list(self.categories.values())}'
            )
        filled = {gt['category_id'] for gt in self.gts if not gt['iscrowd']}
        found = {
            number: name
            for number, name in self.categories.items()
            if number in filled and (not names or name in names)
        }
        if not found:
            raise LabelFileError(
                f'{self.source}: the ground truth has no objects'
                f'{f" of {list(names)}" if names else ""}; give a data set with annotations'
            )
        return found

    def area_scale(self, wanted: str | None) -> tuple[float | np.ndarray, str]:
        """What areas are multiplied by before they are small, medium or large, and how to say so.

        Args:
            wanted: A factor (``'4'``), the size that frames are thought to have (``'1280x720'``),
                or None for areas as they are.

        Raises:
            LabelFileError: If it is neither, or sizes are needed that the labels do not give.
        """
        if wanted is None:
            return 1.0, ''
        size = parse_size(wanted)
        if size is not None:
            if None in self.sizes:
                raise LabelFileError(
                    f'--area-scale {wanted}: {self.source} does not give the size of image '
                    f'{self.names[self.sizes.index(None)]!r}; give --image-size WIDTHxHEIGHT, or '
                    'the factor itself'
                )
            return reference_scale(self.sizes, size)
        try:
            factor = float(wanted)
        except ValueError:
            factor = float('nan')
        if not 0 < factor < float('inf'):
            raise LabelFileError(
                f'--area-scale {wanted}: give a positive factor, e.g. 4, or a size, e.g. 1280x720'
            )
        return factor, f'areas count times {factor:g}'


def attribute_value(attributes: Mapping[str, Any], key: str) -> str:
    """What an image's attribute says; ``'undefined'`` where it is lacking or empty, not where 0."""
    value = attributes.get(key)
    return UNDEFINED if value is None or value == '' else str(value)


def parse_size(text: str) -> Size | None:
    """``(1280, 720)`` of ``'1280x720'``; None if the text is no size."""
    match = re.fullmatch(r'([1-9]\d*)[x×]([1-9]\d*)', text.strip())
    return (int(match[1]), int(match[2])) if match else None


def reference_scale(sizes: Sequence[Size], reference: Size) -> tuple[np.ndarray, str]:
    """Factors that bring areas in frames of these sizes to those in frames of another.

    Args:
        sizes: ``(width, height)`` of each frame in pixels.
        reference: ``(width, height)`` that small, medium and large are to mean.

    Returns:
        A factor for each frame, and the sentence for the table.
    """
    scales = np.array([reference[0] * reference[1] / (width * height) for width, height in sizes])
    low, high = (scales.min(), scales.max()) if len(scales) else (1.0, 1.0)
    factor = f'{low:.3g}' if np.isclose(low, high) else f'{low:.3g} to {high:.3g}'
    return scales, (
        f'S/M/L as of {reference[0]}x{reference[1]}: areas count times {factor}, from the '
        "frames' own sizes"
    )
