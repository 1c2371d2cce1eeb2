"""What BDD100K's labels say: classes, frames, labels, and a report of what was skipped.

The class order and the name mappings are those of the detection benchmark
(https://doc.bdd100k.com/format.html).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mmclarity.utils.json_files import LabelFileError
from mmclarity.utils.road_classes import ROAD_CLASSES

CLASSES = ROAD_CLASSES
PALETTE = [
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
    (250, 170, 30),
    (220, 220, 0),
]
#: Names of older releases and what they are called today.
NAME_MAPPING = {
    'person': 'pedestrian',
    'bike': 'bicycle',
    'motor': 'motorcycle',
    'caravan': 'car',
    'van': 'car',
}
#: Categories that are neither to be learnt nor to be punished, and their class.
IGNORED_MAPPING = {'other person': 'pedestrian', 'other vehicle': 'car', 'trailer': 'truck'}
#: Attributes of a frame that the metrics group by.
FRAME_ATTRIBUTES = ('weather', 'timeofday', 'scene')
#: Attributes that have a meaning here; some releases write them with capitals.
LABEL_ATTRIBUTES = ('crowd', 'ignored', 'occluded', 'truncated')
#: BDD100K's own word for an attribute that nobody filled in.
UNDEFINED = 'undefined'
#: So many boxes may lie outside of their images, however few there are.
_FEW = 20
BoxT = tuple[float, float, float, float]


@dataclass(slots=True)
class Label:
    """One labelled object.

    Attributes:
        id: Identifier, unique within its frame at least.
        category: One of :data:`CLASSES`, old names already mapped.
        box: ``(x1, y1, x2, y2)`` in pixels, last pixel included.
        ignored: True if neither finding nor missing the object counts.
        attributes: The label's own attributes (``occluded``, ``truncated``...).
    """

    id: str
    category: str
    box: BoxT
    ignored: bool
    attributes: dict[str, Any]

    @property
    def xyxy(self) -> BoxT:
        """The half-open box ``(x1, y1, x2 + 1, y2 + 1)`` in pixels."""
        x1, y1, x2, y2 = self.box
        return x1, y1, x2 + 1, y2 + 1


@dataclass(slots=True)
class Frame:
    """One image and what is labelled in it.

    Attributes:
        name: File name of the image.
        labels: Its objects; empty for a negative.
        attributes: ``weather``, ``timeofday`` and ``scene`` always exist
            (``'undefined'`` where nobody filled them in), others as given.
        place: File and position, for messages.
        video: Name of the clip, if the frame belongs to one.
        size: ``(width, height)`` in pixels where the labels give it.
    """

    name: str
    labels: list[Label]
    attributes: dict[str, Any]
    place: str
    video: str | None = None
    size: tuple[int, int] | None = None

    @property
    def relative_path(self) -> str:
        """Path of the image below the image folder (``video/name`` for clips)."""
        return f'{self.video}/{self.name}' if self.video else self.name


@dataclass
class ParseReport:
    """What was skipped or changed while reading, for one warning at the end."""

    unknown: Counter = field(default_factory=Counter)
    negatives: int = 0
    no_box: int = 0
    no_area: int = 0
    outside: int = 0
    clipped: int = 0
    duplicates: int = 0
    first: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, place: str) -> None:
        """Counts a finding, and keeps the place of the first of its kind for the message."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.first.setdefault(kind, place)

    def check_outside(self, source: str, inside: int) -> None:
        """Refuses labels of larger images, as where images were made smaller and boxes were not.

        Args:
            source: The labels, for the message.
            inside: Boxes that lie in their image.

        Raises:
            LabelFileError: If more than a tenth of the boxes lie wholly outside.
        """
        total = self.outside + inside
        if self.outside > max(_FEW, total / 10):
            raise LabelFileError(
                f'{source}: {self.outside:,} of {total:,} boxes lie wholly outside their images '
                f'(first: {self.first["outside"]}): these are labels of larger images. Bring the '
                'boxes to the size of the images, or take the images that were labelled'
            )

    def summary(self) -> str | None:
        """Returns one sentence per finding, or None if there is nothing to say."""
        parts = []
        if self.unknown:
            names = ', '.join(f'{name!r}: {n}' for name, n in self.unknown.most_common(12))
            more = ', ...' if len(self.unknown) > 12 else ''
            parts.append(
                f'{sum(self.unknown.values())} labels of unknown categories skipped ({names}{more})'
            )
        for kind, text in (
            ('no_box', 'labels without box2d skipped'),
            ('no_area', 'boxes of no area skipped'),
            ('outside', 'boxes wholly outside their image skipped'),
            ('clipped', 'boxes reaching more than 1 px out of their image'),
            ('duplicates', 'frames that are listed again, each used once'),
        ):
            if count := getattr(self, kind):
                place = f' (first: {self.first[kind]})' if kind in self.first else ''
                parts.append(f'{count} {text}{place}')
        if self.first:
            parts.append('mend or delete these labels if they were to count')
        return '; '.join(parts) if parts else None
