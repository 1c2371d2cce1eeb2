"""Where the restorations of a folder's images go, and which of them would be one file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..io.files import copy_suffix
from ..io.micrograph import SEMImageError

__all__ = ['FolderTargets', 'ignores_case']


class FolderTargets:
    """Names of restorations, one after the other.

    Args:
        src: folder of the images.
        dst: folder of the restorations; it is there.
    """

    def __init__(self, src: Path, dst: Path) -> None:
        self._src, self._dst = src, dst
        # Images, by their targets: as they are, and in small letters.
        self._taken: dict[Path, Path] = {}
        self._alike: dict[str, Path] = {}
        self._one_case: bool | None = None

    def of(self, path: Path) -> Path:
        """The file that an image's restoration is written to.

        Raises:
            SEMImageError: another image has it, or on this disk a name that is the same.
        """
        target = self._dst / path.relative_to(self._src).with_suffix(copy_suffix(path))
        other = self._taken.setdefault(target, path)
        alike = self._alike.setdefault(str(target).casefold(), path)
        if alike != path and self._is_one_case():
            other = alike
        if other != path:
            raise SEMImageError(
                f'{path}: its restoration and that of {other} would both be {target.name}; rename '
                'one of them'
            )
        return target

    def _is_one_case(self) -> bool:
        if self._one_case is None:
            self._one_case = ignores_case(self._dst)
        return self._one_case


def ignores_case(folder: Path) -> bool:
    """Whether names that differ in capital letters only are one file in a folder.

    So it is on the disks of Windows and macOS, and on most memory sticks. A file that is made for
    the question, and removed, tells.
    """
    with tempfile.NamedTemporaryFile(prefix='.case_', dir=folder) as probe:
        path = Path(probe.name)
        return path.with_name(path.name.swapcase()).exists()
