"""The methods of a restorer that read and write files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from . import files
from .files import FolderReport
from .progress import Progress

__all__ = ['RestoresFiles']


class RestoresFiles:
    """What :class:`.restorer.Restorer` does with files and folders; :mod:`.files` does the work."""

    def restore_file(
        self,
        src: str | Path,
        dst: str | Path,
        overwrite: bool = False,
        uncertainty: bool = False,
        progress: Progress | None = None,
        **reading: object,
    ) -> list[Path]:
        """Restores a file into another one of the same format; see :func:`.io.write_sem`.

        Of a stack, every picture is restored by itself, one at a time in memory; order, axes and
        calibration stay. A text file of the microscope beside the image is copied along. JPEG and
        the formats of RosettaSciIO become TIFF.

        Args:
            src: file to restore.
            dst: file to write; not the same one.
            overwrite: replace existing files.
            uncertainty: write ``NAME_uncertainty.tif`` (standard deviation, float32, in [0, 1])
                and ``NAME_doubtful.png`` (particles circled, doubtful ones in red; of a stack a
                TIFF file) beside ``dst``; both show the picture without data bar and border.
            progress: as :meth:`.Restorer.__call__`.
            **reading: options of :func:`.io.read_sem`; with ``page``, only this picture of a
                stack is restored.

        Returns:
            The files written.

        Raises:
            FileExistsError, FileNotFoundError, SEMImageError: before anything is computed,
                wherever possible.
        """
        return files.restore_file(self, src, dst, overwrite, uncertainty, progress, **reading)

    def combine_files(
        self,
        scans: Sequence[str | Path],
        dst: str | Path,
        overwrite: bool = False,
        uncertainty: bool = False,
        progress: Progress | None = None,
        **reading: object,
    ) -> list[Path]:
        """Restores several scans of one field as one picture, less noisy than any of them.

        They are laid on the first one, drift included, and averaged: see
        :func:`.combine.combine`. The output is a copy of the first file with the picture
        replaced; of a stack, a TIFF file of one page.

        Args:
            scans: files of one or several pictures of one size; each file counts once.
            dst: file to write; none of the scans.
            overwrite: replace existing files.
            uncertainty: write maps as well, as :meth:`restore_file` does.
            progress: as :meth:`.Restorer.__call__`.
            **reading: options of :func:`.io.read_sem`.

        Returns:
            The files written.

        Raises:
            UsageError: fewer than two scans, other sizes, or another field of view.
            FileExistsError, FileNotFoundError, SEMImageError: as :meth:`restore_file`.
        """
        return files.combine_files(self, scans, dst, overwrite, uncertainty, progress, **reading)

    def restore_folder(
        self,
        src: str | Path,
        dst: str | Path,
        overwrite: bool = False,
        uncertainty: bool = False,
        progress: Callable[[Path, int, int], None] | None = None,
        recursive: bool = False,
        share: tuple[int, int] = (0, 1),
        **reading: object,
    ) -> FolderReport:
        """Restores every image of a folder into another; one that fails does not stop the rest.

        Args:
            src: folder of images.
            dst: folder to write, not the same one; it is made if it is not there.
            overwrite: replace existing files.
            uncertainty: write maps as well, as :meth:`restore_file` does.
            progress: called with the file, and the number of its tiles done and of all.
            recursive: also folders below, kept as they are.
            share: which of how many processes this is; it restores its images only.
            **reading: options of :func:`.io.read_sem`.

        Raises:
            FileNotFoundError, NotADirectoryError: see :func:`.io.list_images`.
            SEMImageError: one folder for both.
        """
        return files.restore_folder(
            self, src, dst, overwrite, uncertainty, progress, recursive, share, **reading
        )
