"""What ``mmclarity-rsa`` does beyond the table: time, searchlights, weights, movies."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from mmclarity.errors import DataError, UsageError
from mmclarity.rsa.data.average import average_populations
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.data.readers import read, split_spec
from mmclarity.rsa.data.readers.found import by_condition
from mmclarity.rsa.inference.dual import dual_bootstrap
from mmclarity.rsa.inference.reliability import Reliability, split_half
from mmclarity.rsa.rdms.compute import REPEATED
from mmclarity.rsa.report.movie import epochs_movie, read_epochs
from mmclarity.rsa.result import RSAResult
from mmclarity.utils.names import as_text, on_disk
from mmclarity.utils.tables import write_csv

from .main import check_free
from .rsa_searchlight import read_searchlight, write_searchlight
from .rsa_stimuli import places_of
from .rsa_time import check_time, read_time, write_time

# Two parts of three, of those that a draw with repetition leaves.
LEAST_KINDS = 8


def write_further(result: RSAResult, args: argparse.Namespace) -> None:
    """What --time, --searchlight and --weighted ask for, into ``args.out``."""
    times = [named(item, '--time') for item in args.time]
    for (name, spec), file in zip(times, file_names([name for name, _ in times])):
        write_time(name, read_time(spec, result.ids), file, result, args)
    if args.weighted:
        write_weighted(result, args)
    if args.searchlight:
        write_searchlight(result, args, file_names(result.layers))


def further_areas(args: argparse.Namespace, ids: Sequence[str]) -> list[NeuralArea]:
    """Areas of --time (mean over time) and --searchlight (all voxels), where --neural has none.

    What may be wrong with these files is so found before the network starts to work.

    Raises:
        UsageError: If the metric needs repetitions.
        DataError: If a file cannot be used.
    """
    areas, metric = [], args.neural_metric or args.metric
    wanted = not args.neural and not args.compare_model
    if metric in REPEATED and (args.time or args.searchlight):
        raise UsageError(
            f'--neural-metric {metric} needs repetitions, which --time and --searchlight do not '
            'have; analyse these in a run of their own, with correlation, euclidean or cosine'
        )
    for item in args.time:
        name, spec = named(item, '--time')
        recording = read_time(spec, ids)
        check_time(recording, name, metric)
        areas += [recording.area(name, ids, metric)] if wanted else []
    if args.searchlight:
        betas = read_searchlight(args, len(ids))
        areas += [betas.area(ids, metric)] if wanted else []
    return areas


def further_stimuli(args: argparse.Namespace) -> list[NeuralArea]:
    """The ids that files of --time and --trials name, as areas without RDMs."""
    found = []
    for option in ('time', 'trials'):
        for item in getattr(args, option):
            name, spec = named(item, f'--{option}')
            content, _ = read(*split_spec(spec))
            if content.ids is not None:
                found.append(NeuralArea(name, np.empty((0, 0)), content.ids, spec))
    return found


def averages(items: Sequence[str], areas: Sequence[NeuralArea]) -> list[NeuralArea]:
    """The areas of --average, ``AREA=A + B,C``: commas within an animal, plus between animals.

    Raises:
        UsageError: If one is not written so, names no recording, or has the name of an area.
        DataError: As :func:`average_populations` says.
    """
    known, found = {area.name: area for area in areas}, []
    for item in map(as_text, items):
        name, members = (part.strip() for part in item.partition('=')[::2])
        animals = [[one.strip() for one in animal.split(',')] for animal in members.split('+')]
        if not name or not all(one for animal in animals for one in animal):
            raise UsageError(f"--average {item}: write it as 'AREA=A + B,C' with names of --neural")
        unknown = [one for animal in animals for one in animal if one not in known]
        if unknown:
            raise UsageError(
                f'--average {item}: no recording of --neural is called {unknown[0]!r}; there are '
                f'{", ".join(known) or "none"}'
            )
        if name in (*known, *(area.name for area in found)):
            raise UsageError(f'--average {item}: there is an area {name!r}; take another name')
        found.append(average_populations(name, [[known[one] for one in a] for a in animals]))
        print(f'{name}: {found[-1].source} ({len(animals)} animal{"s" * (len(animals) > 1)})')
    return found


def named(item: str, option: str) -> tuple[str, str]:
    """``AREA=FILE[:KEY]`` in two."""
    name, equals, spec = item.partition('=')
    if not (name and equals and spec):
        raise UsageError(f'{option} {item}: write it as AREA=file or AREA=file:key')
    return as_text(name), spec


def write_movie(args: argparse.Namespace) -> None:
    """What --movie asks for."""
    area = args.movie_area and as_text(args.movie_area)
    results = read_epochs(args.movie)
    path = args.out / 'rsa_epochs.gif'
    check_free(path, overwrite=args.overwrite)
    epochs_movie(results, path, area, args.layers)
    print(f'{path}: {len(results)} analyses')


def reliabilities(
    args: argparse.Namespace, ids: Sequence[str], groups: Sequence[str] | None
) -> dict[str, Reliability]:
    """Split-half reliability of each area of --trials.

    Raises:
        UsageError: If an area has no name or file, or its trials another shape or other stimuli.
    """
    metric, found = args.neural_metric or args.metric, {}
    for item in args.trials:
        name, spec = named(item, '--trials')
        try:
            found[name] = split_half(
                read_trials(spec, ids), 100, metric, args.method, args.seed, groups
            )
        except ValueError as error:
            text = str(error)
            raise DataError(text if spec in text else f'{spec}: {text}') from error
        print(f'Reliability of {name}: {found[name]}')
    return found


def read_trials(spec: str, ids: Sequence[str]) -> np.ndarray:
    """(stimuli, units, repeats), in the order of the stimuli."""
    content, _ = read(*split_spec(spec))
    data, known = np.asarray(content.values), content.ids
    if data.ndim == 2 and data.dtype.kind in 'fiu' and known is not None:
        data, known = by_condition(data, dict(ids=known), spec) or (data, known)
    if data.ndim != 3 or data.dtype.kind not in 'fiu':
        raise DataError(
            f'{spec} has shape {data.shape}; trials are (stimuli, units, repeats), or (trials, '
            'units) with the stimulus of each in "ids"'
        )
    if known is not None:
        data = data[places_of(known, ids, spec, len(data))]
    if len(data) != len(ids):
        raise DataError(f'{spec} has {len(data)} stimuli, the network is shown {len(ids)}')
    return data.astype(np.float64)


def check_weighted(
    args: argparse.Namespace, areas: Sequence[NeuralArea], kinds: Sequence[str]
) -> None:
    """Whether --weighted has the subjects, stimuli and draws that it needs.

    Args:
        args: of the command line.
        areas: to be fitted.
        kinds: of the stimuli: their groups, or each its own.

    Raises:
        UsageError: If one is too few.
    """
    if not args.weighted:
        return
    if args.weighted_draws < 2:
        raise UsageError(f'--weighted-draws must be 2 or more, got {args.weighted_draws}')
    count = len(set(kinds))
    if count < LEAST_KINDS:
        raise UsageError(
            f'--weighted fits and tests on parts of the stimuli (or their groups), of which there '
            f'are {count}; it needs {LEAST_KINDS}'
        )
    single = [area.name for area in areas if len(area.rdms) < 2]
    if single or args.compare_model:
        raise UsageError(
            f'--weighted: {single[0] if single else args.compare_model} has one subject, and how '
            'sure a weighted model is for new subjects needs two or more; leave --weighted out'
        )


def write_weighted(result: RSAResult, args: argparse.Namespace) -> None:
    """All layers weighted to fit an area, beside each alone, on stimuli not fitted to."""
    alone = scored(result)
    models = {'all, weighted': np.stack(list(alone.values()))}
    models.update({layer: rdm[None] for layer, rdm in alone.items()})
    rows = []
    for area, rdms in result.area_rdms.items():
        found = dual_bootstrap(
            models,
            result.grouped(rdms),
            args.weighted,
            args.weighted_draws,
            seed=args.seed,
            level=args.level,
        )
        for name, score, limits in zip(found.models, found.scores, found.interval):
            gap, p = found.difference('all, weighted', name)
            rows.append([area, name, score, *limits, gap, p])
    head = ['area', 'model', 'score', 'lower', 'upper', 'weighted_minus_it', 'p']
    write_csv(args.out / 'rsa_weighted.csv', head, rows)


def scored(result: RSAResult) -> dict[str, np.ndarray]:
    """RDMs (P,) of the layers that have a score."""
    known = np.isfinite(result.scores).any(1)
    return {layer: rdm for layer, rdm, has in zip(result.layers, result.rdms, known) if has}


def file_names(names: Sequence[str], kept: str = '.-') -> list[str]:
    """A file name, without ending, for each area or layer; no two alike.

    Args:
        names: as the user or the network has them.
        kept: what stays beside letters and digits; the rest becomes ``_``.

    Examples:
        >>> file_names(['V4', 'IT/a', 'IT a', 'v4'])
        ['V4', 'IT_a', 'IT_a_2', 'v4_2']
    """
    found: list[str] = []
    taken: set[str] = set()  # macOS and Windows take V4 and v4 for one
    for name in names:
        plain = ''.join(letter if letter.isalnum() or letter in kept else '_' for letter in name)
        tries = (plain if number == 1 else f'{plain}_{number}' for number in itertools.count(1))
        free = next(one for one in tries if one.casefold() not in taken)
        taken.add(free.casefold())
        found.append(on_disk(free))
    return found
