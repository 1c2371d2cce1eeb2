"""Beta patterns as NIfTI images, alone or as a BIDS derivative has them, through nibabel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import DataError, said

from ..ids import natural_order
from .found import Found

ENDINGS = ('.nii', '.nii.gz')
# Entities of BIDS that say which condition a statistical map is of.
ENTITIES = ('desc', 'contrast', 'stim', 'cond', 'condition', 'trialtype')


def read_nifti(path: Path, mask: str | None) -> Found:
    """Responses (stimuli, voxels) of one image with stimuli in its fourth axis, or of a folder.

    A folder holds one three-dimensional image a stimulus, whose id is what tells the names of the
    files apart: the value of an entity of BIDS (``desc-face1``, ``contrast-face1``), else the
    name without ending. Voxels that are NaN, or zero for every stimulus (outside of the brain),
    are left out.

    Args:
        path: Image or folder.
        mask: An image of the same grid; voxels where it is zero are left out.

    Raises:
        ModuleNotFoundError: If nibabel is missing, with the command.
        DataError: If images cannot be read or differ in grid.
    """
    files = _files(path)
    ids = None
    if path.is_dir():
        volumes = [_values(file, 3) for file in files]
        grids = {volume.shape for volume in volumes}
        if len(grids) > 1:
            odd = next(f for f, v in zip(files, volumes) if v.shape != volumes[0].shape)
            raise DataError(f'{odd} has another grid than {files[0]}: {sorted(grids)}')
        data, ids = np.stack(volumes), _ids(files)
    else:
        data = np.moveaxis(_values(path, 4), -1, 0)
    inside = np.isfinite(data).all(0) & (data != 0).any(0)
    if mask is not None:
        if not Path(mask).is_file():
            raise FileNotFoundError(f'{path}:{mask}: there is no mask {mask}')
        region = _values(Path(mask), 3)
        if region.shape != data.shape[1:]:
            raise DataError(
                f'mask {mask} has the grid {region.shape}, {path} {data.shape[1:]}; resample one '
                'to the other'
            )
        inside &= np.nan_to_num(region) != 0
    if not inside.any():
        raise DataError(f'{path}: no voxel is left{"" if mask is None else f" inside {mask}"}')
    return Found(data[:, inside], 'responses', ids)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [p for p in path.iterdir() if p.name.lower().endswith(ENDINGS)]
    if not files:
        raise DataError(f'{path} is a folder without images ({", ".join(ENDINGS)})')
    return natural_order(files, key=lambda p: p.name)


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


def _ids(files: list[Path]) -> list[str]:
    names = [re.sub(r'\.nii(\.gz)?$', '', file.name, flags=re.IGNORECASE) for file in files]
    for entity in ENTITIES:
        matches = [re.search(rf'(?:^|_){entity}-([^_]+)', name) for name in names]
        found = [match[1] for match in matches if match]
        if len(set(found)) == len(names):
            return found
    return names
