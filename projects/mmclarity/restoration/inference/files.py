"""Files and folders of micrographs, restored by a :class:`.restorer.Restorer`.

Every file is restored picture by picture; neither a stack nor its copy is ever in memory as a
whole, and no output gets its name before it is complete.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmclarity.utils.files import listing, with_own_name, write_bytes

from ..io.files import copy_suffix, open_pictures
from ..io.micrograph import (
    READABLE,
    SEMImage,
    SEMImageError,
    check_writable,
    list_images,
    write_sem,
)
from ..io.sidecars import SUFFIXES as TEXT_SUFFIXES
from ..io.sidecars import sidecar_name
from ..io.stack import open_stack, rewriting_stack
from .combine import check_pages, combine
from .doubt_files import writing_doubts
from .progress import Progress, part_of
from .targets import FolderTargets, map_name

if TYPE_CHECKING:
    from .doubts import Doubts
    from .restorer import Restorer

# What lies beside images and is none: texts of microscopes, tables, weights.
_BESIDE = (*TEXT_SUFFIXES, '.xml', '.json', '.csv', '.md', '.log', '.safetensors', '.resume')
_READING = ('data_range', 'crop', 'channel', 'allow_black', 'page', 'annotations')
# ends of the names we give
_OURS = ('_restored', '_restored_sharp', '_combined', '_uncertainty', '_doubtful')

__all__ = [
    'FolderReport',
    'combine_files',
    'default_output',
    'make_folder',
    'originals',
    'passed_over',
    'restore_file',
    'restore_folder',
]


@dataclass
class FolderReport:
    """What became of the images of a folder.

    Attributes:
        done: files written.
        failed: reasons by image.
        kept: images whose restorations were there already, and stay as they are.
    """

    done: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Targets:
    """The files that one restoration writes."""

    image: Path
    map: Path | None = None
    doubtful: Path | None = None
    sidecar: Path | None = None

    def all(self) -> list[Path]:
        return [path for path in (self.image, self.map, self.doubtful, self.sidecar) if path]


def default_output(path: Path, combined: bool = False) -> Path:
    """``IN_restored`` beside IN; ``.ome.tif`` and the like stay together.

    Args:
        path: file or folder.
        combined: all of it becomes one picture: ``IN_combined``, and a stack is none any more.

    Raises:
        FileNotFoundError, SEMImageError: no image.
    """
    path = with_own_name(path)
    if path.is_dir():
        return path.with_name(f'{path.name}_combined.tif' if combined else f'{path.name}_restored')
    stem, inner = path.stem, ''
    if stem.lower().endswith('.ome'):
        stem, inner = stem[:-4], stem[-4:]
    if combined and inner:
        with open_pictures(path) as pictures:
            inner = inner if len(pictures) == 1 else ''
    word = 'combined' if combined else 'restored'
    return path.with_name(f'{stem}_{word}{inner}{copy_suffix(path)}')


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        NotADirectoryError: a file is in the way.
    """
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise NotADirectoryError(f'{part}: is a file; give a folder to write into')
    folder.mkdir(parents=True, exist_ok=True)


def originals(folder: str | Path, recursive: bool = False) -> list[Path]:
    """The images of a folder, without what earlier restorations have put beside them.

    Raises:
        FileNotFoundError, NotADirectoryError: see :func:`.io.list_images`.
    """
    images = list_images(folder, READABLE, recursive)
    stems = {path.with_suffix('') for path in images}

    def ours(path: Path) -> bool:
        stem = path.with_suffix('').name.removesuffix('.ome')
        cut = next((stem.removesuffix(end) for end in _OURS if stem.endswith(end)), None)
        return cut is not None and not stems.isdisjoint(
            {path.with_name(cut), path.with_name(f'{cut}.ome')}
        )

    return [path for path in images if not ours(path)]


def passed_over(folder: str | Path, recursive: bool = False) -> str:
    """One line about the files of a folder whose kind is not read; '' if there are none.

    Texts, tables and weights, as they lie beside images, are no loss.
    """
    left = [
        path
        for path in listing(folder, recursive=recursive)
        if path.suffix.lower() not in (*READABLE, *_BESIDE)
    ]
    if not left:
        return ''
    names = ', '.join(path.name for path in left[:3]) + (', ...' if len(left) > 3 else '')
    word = 'file of a kind that is' if len(left) == 1 else 'files of kinds that are'
    return f'{folder}: {len(left)} {word} not read, left out: {names}; save images as TIFF or PNG'


