"""``mmclarity-rsa --searchlight``: a map of likeness for every layer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmclarity.errors import DataError, UsageError
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.data.readers.nifti import check_same_place, read_volumes
from mmclarity.rsa.inference.searchlight import searchlight_scores, spheres
from mmclarity.rsa.rdms.compute import compute_rdm
from mmclarity.rsa.result import RSAResult
from mmclarity.utils.files import replacing


@dataclass(frozen=True)
class Betas:
    """What ``--searchlight`` names.

    Args:
        source: The image, for messages.
        values: (n, V) of the voxels that count.
        mask: (X, Y, Z), which these are.
        affine: (4, 4).
    """

    source: str
    values: np.ndarray
    mask: np.ndarray
    affine: np.ndarray

    def area(self, ids: Sequence[str], metric: str) -> NeuralArea:
        """All voxels together.

        Raises:
            DataError: If their patterns have no RDM.
        """
        try:
            rdm = compute_rdm(self.values, metric, names=ids)
        except ValueError as error:
            raise DataError(f'{self.source}: {error}') from error
        return NeuralArea('all voxels', rdm[None], list(ids), self.source)


def read_searchlight(args: argparse.Namespace, count: int) -> Betas:
    """The image of --searchlight inside of its mask.

    Raises:
        UsageError: If the radius is no length, or below the distance of any two voxels.
        DataError: If an image is not as it must be.
    """
    if not 0 < args.radius < np.inf:
        raise UsageError(f'--radius must be above 0 mm, got {args.radius}')
    data, affine = _image(args.searchlight, '--searchlight')
    data = data[:, :, :, 0] if data.ndim == 5 and data.shape[3] == 1 else data
    if data.ndim != 4 or data.shape[3] != count:
        raise DataError(
            f'{args.searchlight} has shape {data.shape}; it must hold one volume a stimulus, '
            f'(x, y, z, {count}), in the order of the stimuli'
        )
    finite = np.isfinite(data)
    empty = np.flatnonzero(~finite.any((0, 1, 2)))
    if empty.size:
        raise DataError(
            f'{args.searchlight}: volume {empty[0]} (counted from 0; {empty.size} such) has no '
            'finite value; leave the volume and its picture out'
        )
    if args.mask is None:
        mask = (data != 0).any(3)
    else:
        values, place = _image(args.mask, '--mask', 3)
        mask = np.nan_to_num(values) != 0
        if mask.shape != data.shape[:3]:
            raise DataError(f'--mask {args.mask} has the grid {mask.shape}, not {data.shape[:3]}')
        check_same_place(args.mask, place, args.searchlight, affine, mask.shape)
    mask &= finite.all(3)
    if not mask.any():
        raise DataError(f'{args.searchlight}: no voxel is left')
    _, around = spheres(mask, affine, args.radius)
    if max(map(len, around)) < 2:
        raise UsageError(
            f'--radius {args.radius:g}: no sphere holds two voxels of {args.searchlight}, whose '
            f'sides are {", ".join(f"{s:.3g}" for s in np.linalg.norm(affine[:3, :3], axis=0))} mm'
        )
    return Betas(args.searchlight, data[mask].T, mask, affine)


def write_searchlight(result: RSAResult, args: argparse.Namespace, files: Sequence[str]) -> None:
    """One map a layer, as NIfTI; ``files`` are their names."""
    import nibabel

    betas = read_searchlight(args, len(result.ids))
    places, around = spheres(betas.mask, betas.affine, args.radius)
    metric = args.neural_metric or args.metric
    found = searchlight_scores(
        result.grouped(result.rdms), betas.values, around, args.method, metric
    )
    for file, values in zip(files, found):
        volume = np.full(betas.mask.shape, np.nan, np.float32)
        volume[tuple(places.T)] = values
        image = nibabel.Nifti1Image(volume, betas.affine)
        with replacing(args.out / f'searchlight_{file}.nii') as part:
            part.write_bytes(image.to_bytes())
    best = [f'{layer} {_greatest(values)}' for layer, values in zip(result.layers, found)]
    print(
        f'Searchlight: {len(places)} spheres of {args.radius} mm; greatest likeness: '
        + ', '.join(best)
    )


def _greatest(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f'{known.max():.3f}' if known.size else 'N/A'


def _image(path: str, option: str, axes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_volumes(Path(path), axes)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{option} needs nibabel; install it with `pip install nibabel`'
        ) from error
