"""What ``mmclarity-rsa`` does beyond the table: time, searchlights, weights, movies."""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import DataError, UsageError, said
from mmclarity.rsa.data.average import average_populations
from mmclarity.rsa.data.ids import names_of_pictures
from mmclarity.rsa.data.neural import NeuralArea
from mmclarity.rsa.data.readers import read, split_spec
from mmclarity.rsa.inference.dual import dual_bootstrap
from mmclarity.rsa.inference.searchlight import searchlight_scores, spheres
from mmclarity.rsa.inference.timecourse import cluster_test, time_courses, time_rdms
from mmclarity.rsa.rdms.compute import compute_rdm
from mmclarity.rsa.report.movie import epochs_movie, read_epochs
from mmclarity.rsa.report.time import time_figure
from mmclarity.rsa.result import RSAResult
from mmclarity.utils.files import replacing
from mmclarity.utils.names import as_text, on_disk
from mmclarity.utils.tables import write_csv

from .main import check_free


def write_further(result: RSAResult, args: argparse.Namespace) -> None:
    """What --time, --searchlight and --weighted ask for, into ``args.out``."""
    times = [named(item, '--time') for item in args.time]
    for (name, spec), file in zip(times, file_names([name for name, _ in times])):
        write_time(name, spec, file, result, args)
    if args.weighted:
        write_weighted(result, args)
    if args.searchlight:
        write_searchlight(result, args)


def further_areas(args: argparse.Namespace, ids: Sequence[str]) -> list[NeuralArea]:
    """Areas of --time (mean over time) and --searchlight (all voxels), where --neural has none.

    What may be wrong with these files is so found before the network starts to work.
    """
    areas, metric = [], args.neural_metric or args.metric
    for item in args.time:
        name, spec = named(item, '--time')
        rdms = np.stack([compute_rdm(one.mean(2), metric) for one in read_time(spec, ids)])
        areas.append(NeuralArea(name, rdms, list(ids), spec))
    if args.searchlight:
        data, mask, _ = _betas(args, len(ids))
        rdm = compute_rdm(data[mask].T, metric)
        areas.append(NeuralArea('all voxels', rdm[None], list(ids), args.searchlight))
    return [] if args.neural or args.compare_model else areas


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


def read_time(spec: str, ids: Sequence[str]) -> np.ndarray:
    """(S, n, units, times) of recordings over time, in the order of the stimuli.

    Raises:
        DataError: If the shape or the ids do not fit.
    """
    path, key = split_spec(spec)
    found, key = read(path, key)
    values = found.values
    data = np.stack(values) if isinstance(values, list) else np.asarray(values)
    data = data[None] if data.ndim == 3 else data
    if data.ndim != 4 or data.dtype.kind not in 'fiu':
        raise DataError(
            f'{spec} has shape {data.shape}; recordings over time are (stimuli, units, times) of '
            'one subject, or (subjects, stimuli, units, times)'
        )
    if found.ids is not None:
        data = data[:, _places(found.ids, ids, spec)]
    else:
        warnings.warn(
            f'{spec} does not say which stimulus is which: its stimuli are taken in the order of '
            'the pictures. Store their ids under the key "ids"',
            stacklevel=2,
        )
    if data.shape[1] != len(ids):
        raise DataError(f'{spec} has {data.shape[1]} stimuli, the network saw {len(ids)}')
    return data.astype(np.float64)


def _places(known: Sequence[str], ids: Sequence[str], source: str) -> list[int]:
    """Where the stimuli are among those of a file, which may name them as files."""
    place = {name: i for i, name in enumerate(names_of_pictures(known, ids))}
    missing = [name for name in ids if name not in place]
    if missing:
        raise DataError(
            f'{source} lacks the stimulus {missing[0]!r} ({len(missing)} of {len(ids)}); it has '
            f'{", ".join(known[:5])}, ...'
        )
    return [place[name] for name in ids]


def read_trials(items: Sequence[str], ids: Sequence[str]) -> dict[str, np.ndarray]:
    """(stimuli, units, repeats) of each area of --trials, in the order of the stimuli.

    Raises:
        UsageError: If an area has no name or file, or its trials another shape or other stimuli.
    """
    found = {}
    for item in items:
        name, spec = named(item, '--trials')
        path, key = split_spec(spec)
        content, _ = read(path, key)
        data = np.asarray(content.values)
        if data.ndim != 3 or data.dtype.kind not in 'fiu':
            raise DataError(f'{spec} has shape {data.shape}; trials are (stimuli, units, repeats)')
        if content.ids is not None:
            data = data[_places(content.ids, ids, spec)]
        if len(data) != len(ids):
            raise DataError(f'{spec} has {len(data)} stimuli, the network is shown {len(ids)}')
        found[name] = data.astype(np.float64)
    return found


