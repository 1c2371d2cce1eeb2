"""RSA by time: EEG, MEG and spikes, with cluster-based permutation tests over subjects."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.ndimage import label
from scipy.stats import t as student

from ..rdms.compute import REPEATED, check_metric
from ..rdms.gaps import rdm_of_answered
from ..rdms.rdms import as_array, as_condensed
from ..similarity.compare import compare_known, counted_pairs, without_groups

# Sign flips of so few subjects are all tried: 2^12.
EXACT_SUBJECTS = 12


@dataclass(frozen=True)
class Cluster:
    """Neighbouring times that exceed the threshold together.

    Args:
        start: First time.
        stop: One behind the last.
        mass: Sum of t over it.
        p: Share of relabellings whose greatest cluster is as great.
    """

    start: int
    stop: int
    mass: float
    p: float


def time_rdms(responses: Any, metric: str = 'correlation') -> np.ndarray:
    """An RDM at every time.

    Pairs of a stimulus that has no answer at a time are NaN then: it was not shown (NaN in all
    units), or all units are silent or otherwise alike, so that the dissimilarity is undefined.
    Units that are NaN at a time for all stimuli are left out of it.

    Args:
        responses: (n, units, times) of n stimuli: sensors or neurons.
        metric: Of :func:`compute_rdm`; one that needs no repetitions.

    Returns:
        (times, P). Where there is NaN, a warning says of how many times.

    Raises:
        ValueError: If a response is infinite, or a single one is NaN, with its place; or if the
            metric needs repetitions.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import time_rdms
        >>> time_rdms(np.random.default_rng(0).normal(size=(6, 20, 4))).shape
        (4, 15)
    """
    data = as_array(responses, 'responses')
    if data.ndim != 3:
        raise ValueError(f'responses have shape {data.shape}; they must be (stimuli, units, times)')
    check_metric(metric)
    if metric in REPEATED:
        raise ValueError(f'metric {metric!r} needs repetitions; give correlation or another')
    found = []
    for time in range(data.shape[2]):
        try:
            found.append(rdm_of_answered(data[:, :, time], metric))
        except ValueError as error:
            raise ValueError(f'time {time}: {error}') from error
    rdms = np.stack(found)
    lacking = np.isnan(rdms).any(1)
    if lacking.any():
        warnings.warn(
            f'at {int(lacking.sum())} of {len(rdms)} times a stimulus has no response, or a '
            f'constant one ({metric} is undefined): its pairs are NaN then',
            stacklevel=2,
        )
    return rdms


def time_courses(models: Any, rdms: Any, method: str = 'spearman') -> np.ndarray:
    """Likeness of every model with every subject at every time.

    Args:
        models: (M, P): layers. Of stimuli in groups (see :class:`RDMs`) pairs within one do not
            count.
        rdms: (S, T, P): of the subjects, by time. Pairs that are NaN count elsewhere.
        method: Of :func:`compare_rdms`.

    Returns:
        (M, S, T); NaN where fewer than 3 pairs are known.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import time_courses, time_rdms
        >>> rng = np.random.default_rng(0)
        >>> rdms = time_rdms(rng.normal(size=(6, 20, 4)))
        >>> time_courses(rng.random((2, 15)), rdms[None]).shape
        (2, 1, 4)
    """
    stack, data = as_condensed(models, 'models'), as_array(rdms, 'rdms')
    if data.ndim != 3 or data.shape[2] != stack.shape[1]:
        raise ValueError(
            f'rdms have shape {data.shape}; they must be (subjects, times, {stack.shape[1]} pairs)'
        )
    subjects, times, pairs = data.shape
    rows = without_groups(data.reshape(-1, pairs), counted_pairs(models))
    table = compare_known(stack, np.ascontiguousarray(rows), method)
    return table.reshape(len(stack), subjects, times)


def cluster_test(
    courses: Any,
    num_permutations: int = 1000,
    threshold: float | None = None,
    two_sided: bool = False,
    seed: int = 0,
) -> list[Cluster]:
    """When a time course over subjects is above zero (Maris and Oostenveld, 2007).

    At every time a t over subjects; neighbours beyond the threshold make clusters, and the sum of t
    over each is compared with that of the greatest cluster when subjects' signs are flipped at
    random. All sign flips are tried for up to 12 subjects, if that is no more than asked for. The
    difference of two models is tested by giving their difference.

    Args:
        courses: (S, T), of one model (or the difference of two). A time at which a subject is
            NaN is in no cluster.
        num_permutations: Sign flips.
        threshold: Of t. That of p < .05 if it is not given.
        two_sided: Also clusters below zero.
        seed: Of the flips.

    Returns:
        All clusters in order of time; p is that of the family of all of them. The observed signs
        count as one flip.

    Raises:
        ValueError: If there are fewer than two subjects, or values are infinite.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import cluster_test
        >>> rng = np.random.default_rng(0)
        >>> courses = 0.1 * rng.normal(size=(10, 20))
        >>> courses[:, 8:12] += 0.5
        >>> found = cluster_test(courses, num_permutations=200)
        >>> [(cluster.start, cluster.stop) for cluster in found]
        [(8, 12)]
    """
    data = as_array(courses, 'courses')
    if data.ndim != 2 or len(data) < 2 or np.isinf(data).any():
        raise ValueError(f'courses have shape {data.shape}; give finite (subjects >= 2, times)')
    if num_permutations < 1:
        raise ValueError(f'num_permutations must be at least 1, got {num_permutations}')
    subjects = len(data)
    if threshold is None:
        threshold = float(student.ppf(0.975 if two_sided else 0.95, subjects - 1))
    found = _clusters(_t(data), threshold, two_sided)
    signs = _signs(subjects, num_permutations, seed)
    greatest = np.array(
        [
            max(
                (
                    abs(mass)
                    for *_, mass in _clusters(_t(flip[:, None] * data), threshold, two_sided)
                ),
                default=0.0,
            )
            for flip in signs
        ]
    )
    return [
        Cluster(
            start,
            stop,
            mass,
            float(((greatest >= abs(mass) - 1e-9).sum() + 1) / (len(greatest) + 1)),
        )
        for start, stop, mass in found
    ]


def _signs(subjects: int, count: int, seed: int) -> np.ndarray:
    """(N, S) flips other than none; of all that there are where those are few."""
    if subjects <= EXACT_SUBJECTS and 2**subjects - 1 <= count:
        return np.array(list(product((1.0, -1.0), repeat=subjects)))[1:]
    return np.random.default_rng(seed).choice([1.0, -1.0], (count, subjects))


def _t(data: np.ndarray) -> np.ndarray:
    with np.errstate(invalid='ignore', divide='ignore'):
        return data.mean(0) / (data.std(0, ddof=1) / np.sqrt(len(data)))


def _clusters(t: np.ndarray, threshold: float, two_sided: bool) -> list[tuple[int, int, float]]:
    found = []
    for side in (1, -1) if two_sided else (1,):
        marks, count = label(side * t > threshold)
        for k in range(1, count + 1):
            place = np.flatnonzero(marks == k)
            found.append((int(place[0]), int(place[-1]) + 1, float(t[place].sum())))
    return sorted(found)
