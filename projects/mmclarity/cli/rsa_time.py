"""``mmclarity-rsa --time``: recordings over time, each layer's course, and its clusters."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmclarity.errors import DataError
from mmclarity.rsa.data.layout import Layout, to_rdms
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.data.readers import read, split_spec
from mmclarity.rsa.inference.timecourse import cluster_test, time_courses, time_rdms
from mmclarity.rsa.rdms.gaps import answered
from mmclarity.rsa.report.style import subtitle
from mmclarity.rsa.report.time import time_figure
from mmclarity.rsa.result import RSAResult
from mmclarity.utils.tables import write_csv

from .rsa_stimuli import places_of

# Of clusters that are told and drawn.
ALPHA = 0.05


@dataclass(frozen=True)
class Recording:
    """What ``--time`` names.

    Args:
        source: File and key, for messages.
        subjects: (n, units, times) of each, in the order of the stimuli.
        times: (times,) as the file has them; None: they are only counted.
    """

    source: str
    subjects: list[np.ndarray]
    times: np.ndarray | None

    def area(self, name: str, ids: Sequence[str], metric: str) -> NeuralArea:
        """Its mean over time, as any other recording."""
        means = [_over_time(one) for one in self.subjects]
        layout = Layout('responses', stimuli='first')
        rdms = to_rdms(means, self.source, layout, metric, len(ids))
        return NeuralArea(name, rdms, list(ids), self.source)

    def rdms(self, metric: str) -> np.ndarray:
        """(S, T, P), NaN where a stimulus has no answer at a time."""
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'at .* times a stimulus has no')  # check_time did
            return np.stack([time_rdms(one, metric) for one in self.subjects])

    def answers(self, metric: str) -> np.ndarray:
        """(S, T) how many stimuli have an answer.

        Raises:
            DataError: If a response is not finite, with subject, time and place.
        """
        found = np.empty((len(self.subjects), self.subjects[0].shape[2]), int)
        for subject, time in np.ndindex(found.shape):
            try:
                shown, _ = answered(self.subjects[subject][:, :, time], metric)
            except ValueError as error:
                raise DataError(
                    f'{self.source}, subject {subject}, time {time}: {error}'
                ) from error
            found[subject, time] = shown.sum()
        return found


def read_time(spec: str, ids: Sequence[str]) -> Recording:
    """Recordings over time, in the order of the stimuli.

    Raises:
        DataError: If the shape or the ids do not fit.
    """
    path, key = split_spec(spec)
    found, key = read(path, key)
    values = found.values
    several = isinstance(values, list) or np.ndim(values) == 4
    parts = list(values) if several else [values]
    if not all(isinstance(p, np.ndarray) and p.ndim == 3 and p.dtype.kind in 'fiu' for p in parts):
        raise DataError(
            f'{spec} has shape {found.describe()}; recordings over time are (stimuli, units, times)'
            ' of one subject, or (subjects, stimuli, units, times)'
        )
    if len({(len(part), part.shape[2]) for part in parts}) > 1:
        raise DataError(
            f'{spec}: the subjects have different numbers of stimuli or times ('
            f'{", ".join(f"{len(part)} and {part.shape[2]}" for part in parts[:4])}); only units '
            'may differ. Give NaN to what one lacks'
        )
    if found.ids is not None:
        places = places_of(found.ids, ids, spec, len(parts[0]))
        parts = [part[places] for part in parts]
    else:
        warnings.warn(
            f'{spec} does not say which stimulus is which: its stimuli are taken in the order of '
            'the pictures. Store their ids under the key "ids"',
            stacklevel=2,
        )
    if len(parts[0]) != len(ids):
        raise DataError(f'{spec} has {len(parts[0])} stimuli, the network is shown {len(ids)}')
    known = found.times is not None and len(found.times) == parts[0].shape[2]
    return Recording(
        spec, [part.astype(np.float64) for part in parts], found.times if known else None
    )


def check_time(recording: Recording, name: str, metric: str) -> None:
    """What may be wrong with a recording, before the network works; what is left out is told.

    Raises:
        DataError: As :meth:`Recording.answers` says, or if no stimuli have an answer at any time.
    """
    answers = recording.answers(metric)
    if answers.max() < 3:
        raise DataError(
            f'{recording.source}: at no time do 3 stimuli have a response that is not constant'
        )
    lacking = (answers < len(recording.subjects[0])).any(0)
    if lacking.any():
        warnings.warn(
            f'{name}: at {int(lacking.sum())} of {len(lacking)} times a stimulus has no response '
            f'in a subject, or a constant one ({metric} is undefined): its pairs do not count then',
            stacklevel=2,
        )
    count = len(answers)
    if count > 1 and 2.0**-count >= ALPHA:
        warnings.warn(
            f'{name}: {count} subjects have {2**count} sign flips, so that no p of a cluster is '
            f'below {2.0**-count:.3g}; significance needs 5 subjects',
            stacklevel=2,
        )


def write_time(
    name: str, recording: Recording, file: str, result: RSAResult, args: argparse.Namespace
) -> None:
    """Time course of every layer, and when it is above chance over subjects; into ``time_FILE``."""
    rdms = recording.rdms(args.neural_metric or args.metric)
    courses = time_courses(result.grouped(result.rdms), rdms, args.method)  # (L, S, T)
    times = np.arange(courses.shape[2]) if recording.times is None else recording.times
    clusters: dict[str, list] = {layer: [] for layer in result.layers}
    if len(rdms) > 1:
        for layer, course in zip(result.layers, courses):
            clusters[layer] = cluster_test(course, max(1, args.permutations), seed=args.seed)
    else:
        warnings.warn(f'{name}: one subject, so that there is no test over subjects', stacklevel=2)
    rows = []
    for layer, course in zip(result.layers, courses):
        p = np.full(course.shape[1], np.nan)
        for cluster in clusters[layer]:
            p[cluster.start : cluster.stop] = cluster.p
        rows += [[name, layer, *line] for line in zip(times, course.mean(0), p)]
    head = ['area', 'layer', 'time', 'score', 'cluster_p']
    write_csv(args.out / f'rsa_time_{file}.csv', head, rows)
    for layer, found in clusters.items():
        for cluster in found:
            if cluster.p < ALPHA:
                print(
                    f'{name}, {layer}: times {times[cluster.start]:g} to '
                    f'{times[cluster.stop - 1]:g}, p = {cluster.p:.3f} (cluster)'
                )
    if args.figures != 'none':
        path = args.out / f'time_{file}.{args.figures}'
        time_figure(courses, clusters, name, path, recording.times, subtitle(result))


def _over_time(data: np.ndarray) -> np.ndarray:
    """(n, units), the mean of (n, units, times) over the times that were recorded."""
    known = ~np.isnan(data)
    with np.errstate(invalid='ignore'):
        return np.where(known, data, 0).sum(2) / known.sum(2)
