"""Noise covariance of repeated measurements."""

from __future__ import annotations

import numpy as np


def noise_covariance(responses: np.ndarray, shrinkage: str = 'diag') -> np.ndarray:
    """Covariance over units of what differs between repetitions, regularised.

    The sample covariance of the residuals about each stimulus' mean is drawn towards a simpler
    target by the amount that minimises the expected error: 'diag', its diagonal (Schaefer and
    Strimmer 2005); 'eye', a multiple of the identity (Ledoit and Wolf 2004).

    Args:
        responses (np.ndarray): (repetitions, n, units), at least 2 repetitions.
        shrinkage (str): 'diag' or 'eye'. Defaults to 'diag'.

    Returns:
        np.ndarray: (units, units).

    Raises:
        ValueError: If there are fewer than 2 repetitions, the shrinkage is unknown, or a unit
            never changes between repetitions.
    """
    repetitions, stimuli, units = responses.shape
    if shrinkage not in ('diag', 'eye'):
        raise ValueError(f"shrinkage must be 'diag' or 'eye', got {shrinkage!r}")
    if repetitions < 2:
        raise ValueError(
            'the noise cannot be estimated from one repetition; give the precision, '
            'or responses of shape (repetitions >= 2, stimuli, units)'
        )
    residuals = (responses - responses.mean(0)).reshape(-1, units)
    count, dof = len(residuals), stimuli * (repetitions - 1)
    products = residuals.T @ residuals
    silent = np.flatnonzero(np.diag(products) == 0)
    if silent.size:
        raise ValueError(
            f'unit {silent[0]} responds the same in all repetitions ({silent.size} '
            'such unit(s)); leave it out, or give the precision'
        )
    # Sum over samples of (r_i r_j)^2, the fourth moments behind the optimal shrinkage.
    squares = np.square(residuals)
    fourth = squares.T @ squares
    if shrinkage == 'eye':
        sample = products / count
        spread = (fourth / count - sample**2).sum() / count
        mean = np.trace(sample) / units
        distance = np.square(sample - mean * np.eye(units)).sum()
        amount = min(spread, distance) / distance if distance else 1.0
        return (amount * mean * np.eye(units) + (1 - amount) * sample) * count / dof
    covariance = products / dof
    variance = np.diag(covariance)
    scale = np.sqrt(variance[:, None] * variance)
    correlation = products / scale / (count - 1)
    spread = count / dof**2 * (fourth / scale**2 / (count - 1) - correlation**2)
    off = ~np.eye(units, dtype=bool)
    total = np.square(correlation[off]).sum()
    amount = float(np.clip(spread[off].sum() / total, 0, 1)) if total else 1.0
    return covariance * np.where(off, 1 - amount, 1.0)


def noise_precision(responses: np.ndarray, shrinkage: str = 'diag') -> np.ndarray:
    """Inverse of :func:`noise_covariance`: (units, units)."""
    return np.linalg.inv(noise_covariance(responses, shrinkage))
