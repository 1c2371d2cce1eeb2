"""RDMs of recordings with gaps: stimuli that were not shown, units that were lost."""

from __future__ import annotations

import numpy as np

from .compute import compute_rdm
from .pairs import pairs_of


def throughout(responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) stimuli and (units,) units of (n, units) that are not NaN throughout.

    Raises:
        ValueError: If another response is NaN, with its place.
    """
    gaps = np.isnan(responses)
    shown, live = ~gaps.all(1), ~gaps.all(0)
    partly = gaps & shown[:, None] & live
    if partly.any():
        stimulus, unit = np.argwhere(partly)[0]
        raise ValueError(
            f'the response of unit {unit} to stimulus {stimulus} (both counted from 0) is NaN; '
            f'such gaps: {int(partly.sum())}, in {int(partly.any(0).sum())} unit(s) and '
            f'{int(partly.any(1).sum())} stimuli. What is NaN throughout is left out: make these '
            'units, or these stimuli, NaN everywhere'
        )
    return shown, live


def placed(rdm: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(P,) of n stimuli from the RDM of those that were shown; NaN in the other pairs."""
    found = np.full(len(shown) * (len(shown) - 1) // 2, np.nan)
    found[pairs_of(np.flatnonzero(shown), len(shown))] = rdm
    return found


def answered(responses: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) stimuli with an answer of which a dissimilarity can be told, and (units,) live units.

    Without an answer is what is NaN throughout or, as the metric has it, constant.

    Raises:
        ValueError: If a response is infinite, or NaN where neither its stimulus nor its unit is so
            throughout, with its place.
    """
    shown, live = throughout(responses)
    known = responses[:, live]
    if np.isinf(known).any():
        stimulus, unit = np.argwhere(np.isinf(responses))[0]
        raise ValueError(f'the response of unit {unit} to stimulus {stimulus} is infinite')
    if metric == 'correlation' and live.any():
        shown = shown & (known.max(1) != known.min(1))
    elif metric == 'cosine':
        shown = shown & (known != 0).any(1)
    return shown, live


def rdm_of_answered(responses: np.ndarray, metric: str) -> np.ndarray:
    """(P,), NaN in the pairs of stimuli without an answer, see :func:`answered`.

    All of it is NaN where fewer than 3 stimuli have one.

    Args:
        responses: (n, units).
        metric: Of :func:`compute_rdm`.

    Raises:
        ValueError: As :func:`answered` says, or if there are fewer than 3 stimuli.
    """
    shown, live = answered(responses, metric)
    if len(shown) >= 3 > shown.sum():
        return placed(np.full(0, np.nan), shown & False)
    if shown.all() and live.all():  # no copy
        return compute_rdm(responses, metric)
    names = [str(i) for i in np.flatnonzero(shown)]
    return placed(compute_rdm(responses[shown][:, live], metric, names=names), shown)
