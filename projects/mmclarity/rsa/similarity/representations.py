"""How alike two sets of responses are, without a dissimilarity matrix between."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..rdms.rdms import as_array


def cka(a: Any, b: Any, debiased: bool = False) -> float:
    """Linear centred kernel alignment (Kornblith et al., ICML 2019).

    Args:
        a: (n, units, ...) responses to n stimuli.
        b: (n, other units, ...) responses to the same.
        debiased: With the unbiased estimate of HSIC (Song et al., JMLR 2012, eq. 5), which does
            not rise with the number of units; needs 4 stimuli or more, and may be negative.

    Returns:
        1 where one is the other but for a rotation, a shift and a scale. NaN where one is constant.

    Raises:
        ValueError: If shapes do not fit, or something is not finite.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.similarity import cka
        >>> a = np.random.default_rng(0).normal(size=(20, 5))
        >>> round(cka(a, 3 * a[:, ::-1]), 6)
        1.0
    """
    x, y = _pair(a, b)
    if debiased and len(x) < 4:
        raise ValueError(f'debiased CKA needs 4 stimuli or more, got {len(x)}')
    kernels = x @ x.T, y @ y.T
    if debiased:
        products = [
            _hsic(one, other) for one, other in ((kernels[0], kernels[1]), *zip(kernels, kernels))
        ]
    else:
        products = [
            float((one * other).sum())
            for one, other in ((kernels[0], kernels[1]), *zip(kernels, kernels))
        ]
    with np.errstate(invalid='ignore', divide='ignore'):
        return float(np.float64(products[0]) / np.sqrt(products[1] * products[2]))


def _hsic(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion from kernels (n, n)."""
    size = len(a)
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    total = (a * b).sum() + a.sum() * b.sum() / ((size - 1) * (size - 2))
    total -= 2 / (size - 2) * (a.sum(0) @ b.sum(0))
    return float(total / (size * (size - 3)))


def procrustes_similarity(a: Any, b: Any) -> float:
    """How much of one set of responses a rotation of the other is: orthogonal Procrustes.

    Both are centred and scaled to length 1. Returned is the sum of the singular values of a^T b, in
    [0, 1]; 2 - 2 times it is the squared distance that is left (Ding et al., NeurIPS 2021), 1 minus
    its square scipy's disparity, which scales as well.

    Args:
        a: (n, units, ...) responses to n stimuli.
        b: (n, other units, ...) responses to the same.

    Returns:
        NaN where one is constant.

    Raises:
        ValueError: If shapes do not fit, or something is not finite.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.similarity import procrustes_similarity
        >>> a = np.random.default_rng(0).normal(size=(20, 5))
        >>> round(procrustes_similarity(a, 3 * a[:, ::-1]), 6)
        1.0
    """
    x, y = _pair(a, b)
    with np.errstate(invalid='ignore', divide='ignore'):
        scale = np.float64(1) / (np.linalg.norm(x) * np.linalg.norm(y))
    # Coordinates in the space of the n stimuli, so that a million units do not matter.
    x, y = (one if one.shape[1] <= len(one) else _rotated(one) for one in (x, y))
    return float(np.linalg.svd(x.T @ y, compute_uv=False).sum() * scale)


def _rotated(x: np.ndarray) -> np.ndarray:
    """(n, n) with the inner products of (n, units)."""
    values, vectors = np.linalg.eigh(x @ x.T)
    return vectors * np.sqrt(np.maximum(values, 0))


def _pair(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    pair = []
    for name, given in (('a', a), ('b', b)):
        x = as_array(given, name)
        if x.ndim < 2 or len(x) < 3:
            raise ValueError(f'{name} has shape {x.shape}; it must be (stimuli >= 3, units, ...)')
        if not np.isfinite(x).all():
            raise ValueError(f'{name} holds NaN or infinite values; leave out the units or stimuli')
        x = x.reshape(len(x), -1)
        centred = x - x.mean(0)
        # What is left of constant responses is rounding.
        centred[:, np.abs(centred).max(0) <= 1e-13 * np.abs(x).max(0)] = 0
        pair.append(centred)
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f'a has {len(pair[0])} stimuli, b {len(pair[1])}; show both the same ones')
    return pair[0], pair[1]
