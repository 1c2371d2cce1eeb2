"""Stimuli as points of a plane whose distances are their dissimilarities."""

from __future__ import annotations

import numpy as np
from scipy.linalg import orthogonal_procrustes

from ..rdms.pairs import to_square


def classical_mds(square: np.ndarray, dims: int = 2) -> np.ndarray:
    """Torgerson's scaling: the leading eigenvectors of the doubly centred squared distances.

    Args:
        square: Distances (n, n), symmetric, zero diagonal.
        dims: Dimensions d of the result. Defaults to 2.

    Returns:
        Coordinates (n, d), centred. For points of a d-dimensional space their
            distances are exactly ``square``.
    """
    inner = -0.5 * square**2
    inner = inner - inner.mean(axis=0) - inner.mean(axis=1)[:, None] + inner.mean()
    values, vectors = np.linalg.eigh(inner)
    order = np.argsort(values)[::-1][:dims]
    return vectors[:, order] * np.sqrt(np.maximum(values[order], 0))


def smacof(
    rdm: np.ndarray, dims: int = 2, iterations: int = 300, tolerance: float = 1e-6
) -> tuple[np.ndarray, float]:
    """Metric scaling by majorisation (de Leeuw and Heiser, 1980), from Torgerson's solution.

    Each step is the Guttman transform; it never raises the stress. Pairs without a dissimilarity
    are given the median one.

    Args:
        rdm: Condensed dissimilarities (P,).
        dims: Dimensions d of the result. Defaults to 2.
        iterations: At most this many steps. Defaults to 300.
        tolerance: Stop when the stress falls by less than this part. Defaults to 1e-6.

    Returns:
        Coordinates (n, d), centred, and Kruskal's stress-1 in [0, 1]: the root of the
            summed squared errors over the summed squared distances.

    Raises:
        ValueError: If no pair has a positive dissimilarity.
    """
    # Crossnobis dissimilarities may be negative, distances may not.
    wanted = np.maximum(np.where(np.isnan(rdm), np.nanmedian(rdm), rdm), 0)
    if not wanted.any():
        raise ValueError('all dissimilarities are zero: there is nothing to arrange')
    scale = wanted.max()
    wanted = to_square(wanted / scale)
    points = classical_mds(wanted, dims)
    count, before = len(wanted), np.inf
    for _ in range(iterations):
        found = _distances(points)
        stress = np.square(found - wanted).sum()
        if before - stress <= tolerance * max(stress, 1e-12):
            break
        before = stress
        # Points that coincide pull on each other in no direction.
        ratio = np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 1e-12)
        transform = -ratio
        transform[np.diag_indices(count)] = ratio.sum(axis=1)
        points = transform @ points / count
    found = _distances(points)
    total = np.square(found).sum()
    stress = np.sqrt(np.square(found - wanted).sum() / total) if total > 0 else 1.0
    return (points - points.mean(axis=0)) * scale, float(min(stress, 1.0))


def _distances(points: np.ndarray) -> np.ndarray:
    squares = np.square(points).sum(axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))


def procrustes(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Turn and mirror points (n, d) to lie as close to ``target`` (n, d) as they can.

    Orthogonal Procrustes (Schoenemann, 1966); distances among points stay as they are.
    """
    return points @ orthogonal_procrustes(points, target)[0]
