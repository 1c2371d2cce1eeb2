"""Where the restorations of a folder's images go, and which of them would be one file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..io.files import copy_suffix
from ..io.micrograph import SEMImageError

__all__ = ['FolderTargets', 'ignores_case', 'map_name']


class FolderTargets:
    """Names of restorations, one after the other.

    Args:
        src: folder of the images.
        dst: folder of the restorations; it is there.
        uncertainty: each has a map as well.
    """

    def __init__(self, src: Path, dst: Path, uncertainty: bool = False) -> None:
        self._src, self._dst, self._uncertainty = src, dst, uncertainty
        # Images, by what is written for them: names as they are, and in small letters.
        self._taken: dict[Path, Path] = {}
        self._alike: dict[str, Path] = {}
        self._one_case: bool | None = None

    def of(self, path: Path) -> Path:
        """The file that an image's restoration is written to.

        Raises:
            SEMImageError: another image has it or its map, or on this disk a name that is the same.
        """
        target = self._dst / path.relative_to(self._src).with_suffix(copy_suffix(path))
        other = self._owner(target, path)
        if other != path:
            raise SEMImageError(
                f'{path}: its restoration and that of {other} would both be {target.name}; rename '
                'one of them'
            )
        other = self._owner(map_name(target), path) if self._uncertainty else path
        if other != path:
            raise SEMImageError(
                f'{path}: differs from {other} in its ending only, so that they would share one '
                f'uncertainty map, {map_name(target).name}; rename one of them'
            )
        return target

    def _owner(self, target: Path, path: Path) -> Path:
        """The first image that asked for a name, or on this disk for one that is the same."""
        same = self._taken.setdefault(target, path)
        alike = self._alike.setdefault(str(target).casefold(), path)
        return alike if alike != path and self._is_one_case() else same

    def _is_one_case(self) -> bool:
        if self._one_case is None:
            self._one_case = ignores_case(self._dst)
        return self._one_case


def map_name(target: Path) -> Path:
    """The map of uncertainty that lies beside a restoration."""
    return target.with_name(f'{target.stem}_uncertainty.tif')


def ignores_case(folder: Path) -> bool:
    """Whether names that differ in capital letters only are one file in a folder.

    So it is on the disks of Windows and macOS, and on most memory sticks. A file that is made for
    the question, and removed, tells.
    """
    with tempfile.NamedTemporaryFile(prefix='.case_', dir=folder) as probe:
        path = Path(probe.name)
        return path.with_name(path.name.swapcase()).exists()