def restore_file(
    restorer: Restorer,
    src: str | Path,
    dst: str | Path,
    overwrite: bool = False,
    uncertainty: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> list[Path]:
    """Restores every picture of a file; see :meth:`.Restorer.restore_file`."""
    src, dst = Path(src), Path(dst)
    if dst.exists() and src.exists() and dst.samefile(src):
        raise SEMImageError(f'{src}: would be replaced by its restoration; choose another name')
    chosen = reading.pop('page', None)
    with open_stack(src, **_as_restorer_reads(restorer, reading)) as stack:
        numbers = range(len(stack)) if chosen is None else [chosen]
        first = stack[numbers[0]]
        targets = _targets(dst, first, uncertainty, len(numbers))
        _check_free(targets, overwrite)
        check_writable(dst, first)
        with ExitStack() as outputs:
            put = outputs.enter_context(rewriting_stack(dst, src, overwrite))
            pixels = first.image.size * len(numbers)
            add = (
                outputs.enter_context(_doubts(targets, overwrite, pixels)) if uncertainty else None
            )
            blank = []
            for i, number in enumerate(numbers):
                image = first if i == 0 else stack[number]
                if len(stack) > 1 and image.is_blank:
                    blank.append(number + 1)
                put(_restored(restorer, image, add, part_of(progress, i, len(numbers))), image)
            _tell_blank(src, blank, len(numbers))
    _copy_sidecar(first, targets, overwrite)
    return targets.all()


def combine_files(
    restorer: Restorer,
    scans: Sequence[str | Path],
    dst: str | Path,
    overwrite: bool = False,
    uncertainty: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> list[Path]:
    """Restores several scans of one field as one; see :meth:`.Restorer.combine_files`."""
    scans = [scans] if isinstance(scans, str | Path) else scans
    dst, paths = Path(dst), _different(map(Path, scans))
    if any(dst.exists() and path.exists() and dst.samefile(path) for path in paths):
        raise SEMImageError(f'{dst}: is one of the scans; choose another name')
    reading = _as_restorer_reads(restorer, reading)
    with open_stack(paths[0], **reading) as stack:
        several = len(stack) > 1
        first = next((image for image in stack if not image.is_blank), None) or stack[0]
    # one page of a stack is a file of its own
    like = replace(first, path=None, page=0, pages=1) if several else first
    targets = _targets(dst, first, uncertainty, 1)
    _check_free(targets, overwrite)
    check_writable(dst, like)
    if restorer.tell is not None:
        restorer.tell(f'{paths[0]}: the others are laid on this scan')
    together = combine(_pictures(paths, reading), restorer.tell).image
    image = replace(together, page=0, pages=1)
    with ExitStack() as outputs:
        pixels = first.image.size
        add = outputs.enter_context(_doubts(targets, overwrite, pixels)) if uncertainty else None
        restored = _restored(restorer, image, add, progress)
        write_sem(dst, restored, like, overwrite)
    _copy_sidecar(first, targets, overwrite)
    return targets.all()


def restore_folder(
    restorer: Restorer,
    src: str | Path,
    dst: str | Path,
    overwrite: bool = False,
    uncertainty: bool = False,
    progress: Callable[[Path, int, int], None] | None = None,
    recursive: bool = False,
    share: tuple[int, int] = (0, 1),
    **reading: Any,
) -> FolderReport:
    """Restores every image of a folder; see :meth:`.Restorer.restore_folder`."""
    if not 0 <= share[0] < share[1]:
        raise ValueError(f'share is (number, how many), such as (0, 2) and (1, 2); got {share}')
    src, dst = Path(src), Path(dst)
    images = originals(src, recursive)
    if dst.exists() and dst.samefile(src):
        raise SEMImageError(f'{dst}: the originals are there; choose another folder')
    inside = dst.resolve()
    images = [path for path in images if inside not in path.resolve().parents]
    make_folder(dst)
    report = FolderReport()
    targets = FolderTargets(src, dst, uncertainty)
    for number, path in enumerate(images):
        mine = number % share[1] == share[0]

        def tell(done: int, total: int, path: Path = path) -> None:
            if progress is not None:
                progress(path, done, total)

        try:
            target = targets.of(path)
            if not mine:
                continue
            if not overwrite and _is_complete(target, uncertainty):
                report.kept.append(path)
                continue
            make_folder(target.parent)
            report.done += restorer.restore_file(
                path, target, overwrite, uncertainty, tell, **reading
            )
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            if not mine:
                continue
            text = str(error) or type(error).__name__
            report.failed[path] = text if str(path) in text else f'{path}: {text}'
    return report


def _as_restorer_reads(restorer: Restorer, reading: dict[str, Any]) -> dict[str, Any]:
    """Options of reading: coloured annotations stay as they are, levels are measured."""
    if unknown := sorted(set(reading) - set(_READING)):
        raise TypeError(f'unknown option(s) {", ".join(unknown)}; there are {", ".join(_READING)}')
    given = {'annotations': 'keep', **reading}
    if restorer.general and given.get('data_range') is None:
        given['data_range'] = 'measured'
    return given


def _targets(dst: Path, first: SEMImage, uncertainty: bool, count: int) -> _Targets:
    sidecar = None
    if first.sidecar is not None and first.path is not None:
        sidecar = sidecar_name(first.sidecar, first.path, dst)
        if _same_content(first.sidecar, sidecar):
            sidecar = None  # of the same image in another format, as some microscopes write it
    if not uncertainty:
        return _Targets(dst, sidecar=sidecar)
    ending = 'png' if count == 1 else 'tif'
    return _Targets(
        dst,
        map_name(dst),
        dst.with_name(f'{dst.stem}_doubtful.{ending}'),
        sidecar,
    )


def _is_complete(target: Path, uncertainty: bool) -> bool:
    """Whether an earlier run has done with an image: its file is written last."""
    return target.is_file() and (not uncertainty or map_name(target).is_file())


def _check_free(targets: _Targets, overwrite: bool) -> None:
    for target in targets.all():
        if target.exists() and not overwrite:
            raise FileExistsError(
                f'{target}: exists already; choose another name, or give --overwrite '
                '(overwrite=True)'
            )


def _doubts(
    targets: _Targets, overwrite: bool, pixels: int
) -> AbstractContextManager[Callable[[Doubts, SEMImage], None]]:
    assert targets.map is not None and targets.doubtful is not None
    return writing_doubts(targets.map, targets.doubtful, overwrite, pixels)


def _restored(
    restorer: Restorer,
    image: SEMImage,
    add: Callable[[Doubts, SEMImage], None] | None,
    progress: Progress | None,
) -> np.ndarray:
    if add is None:
        return restorer(image, progress=progress)
    found = restorer.with_doubts(image, progress=progress)
    if restorer.tell is not None:
        restorer.tell(f'{image.label}: {found.describe()}')
    add(found, image)
    return found.restored


def _tell_blank(src: Path, blank: list[int], count: int) -> None:
    if len(blank) == count:
        raise SEMImageError(
            f'{src}: the picture is black, or of one value, on every page; was the beam on? '
            'Remove the file'
        )
    if blank:
        numbers = ', '.join(map(str, blank[:5])) + (', ...' if len(blank) > 5 else '')
        warnings.warn(
            f'{src}: of its {count} pages {len(blank)} hold one value only, as with the beam off, '
            f'and stay as they are: {numbers}',
            stacklevel=4,
        )


def _copy_sidecar(image: SEMImage, targets: _Targets, overwrite: bool) -> None:
    """The microscope's text file goes with the image: without it, the pixel size would be lost."""
    if image.sidecar is not None and targets.sidecar is not None:
        try:
            write_bytes(targets.sidecar, image.sidecar.read_bytes(), overwrite=overwrite)
        except FileExistsError:  # another process was faster, with the image's other format
            if not _same_content(image.sidecar, targets.sidecar):
                raise


def _same_content(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _different(paths: Iterable[Path]) -> list[Path]:
    """Each file once."""
    found: list[Path] = []
    for path in paths:
        if not any(path.exists() and path.samefile(other) for other in found):
            found.append(path)
    return found


def _pictures(paths: Sequence[Path], reading: dict[str, Any]) -> Iterator[SEMImage]:
    for path in paths:
        with open_stack(path, **reading) as stack:
            check_pages(stack)
            for image in stack:
                if len(stack) == 1 or not image.is_blank:
                    yield image
                    continue
                warnings.warn(
                    f'{image.label}: holds one value only, as with the beam off, and is left out',
                    stacklevel=3,
                )
