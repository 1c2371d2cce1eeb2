"""An analysis as files: all of it as npz, scores as CSV, a table for a README.

Files are written beside their place and then moved there, so that a reader (or a run that was
broken off) never meets half of one.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from itertools import permutations
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmclarity.utils.files import replacing
from mmclarity.utils.tables import NOT_AVAILABLE, markdown_table, number, write_csv

from ..analysis import Comparison, RSAResult, settings_dict, settings_from
from ..inference.noise_ceiling import NoiseCeiling
from ..inference.profiles import Profile, order

# 2: what 1 calls baseline_* is untrained_*, and groups of stimuli.
FORMAT = 2
OPTIONAL = (
    'intervals',
    'p',
    'q',
    'untrained_scores',
    'untrained_intervals',
    'untrained_p',
    'untrained_rdms',
)
COLUMNS = (
    'area',
    'layer',
    'score',
    'lower',
    'upper',
    'p',
    'q',
    'untrained',
    'untrained_lower',
    'untrained_upper',
    'untrained_p',
    'gain',
    'gain_lower',
    'gain_upper',
    'gain_p',
    'ceiling_lower',
    'ceiling_upper',
    'ceiling_pooling',
    'subjects',
    'stimuli',
    'metric',
    'method',
)
DIFFERENCE_COLUMNS = ('area', 'layer', 'other', 'difference', 'lower', 'upper', 'p')
SIGNIFICANT = 0.05


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that ``path`` holds either what it held or all of the new content.

    Args:
        path: The file; its folder is made if it is missing.
        write: Gets the open binary file.

    Raises:
        ValueError: If ``path`` is a folder.
    """
    with replacing(path, parents=True) as part, part.open('wb') as file:
        write(file)


def save_npz(result: RSAResult, path: str | Path) -> None:
    """Write all of a result; readable by ``numpy.load(path)`` without pickle.

    ``rdms`` (L, P) and ``area_rdms_<i>`` (S, P) are condensed in the order of
    ``scipy.spatial.distance.squareform``; names and numbers of stimuli are in ``layers``,
    ``areas`` and ``ids``; ``settings``, ``ceilings`` and ``meta`` are JSON. What was not computed
    is absent.

    Raises:
        TypeError: If ``meta`` holds something JSON cannot.
    """
    arrays: dict[str, Any] = dict(
        format=FORMAT,
        ids=np.array(result.ids, str),
        layers=np.array(result.layers, str),
        areas=np.array(result.areas, str),
        scores=result.scores,
        rdms=result.rdms,
        settings=json.dumps(settings_dict(result.settings)),
        meta=json.dumps(result.meta),
        ceilings=json.dumps([asdict(result.ceilings[area]) for area in result.areas]),
    )
    if result.groups is not None:
        arrays['groups'] = np.array(result.groups, str)
    for name in OPTIONAL:
        if getattr(result, name) is not None:
            arrays[name] = getattr(result, name)
    for i, area in enumerate(result.areas):
        arrays[f'area_rdms_{i}'] = result.area_rdms[area]
        if area in result.differences:
            for item in fields(Comparison):
                value = getattr(result.differences[area], item.name)
                if value is not None:
                    arrays[f'differences_{i}_{item.name}'] = value
    with replacing(path, parents=True) as part, part.open('wb') as file:
        np.savez_compressed(file, **arrays)


