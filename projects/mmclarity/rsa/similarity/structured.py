"""Comparisons that know which stimuli a pair is of: whitened ones, and Bures' similarity.

Dissimilarities that share a stimulus share its noise. Over independent, equally noisy stimuli the
covariance of the pairs is, but for a factor, V = 2 I + B B^T, where B (P, n) says which two stimuli
a pair is of (Diedrichsen et al., arXiv:2007.02789). Its inverse needs but an n x n system.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

STRUCTURED = ('corr_cov', 'cosine_cov', 'bures')


def whitened(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """V^-1 x of rows (S, K) that hold the ``known`` ones (P,) of all pairs."""
    first, second = (index[known] for index in np.triu_indices(_stimuli(known), 1))
    size = _stimuli(known)
    sums = np.zeros((len(rows), size))
    for row, out in zip(rows, sums):
        out += np.bincount(first, row, size) + np.bincount(second, row, size)
    overlap = np.diag(
        np.bincount(first, minlength=size) + np.bincount(second, minlength=size) + 2.0
    )
    overlap[first, second] = overlap[second, first] = 1
    weights = cho_solve(cho_factor(overlap), sums.T).T
    return (rows - weights[:, first] - weights[:, second]) / 2


def _stimuli(known: np.ndarray) -> int:
    return round((1 + np.sqrt(1 + 8 * len(known))) / 2)


def compare_whitened(a: np.ndarray, b: np.ndarray, known: np.ndarray, centre: bool) -> np.ndarray:
    """(A, B) correlation ('corr_cov', ``centre``) or cosine of rows after whitening.

    Args:
        a: (A, K), the pairs ``known``.
        b: (B, K).
        known: (P,) which of all pairs they are.
        centre: Take the mean off first.

    Returns:
        NaN where a row is constant (zero).
    """
    if centre:
        a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    flat = [np.abs(rows).max(1) <= 1e-13 * max(np.abs(rows).max(), 1e-300) for rows in (a, b)]
    white_a, white_b = whitened(a, known), whitened(b, known)
    lengths = [
        np.sqrt(np.einsum('ij,ij->i', rows, white)) for rows, white in ((a, white_a), (b, white_b))
    ]
    with np.errstate(invalid='ignore', divide='ignore'):
        result = a @ white_b.T / lengths[0][:, None] / lengths[1]
    result[flat[0]] = np.nan
    result[:, flat[1]] = np.nan
    return result


def kernels(rows: np.ndarray) -> np.ndarray:
    """Centred inner products (S, n, n) of points whose squared distances are rows (S, P)."""
    size = _stimuli(rows[0])
    square = np.zeros((len(rows), size, size))
    upper = np.triu_indices(size, 1)
    square[:, upper[0], upper[1]] = square[:, upper[1], upper[0]] = rows
    square = square - square.mean(1, keepdims=True)
    return -(square - square.mean(2, keepdims=True)) / 2


def compare_bures(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) Bures similarity of the centred kernels behind RDMs (A, P) and (B, P).

    The trace of (A^1/2 B A^1/2)^1/2 over the root of both traces, as rsatoolbox has it: for squared
    Euclidean RDMs, how well one configuration can be turned onto the other (Procrustes).
    """
    roots, others = [_root(kernel) for kernel in kernels(a)], kernels(b)
    result = np.full((len(a), len(b)), np.nan)
    for i, (root, trace) in enumerate(roots):
        for j, kernel in enumerate(others):
            whole = trace * np.trace(kernel)
            if whole > 0:
                values = np.linalg.eigvalsh(root.T @ kernel @ root)
                result[i, j] = np.sqrt(np.maximum(values, 0)).sum() / np.sqrt(whole)
    return result


def _root(kernel: np.ndarray) -> tuple[np.ndarray, float]:
    """R with R R^T the kernel (its negative eigenvalues left out), and the kernel's trace."""
    values, vectors = np.linalg.eigh(kernel)
    return vectors * np.sqrt(np.maximum(values, 0)), float(values.sum())
