"""Beta patterns as NIfTI images, alone or as a BIDS derivative has them, through nibabel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import DataError, said

from ..ids import natural_order
from .bids import ENDINGS, by_subject, is_pattern
from .found import Found, stack_or_list

__all__ = ['ENDINGS', 'is_pattern', 'read_nifti']


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
        data = np.moveaxis(_values(path, 4), -1, 0)
        return Found(_inside(data, region, path, mask), 'responses')
    subjects, labels = by_subject(path)
    ids = natural_order({label for images in subjects.values() for label in images})
    parts = []
    for subject, images in subjects.items():
        data = _stacked(images, ids)
        _say_missing(subject, [label for label in ids if label not in images], path)
        parts.append(_inside(data, region, path, mask))
    values = parts[0] if len(parts) == 1 else stack_or_list(parts)
    return Found(values, 'responses', ids, labels)


def _stacked(images: dict[str, list[Path]], ids: list[str]) -> np.ndarray:
    """(n, x, y, z), the mean of each stimulus' images; NaN for those that one lacks."""
    first: Path | None = None
    data = np.empty(0)
    for place, label in enumerate(ids):
        files = images.get(label, [])
        for file in files:
            volume = _values(file, 3)
            if first is None:
                first, data = file, np.full((len(ids), *volume.shape), np.nan)
            if volume.shape != data.shape[1:]:
                raise DataError(
                    f'{file} has another grid than {first}: {volume.shape} and {data.shape[1:]}'
                )
            part = volume / len(files)
            data[place] = part if file is files[0] else data[place] + part
    return data


def _say_missing(subject: str, missing: list[str], path: Path) -> None:
    if missing:
        warnings.warn(
            f'{path}: sub-{subject} has no image of {len(missing)} stimuli ({missing[0]}'
            f'{", ..." if len(missing) > 1 else ""}); their pairs are NaN',
            stacklevel=3,
        )


def _mask(path: Path, mask: Path) -> np.ndarray:
    if not mask.is_file():
        raise FileNotFoundError(f'{path}:{mask}: there is no mask {mask}')
    return np.nan_to_num(_values(mask, 3)) != 0


def _inside(
    data: np.ndarray, region: np.ndarray | None, path: Path, mask: str | None
) -> np.ndarray:
    """(n, voxels) of (n, x, y, z): those in the mask that hold something."""
    shown = ~np.isnan(data).all((1, 2, 3))
    inside = np.isfinite(data[shown]).all(0) & (data[shown] != 0).any(0)
    if region is not None:
        if region.shape != data.shape[1:]:
            raise DataError(
                f'mask {mask} has the grid {region.shape}, {path} {data.shape[1:]}; resample one '
                'to the other'
            )
        inside &= region
    if not inside.any():
        raise DataError(f'{path}: no voxel is left{"" if mask is None else f" inside {mask}"}')
    return data[:, inside]


def _values(path: Path, axes: int) -> np.ndarray:
    nibabel = _nibabel(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such image')
    try:
        data = np.asarray(nibabel.load(path).dataobj, np.float64)
    except Exception as error:  # MemoryError, zlib.error and many more where a header is damaged
        raise DataError(f'{path} cannot be read as NIfTI: {said(error)}') from error
    while data.ndim > axes and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != axes:
        what = 'one volume' if axes == 3 else 'a volume a stimulus: (x, y, z, stimuli)'
        raise DataError(f'{path} has shape {data.shape}; it must hold {what}')
    return data


def _nibabel(path: Path) -> Any:
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{path} needs nibabel; install it with `pip install nibabel`'
        ) from error
    return nibabel
