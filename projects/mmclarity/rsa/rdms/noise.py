"""Noise covariance of repeated measurements."""

from __future__ import annotations

import numpy as np

SHRINKAGES = ('diag', 'eye', 'full', 'variance')


def noise_covariance(responses: np.ndarray, shrinkage: str = 'diag') -> np.ndarray:
    """Covariance over units of what differs between repetitions, regularised.

    See :func:`covariance_from_residuals`, which is given the residuals about each stimulus' mean.

    Args:
        responses: (repetitions, n, units), at least 2 repetitions.
        shrinkage: 'diag', 'eye', 'full' (not drawn anywhere) or 'variance' (the diagonal only).

    Returns:
        (units, units).

    Raises:
        ValueError: If there are fewer than 2 repetitions, the shrinkage is unknown, or a unit
            never changes between repetitions.
    """
    repetitions, stimuli, units = responses.shape
    if repetitions < 2:
        raise ValueError(
            'the noise cannot be estimated from one repetition; give the precision, '
            'or responses of shape (repetitions >= 2, stimuli, units)'
        )
    residuals = (responses - responses.mean(0)).reshape(-1, units)
    return covariance_from_residuals(residuals, stimuli * (repetitions - 1), shrinkage)


def covariance_from_residuals(
    residuals: np.ndarray, dof: int | None = None, shrinkage: str = 'diag'
) -> np.ndarray:
    """Noise covariance from the residuals of a regression (a GLM of fMRI), regularised.

    The sample covariance is drawn towards a simpler target by the amount that minimises the
    expected error: 'diag', its diagonal (Schaefer and Strimmer 2005); 'eye', a multiple of the
    identity (Ledoit and Wolf 2004).

    Args:
        residuals: (observations, units) of mean zero, or several such runs one after another.
        dof: Degrees of freedom they have left. Observations less 1 if it is not given.
        shrinkage: 'diag', 'eye', 'full' (not drawn anywhere) or 'variance' (the diagonal only).

    Returns:
        (units, units).

    Raises:
        ValueError: If the shrinkage is unknown, shapes do not fit, or a unit never changes.
    """
    residuals = np.asarray(residuals, np.float64)
    if shrinkage not in SHRINKAGES:
        raise ValueError(f'shrinkage must be one of {", ".join(SHRINKAGES)}, got {shrinkage!r}')
    if residuals.ndim != 2 or len(residuals) < 2 or not np.isfinite(residuals).all():
        raise ValueError(
            f'residuals have shape {residuals.shape}; they must be (observations, units), finite'
        )
    count, units = residuals.shape
    dof = count - 1 if dof is None else dof
    if dof < 1:
        raise ValueError(f'dof must be 1 or more, got {dof}')
    products = residuals.T @ residuals
    silent = np.flatnonzero(np.diag(products) == 0)
    if silent.size:
        raise ValueError(
            f'unit {silent[0]} responds the same in all repetitions ({silent.size} '
            'such unit(s)); leave it out, or give the precision'
        )
    if shrinkage in ('full', 'variance'):
        return products / dof if shrinkage == 'full' else np.diag(np.diag(products)) / dof
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
    """Inverse of :func:`noise_covariance`: (units, units).

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.rdms import noise_precision
        >>> noise_precision(np.random.default_rng(0).normal(size=(4, 6, 5))).shape
        (5, 5)
    """
    return np.linalg.inv(noise_covariance(responses, shrinkage))


def precision_from_residuals(
    residuals: np.ndarray, dof: int | None = None, shrinkage: str = 'diag'
) -> np.ndarray:
    """Inverse of :func:`covariance_from_residuals`: for ``compute_rdm(..., precision=...)``.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.rdms import precision_from_residuals
        >>> precision_from_residuals(np.random.default_rng(0).normal(size=(40, 5))).shape
        (5, 5)
    """
    return np.linalg.inv(covariance_from_residuals(residuals, dof, shrinkage))
