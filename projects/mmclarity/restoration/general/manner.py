"""How weights of the general network are used: chosen when they were taught, and kept with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ['Manner']


@dataclass(frozen=True)
class Manner:
    """What goes with weights, as metadata of their file; as it is here for those that ship.

    Attributes:
        caution: factor on the noise told in the second look, see :attr:`.Appraisal.second_look`.
        guarded: whether what was taken away is looked through for structure, see
            :mod:`.safeguards`.
        levels: a quick scan's level is the first times a slow one's, plus the second; 0 black and
            1 white. The third is white, where it was given (:attr:`.SEMImage.own_white`). None
            where nobody knows them.
    """

    caution: float = 1.0
    guarded: bool = True
    levels: tuple[float, float, float | None] | None = None

    @classmethod
    def told(cls, metadata: Mapping[str, str]) -> Manner:
        """What metadata of a file say.

        Args:
            metadata: of :meth:`metadata`, or with less in it.

        Raises:
            ValueError: they are no such numbers, and would spoil every image.
        """
        caution = _within(metadata, 'caution', 1.0, 0.0, math.inf)
        guarded = bool(_within(metadata, 'guarded', 1.0, 0.0, 1.0))
        if 'levels' not in metadata:
            return cls(caution, guarded)
        numbers = [float(word) for word in metadata['levels'].split()]
        finite = all(map(math.isfinite, numbers))
        if len(numbers) not in (2, 3) or not finite or min(numbers[::2]) <= 0:
            raise ValueError(f'its metadata give "{metadata["levels"]}" as levels of slow scans')
        gain, offset, white = (*numbers, None)[:3]
        return cls(caution, guarded, (gain, offset, white))

    def metadata(self) -> dict[str, str]:
        """For the weights' file."""
        told = dict(caution=repr(self.caution), guarded=str(int(self.guarded)))
        if self.levels is not None:
            told['levels'] = ' '.join(repr(part) for part in self.levels if part is not None)
        return told


def _within(
    metadata: Mapping[str, str], name: str, usual: float, least: float, most: float
) -> float:
    value = float(metadata.get(name, usual))
    if not (least <= value <= most and math.isfinite(value)):
        raise ValueError(f'its metadata give {value:g} as {name}')
    return value