def check_subjects(args: argparse.Namespace, areas: Sequence[NeuralArea]) -> None:
    """Whether --weighted has the subjects that it needs.

    Raises:
        UsageError: If an area has one.
    """
    single = [area.name for area in areas if len(area.rdms) < 2]
    if args.weighted and (single or args.compare_model):
        raise UsageError(
            f'--weighted: {single[0] if single else args.compare_model} has one subject, and how '
            'sure a weighted model is for new subjects needs two or more; leave --weighted out'
        )


def write_time(
    name: str, spec: str, file: str, result: RSAResult, args: argparse.Namespace
) -> None:
    """Time course of every layer, and when it is above chance over subjects; into ``time_FILE``."""
    data = read_time(spec, result.ids)
    metric = args.neural_metric or args.metric
    rdms = np.stack([time_rdms(one, metric) for one in data])
    courses = time_courses(result.grouped(result.rdms), rdms, args.method)  # (L, S, T)
    clusters: dict[str, list] = {layer: [] for layer in result.layers}
    if len(data) > 1:
        for layer, course in zip(result.layers, courses):
            clusters[layer] = cluster_test(course, max(1, args.permutations), seed=args.seed)
    else:
        warnings.warn(f'{name}: one subject, so that there is no test over subjects', stacklevel=2)
    rows = []
    for layer, course in zip(result.layers, courses):
        p = np.full(course.shape[1], np.nan)
        for cluster in clusters[layer]:
            p[cluster.start : cluster.stop] = cluster.p
        rows += [
            dict(area=name, layer=layer, time=t, score=score, cluster_p=p[t])
            for t, score in enumerate(course.mean(0))
        ]
    write_csv(args.out / f'rsa_time_{file}.csv', list(rows[0]), [list(r.values()) for r in rows])
    for layer, found in clusters.items():
        for cluster in found:
            if cluster.p < 0.05:
                print(
                    f'{name}, {layer}: times {cluster.start} to {cluster.stop - 1}, '
                    f'p = {cluster.p:.3f} (cluster)'
                )
    if args.figures != 'none':
        time_figure(courses, clusters, name, args.out / f'time_{file}.{args.figures}')


def write_weighted(result: RSAResult, args: argparse.Namespace) -> None:
    """All layers weighted to fit an area, beside each alone, on stimuli not fitted to."""
    models = {'all, weighted': result.rdms}
    models.update({layer: rdm[None] for layer, rdm in zip(result.layers, result.rdms)})
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


def write_searchlight(result: RSAResult, args: argparse.Namespace) -> None:
    """One map a layer, as NIfTI."""
    import nibabel

    data, mask, affine = _betas(args, len(result.ids))
    places, around = spheres(mask, affine, args.radius)
    metric = args.neural_metric or args.metric
    found = searchlight_scores(
        result.grouped(result.rdms), data[mask].T, around, args.method, metric
    )
    for file, values in zip(file_names(result.layers), found):
        volume = np.full(mask.shape, np.nan, np.float32)
        volume[tuple(places.T)] = values
        image = nibabel.Nifti1Image(volume, affine)
        with replacing(args.out / f'searchlight_{file}.nii') as part:
            part.write_bytes(image.to_bytes())
    best = np.nanmax(found, 1)
    print(
        f'Searchlight: {len(places)} spheres of {args.radius} mm; greatest likeness: '
        + ', '.join(f'{layer} {value:.3f}' for layer, value in zip(result.layers, best))
    )


def _betas(args: argparse.Namespace, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, Y, Z, n) of --searchlight, its mask and its affine."""
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            '--searchlight needs nibabel; install it with `pip install nibabel`'
        ) from error
    data, affine = _volumes(nibabel, args.searchlight)
    if data.ndim != 4 or data.shape[3] != count:
        raise DataError(
            f'{args.searchlight} has shape {data.shape}; it must hold one volume a stimulus, '
            f'(x, y, z, {count}), in the order of the stimuli'
        )
    if args.mask is None:
        mask = np.isfinite(data).all(3) & (data != 0).any(3)
    else:
        mask = np.nan_to_num(_volumes(nibabel, args.mask)[0]) != 0
        if mask.shape != data.shape[:3]:
            raise DataError(f'--mask {args.mask} has the grid {mask.shape}, not {data.shape[:3]}')
    mask &= np.isfinite(data).all(3)
    if not mask.any():
        raise DataError(f'{args.searchlight}: no voxel is left')
    return data, mask, affine


def _volumes(nibabel: Any, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and affine of an image."""
    if not Path(path).is_file():
        raise DataError(f'{path}: there is no such image')
    try:
        image = nibabel.load(path)
        return np.asarray(image.dataobj, np.float64), image.affine
    except Exception as error:  # MemoryError, zlib.error and many more where a header is damaged
        raise DataError(f'{path} cannot be read as NIfTI: {said(error)}') from error


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
