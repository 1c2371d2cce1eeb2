"""Searchlight: which places of a brain see as which layer of a network does.

The RDM of the voxels within a sphere around each voxel is compared with the layers (Kriegeskorte,
Goebel and Bandettini, PNAS 2006). Spheres are those of nilearn's ``SearchLight``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ..rdms.compute import METRICS, REPEATED, compute_rdm
from ..rdms.rdms import as_array, as_condensed
from ..similarity.compare import compare_known, counted_pairs, without_groups


def spheres(mask: Any, affine: Any, radius: float = 5.6) -> tuple[np.ndarray, list[np.ndarray]]:
    """Voxels of a mask, and which of them lie around each.

    Args:
        mask: (X, Y, Z); voxels other than zero count.
        affine: (4, 4), of voxels to millimetres.
        radius: Of a sphere, in millimetres; voxels at that distance are inside.

    Returns:
        (V, 3) places in the grid, and of each the indices of its neighbours among them.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import spheres
        >>> line = np.ones((3, 1, 1))  # of voxels of 2 mm
        >>> places, neighbours = spheres(line, 2 * np.eye(4), radius=2)
        >>> [[int(i) for i in near] for near in neighbours]
        [[0, 1], [0, 1, 2], [1, 2]]
    """
    region = np.asarray(mask) != 0
    if region.ndim != 3 or not region.any():
        raise ValueError(f'a mask of shape {region.shape} with {int(region.sum())} voxels')
    if radius <= 0:
        raise ValueError(f'radius must be above 0 mm, got {radius}')
    places = np.argwhere(region)
    affine = np.asarray(affine, np.float64)
    millimetres = places @ affine[:3, :3].T + affine[:3, 3]
    # A little more, as a distance of whole voxels may be rounded up.
    near = cKDTree(millimetres).query_ball_point(millimetres, radius * (1 + 1e-9))
    return places, [np.array(sorted(found)) for found in near]


def searchlight_scores(
    models: Any,
    responses: Any,
    neighbours: Sequence[np.ndarray],
    method: str = 'spearman',
    metric: str = 'correlation',
    least: int = 2,
) -> np.ndarray:
    """Likeness of each model with the RDM around each voxel.

    Args:
        models: (M, P): layers. Of stimuli in groups (see :class:`RDMs`) pairs within one do not
            count.
        responses: (n, V) of one subject.
        neighbours: Of each centre, as :func:`spheres` gives them.
        method: Of :func:`compare_rdms`.
        metric: Dissimilarity of patterns.
        least: Voxels a sphere must have.

    Returns:
        (M, V); NaN where a sphere has too few voxels or its patterns have no RDM (they are
        constant or not measured), which ends nothing.

    Raises:
        ValueError: If sizes do not fit, or the metric needs repetitions.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import compute_rdm
        >>> from mmclarity.rsa.inference import searchlight_scores
        >>> responses = np.random.default_rng(0).normal(size=(6, 3))
        >>> layer = compute_rdm(responses)
        >>> scores = searchlight_scores([layer], responses, [np.array([0, 1, 2]), np.array([0])])
        >>> scores.round(2)  # the second sphere has one voxel, too few
        array([[ 1., nan]])
    """
    stack, data = as_condensed(models, 'models'), as_array(responses, 'responses')
    mask = counted_pairs(models)
    if metric not in METRICS or metric in REPEATED:
        raise ValueError(f'metric {metric!r} needs repetitions; give correlation or another')
    if data.ndim != 2 or len(data) * (len(data) - 1) // 2 != stack.shape[1]:
        raise ValueError(
            f'responses have shape {data.shape}, models {stack.shape[1]} pairs; give (stimuli, '
            'voxels) of the same stimuli'
        )
    found, left_out = np.full((len(stack), len(neighbours)), np.nan), 0
    for place, around in enumerate(neighbours):
        patch = data[:, around]
        patch = patch[:, np.isfinite(patch).all(0)]
        if patch.shape[1] >= least:
            try:
                rdm = compute_rdm(patch, metric)
            except ValueError:  # constant patterns
                left_out += 1
                continue
            rows = without_groups(rdm[None], mask)
            found[:, place] = compare_known(stack, rows, method)[:, 0]
    if left_out:
        warnings.warn(
            f'{left_out} of {len(neighbours)} spheres have a stimulus with a constant pattern: '
            'NaN there',
            stacklevel=2,
        )
    return found