def load_npz(path: str | Path) -> RSAResult:
    """Read what :func:`save_npz` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of another kind or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; run the analysis that writes it first')
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError('it holds one array, not an archive')
        with file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ValueError(
            f'{path} cannot be read as an npz file ({error}); it is damaged or of '
            'another kind: write it anew with save_npz'
        ) from error
    if int(arrays.get('format', FORMAT)) > FORMAT:
        raise ValueError(
            f'{path} has format {int(arrays["format"])}, this version reads up to '
            f'{FORMAT}; update mmclarity'
        )
    try:
        return _from_arrays(arrays)
    except KeyError as error:
        raise ValueError(
            f'{path} has no key {error}: it was not written by save_npz; its keys '
            f'are {", ".join(sorted(arrays))}'
        ) from error


def _from_arrays(arrays: dict[str, np.ndarray]) -> RSAResult:
    for name in OPTIONAL:
        old = name.replace('untrained', 'baseline')
        if old in arrays:
            arrays[name] = arrays.pop(old)
    areas = arrays['areas'].tolist()
    ceilings = [NoiseCeiling(**item) for item in json.loads(str(arrays['ceilings']))]
    differences = {}
    for i, area in enumerate(areas):
        if f'differences_{i}_layers' in arrays:
            found: dict[str, Any] = {
                item.name: arrays.get(f'differences_{i}_{item.name}') for item in fields(Comparison)
            }
            differences[area] = Comparison(**found)
    return RSAResult(
        ids=arrays['ids'].tolist(),
        layers=arrays['layers'].tolist(),
        areas=areas,
        scores=arrays['scores'],
        ceilings=dict(zip(areas, ceilings)),
        settings=settings_from(json.loads(str(arrays['settings']))),
        rdms=arrays['rdms'],
        area_rdms={area: arrays[f'area_rdms_{i}'] for i, area in enumerate(areas)},
        differences=differences,
        groups=arrays['groups'].tolist() if 'groups' in arrays else None,
        meta=json.loads(str(arrays['meta'])),
        **{name: arrays.get(name) for name in OPTIONAL},
    )


def save_csv(result: RSAResult, path: str | Path) -> None:
    """Write one line per area and layer, columns :data:`COLUMNS`.

    What was not computed or is undefined is empty; ceilings of one RDM are ``N/A``.
    """
    write_csv(path, COLUMNS, _rows(result))


def save_differences_csv(result: RSAResult, path: str | Path) -> None:
    """Write one line per area and pair of layers: difference of scores, limits, two-sided p.

    Raises:
        ValueError: If the result has no bootstrap.
    """
    if not result.differences:
        raise ValueError('the result has no paired differences; analyse with bootstraps=1000')
    rows = []
    for area, found in result.differences.items():
        for i, layer in enumerate(result.layers):
            for j in range(i + 1, len(result.layers)):
                rows.append(
                    (
                        area,
                        layer,
                        result.layers[j],
                        number(found.layers[i, j]),
                        *map(number, found.layers_interval[i, j]),
                        number(found.layers_p[i, j]),
                    )
                )
    write_csv(path, DIFFERENCE_COLUMNS, rows)


def save_r2_csv(result: RSAResult, path: str | Path) -> None:
    """Write one line per area and layer: R2 as Net2Brain has it, see :meth:`RSAResult.r2`."""
    table = result.r2()
    rows = [
        (area, layer, table[i, j])
        for j, area in enumerate(result.areas)
        for i, layer in enumerate(result.layers)
    ]
    write_csv(path, ('area', 'layer', 'R2'), rows)


def save_profiles_csv(
    profiles: Mapping[str, Profile], path: str | Path, level: float = 0.95
) -> None:
    """Write where each area is matched best, and for each pair of areas which comes first.

    Positions are 0 at the first layer and 1 at the last. The p of a pair is of the area not being
    matched by earlier layers than the other.
    """
    rows: list[tuple] = [
        (area, '', one.layer, one.position, *one.interval, '') for area, one in profiles.items()
    ]
    for first, second in permutations(profiles, 2):
        found = order(profiles[first], profiles[second], level)
        rows.append((first, second, '', found.difference, *found.interval, found.p))
    columns = ('area', 'before', 'layer', 'position', 'lower', 'upper', 'p')
    write_csv(path, columns, rows)


def _rows(result: RSAResult) -> Iterable[tuple]:
    for column, area in enumerate(result.areas):
        ceiling, found = result.ceilings[area], result.differences.get(area)
        bounds = [NOT_AVAILABLE if b is None else number(b) for b in (ceiling.lower, ceiling.upper)]
        for row, layer in enumerate(result.layers):

            def at(table: np.ndarray | None, *place: int) -> str:
                return '' if table is None else number(table[place])

            here = (row, column)
            gain = (None,) * 3 if found is None else (found.gain, found.gain_interval, found.gain_p)
            yield (
                area,
                layer,
                at(result.scores, *here),
                at(result.intervals, *here, 0),
                at(result.intervals, *here, 1),
                at(result.p, *here),
                at(result.q, *here),
                at(result.untrained_scores, *here),
                at(result.untrained_intervals, *here, 0),
                at(result.untrained_intervals, *here, 1),
                at(result.untrained_p, *here),
                at(gain[0], row),
                at(gain[1], row, 0),
                at(gain[1], row, 1),
                at(gain[2], row),
                *bounds,
                ceiling.pooling,
                ceiling.subjects,
                len(result.ids),
                result.settings.metric,
                result.settings.method,
            )


def ceiling_text(ceiling: NoiseCeiling) -> str:
    """A ceiling in words: its two bounds, or N/A."""
    if ceiling.lower is None or ceiling.upper is None:
        return f'{NOT_AVAILABLE} (one RDM)'
    return f'{ceiling.lower:.3f} to {ceiling.upper:.3f}'


def markdown(result: RSAResult) -> str:
    """The scores as a GitHub table, with everything needed to read it underneath.

    Returns:
        A row per layer, a column per area (two with an untrained network), the best layer of each
        area in bold, the noise ceilings as the last row.
    """
    untrained = result.untrained_scores is not None
    header = ['layer']
    for area in result.areas:
        header += [area, f'{area}, untrained'] if untrained else [area]
    lines = []
    for row, layer in enumerate(result.layers):
        cells = [f'`{layer}`']
        for column, area in enumerate(result.areas):
            best = result.best_layer(area)
            text = _score(result.scores, result.intervals, result.q, row, column)
            cells.append(f'**{text}**' if best is not None and best[0] == layer else text)
            if result.untrained_scores is not None:
                cells.append(
                    _score(result.untrained_scores, result.untrained_intervals, None, row, column)
                )
        lines.append(cells)
    ceilings = ['noise ceiling']
    for area in result.areas:
        ceilings += [ceiling_text(result.ceilings[area])] + [''] * untrained
    return f'{markdown_table(header, [*lines, ceilings])}\n\n{_legend(result)}\n'


def _score(
    scores: np.ndarray, intervals: np.ndarray | None, q: np.ndarray | None, row: int, column: int
) -> str:
    if not math.isfinite(scores[row, column]):
        return NOT_AVAILABLE
    text = f'{scores[row, column]:.3f}'
    if q is not None and q[row, column] < SIGNIFICANT:
        text += '\\*'
    if intervals is not None and np.isfinite(intervals[row, column]).all():
        lower, upper = intervals[row, column]
        text += f' [{lower:.3f}, {upper:.3f}]'
    return text


def _legend(result: RSAResult) -> str:
    settings = result.settings
    parts = [
        f'{settings.method} correlation of RDMs ({settings.metric} distance, '
        f'{len(result.ids)} stimuli), mean over subjects; best layer of each area in bold.'
    ]
    if settings.bootstraps:
        parts.append(
            f'Brackets: {settings.level:.0%} interval, {settings.bootstraps} bootstraps '
            f'over {settings.bootstrap_over}.'
        )
    if settings.permutations:
        parts.append(
            f'\\*: q < {SIGNIFICANT} (stimulus labels permuted {settings.permutations} '
            'times, false discovery rate over layers and areas).'
        )
    subjects = ', '.join(f'{area}: {result.ceilings[area].subjects}' for area in result.areas)
    parts.append(
        f'Noise ceiling: leave-one-out lower and upper bound, {settings.pooling}-pooled; '
        f'subjects: {subjects}.'
    )
    parts += [
        f'Note on {area}: {result.ceilings[area].warning}'
        for area in result.areas
        if result.ceilings[area].warning
    ]
    return ' '.join(parts)
