"""Beta patterns as NIfTI images, alone or as a BIDS derivative has them, through nibabel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import DataError, said

from ..ids import natural_order
from .bids import ENDINGS, by_subject, is_pattern
from .found import Found, stack_or_list

__all__ = ['ENDINGS', 'check_same_place', 'is_pattern', 'read_nifti', 'read_volumes']


def read_nifti(path: Path, mask: str | None) -> Found:
    """Responses (stimuli, voxels) of one image with stimuli in its fourth axis, or of a folder.

    A folder, or a pattern of names with ``*``, stands for three-dimensional images of one
    stimulus each, whose id is what tells the names of the files apart: the label of an entity of
    BIDS (``contrast-face1``, ``desc-face1``), else the name without ending. Subjects (``sub-``)
    are kept apart, runs and sessions averaged. Voxels that are NaN, or zero for every stimulus
    (outside of the brain), are left out, for each subject by itself.

    Args:
        path: Image, folder or pattern.
        mask: An image of the same grid; voxels where it is zero are left out.

    Raises:
        ModuleNotFoundError: If nibabel is missing, with the command.
        DataError: If images cannot be read or differ in grid.
    """
    region = None if mask is None else _mask(path, Path(mask))
    if not path.is_dir() and not is_pattern(path):
        values, affine = read_volumes(path, 4)
        data = np.moveaxis(values, -1, 0)
        return Found(_inside(data, region, path, affine), 'responses')
    subjects, labels = by_subject(path)
    ids = natural_order({label for images in subjects.values() for label in images})
    parts = []
    for subject, images in subjects.items():
        data, affine = _stacked(images, ids)
        _say_missing(subject, [label for label in ids if label not in images], path)
        parts.append(_inside(data, region, path, affine))
    values = parts[0] if len(parts) == 1 else stack_or_list(parts)
    return Found(values, 'responses', ids, labels)


def _stacked(images: dict[str, list[Path]], ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(n, x, y, z), the mean of each stimulus' images, NaN for those that one lacks; affine."""
    first: Path | None = None
    data, affine = np.empty(0), np.eye(4)
    for place, label in enumerate(ids):
        files = images.get(label, [])
        for file in files:
            volume, place_of_it = read_volumes(file, 3)
            if first is None:
                first, affine = file, place_of_it
                data = np.full((len(ids), *volume.shape), np.nan)
            if volume.shape != data.shape[1:]:
                raise DataError(
                    f'{file} has another grid than {first}: {volume.shape} and {data.shape[1:]}'
                )
            check_same_place(file, place_of_it, first, affine, volume.shape)
            part = volume / len(files)
            data[place] = part if file is files[0] else data[place] + part
    return data, affine


def _say_missing(subject: str, missing: list[str], path: Path) -> None:
    if missing:
        warnings.warn(
            f'{path}: sub-{subject} has no image of {len(missing)} stimuli ({missing[0]}'
            f'{", ..." if len(missing) > 1 else ""}); their pairs are NaN',
            stacklevel=3,
        )


def check_same_place(
    path: str | Path, affine: np.ndarray, other: str | Path, its: np.ndarray, grid: tuple[int, ...]
) -> None:
    """Whether the voxels of two images of one grid lie where those of the other do.

    Raises:
        DataError: If one lies more than half a voxel elsewhere, as in a mirrored mask.
    """
    corners = np.array([*product(*((0, size - 1) for size in grid[:3]))])
    gap = corners @ (affine - its)[:3, :3].T + (affine - its)[:3, 3]
    apart = float(np.linalg.norm(gap, axis=1).max())
    if apart > np.linalg.norm(its[:3, :3], axis=0).min() / 2:
        raise DataError(
            f'{path} has the grid of {other}, but by its affine its voxels lie up to {apart:.3g} '
            'mm elsewhere; resample one to the other (nilearn.image.resample_to_img), or mend the '
            'affine if it is wrong'
        )


@dataclass(frozen=True)
class _Mask:
    path: Path
    inside: np.ndarray
    affine: np.ndarray


def _mask(path: Path, mask: Path) -> _Mask:
    if not mask.is_file():
        raise FileNotFoundError(f'{path}:{mask}: there is no mask {mask}')
    values, affine = read_volumes(mask, 3)
    return _Mask(mask, np.nan_to_num(values) != 0, affine)


def _inside(data: np.ndarray, mask: _Mask | None, path: Path, affine: np.ndarray) -> np.ndarray:
    """(n, voxels) of (n, x, y, z): those in the mask that hold something."""
    shown = ~np.isnan(data).all((1, 2, 3))
    inside = np.isfinite(data[shown]).all(0) & (data[shown] != 0).any(0)
    if mask is not None:
        if mask.inside.shape != data.shape[1:]:
            raise DataError(
                f'mask {mask.path} has the grid {mask.inside.shape}, {path} {data.shape[1:]}; '
                'resample one to the other'
            )
        check_same_place(mask.path, mask.affine, path, affine, data.shape[1:])
        inside &= mask.inside
    if not inside.any():
        raise DataError(f'{path}: no voxel is left{"" if mask is None else f" inside {mask.path}"}')
    return data[:, inside]


def read_volumes(path: Path, axes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Values of an image, float64, and its affine (4, 4).

    Args:
        path: The image.
        axes: How many it must have; any number if it is not given.

    Raises:
        FileNotFoundError: If there is none.
        DataError: If it cannot be read, or has another number of axes.
    """
    nibabel = _nibabel(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such image')
    try:
        image = nibabel.load(path)
        data, affine = np.asarray(image.dataobj, np.float64), getattr(image, 'affine', None)
    except Exception as error:  # MemoryError, zlib.error and many more where a header is damaged
        raise DataError(f'{path} cannot be read as NIfTI: {said(error)}') from error
    if affine is None:  # CIFTI
        raise DataError(
            f'{path} has no grid of voxels ({type(image).__name__}); save its numbers, (stimuli, '
            'vertices): numpy.savez(file, responses=image.get_fdata(), ids=...)'
        )
    if axes is None:
        return data, affine
    while data.ndim > axes and 1 in data.shape[3:]:  # as of (x, y, z, 1, stimuli)
        data = data.squeeze(3 + data.shape[3:].index(1))
    if data.ndim != axes:
        what = 'one volume' if axes == 3 else 'a volume a stimulus: (x, y, z, stimuli)'
        raise DataError(f'{path} has shape {data.shape}; it must hold {what}')
    return data, affine


def _nibabel(path: Path) -> Any:
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{path} needs nibabel; install it with `pip install nibabel`'
        ) from error
    return nibabel
