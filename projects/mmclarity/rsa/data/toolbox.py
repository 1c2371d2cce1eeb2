"""rsatoolbox in and out: its RDMs and Datasets, and its HDF5 without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmclarity.errors import DataError
from mmclarity.utils.files import replacing

from ..rdms.pairs import num_stimuli
from ..rdms.rdms import as_condensed
from .readers.found import Found, of_toolbox
from .readers.hdf5 import require_h5py

if TYPE_CHECKING:
    from ..analysis import RSAResult

# Whose layout of files is written.
VERSION = '0.3.2'


def found_in(item: Any) -> Found:
    """What RDMs or a Dataset of rsatoolbox hold, as if it had been read from a file."""
    source = f"rsatoolbox's {type(item).__name__}"
    if hasattr(item, 'dissimilarities'):
        values, patterns, rdms = (
            item.dissimilarities,
            item.pattern_descriptors,
            item.rdm_descriptors,
        )
        return of_toolbox(values, 'rdm', patterns, rdms, source)
    return of_toolbox(item.measurements, 'responses', item.obs_descriptors, {}, source)


def to_rsatoolbox(
    rdms: Any,
    ids: Sequence[str] | None = None,
    metric: str | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """RDMs of rsatoolbox.

    Args:
        rdms: As :func:`as_condensed` takes them.
        ids: Of the stimuli: the pattern descriptor ``ids``.
        metric: The dissimilarity measure that is noted.
        names: Of the RDMs: the RDM descriptor ``name``.

    Raises:
        ModuleNotFoundError: If rsatoolbox is missing, with the command.
    """
    try:
        from rsatoolbox.rdm import RDMs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'this needs rsatoolbox; install it with `pip install rsatoolbox`. save_hdf5() writes '
            'its files without it'
        ) from error
    rows = as_condensed(rdms)
    return RDMs(
        rows,
        dissimilarity_measure=metric,
        pattern_descriptors={} if ids is None else {'ids': [str(i) for i in ids]},
        rdm_descriptors={} if names is None else {'name': [str(n) for n in names]},
    )


def save_hdf5(
    path: str | Path,
    rdms: Any,
    ids: Sequence[str] | None = None,
    metric: str | None = None,
    descriptors: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write RDMs in rsatoolbox's HDF5, which ``rsatoolbox.rdm.load_rdm`` opens.

    Args:
        path: Of the file, replaced whole or not at all.
        rdms: As :func:`as_condensed` takes them.
        ids: Of the stimuli: the pattern descriptor ``ids``.
        metric: The dissimilarity measure that is noted.
        descriptors: Of the RDMs: a value each.

    Raises:
        DataError: If numbers of ids or descriptors do not fit.
    """
    h5py = require_h5py(Path(path))
    rows = as_condensed(rdms)
    count = num_stimuli(rows.shape[1])
    patterns: dict[str, Sequence[Any]] = {'index': range(count)}
    if ids is not None:
        patterns['ids'] = [str(i) for i in ids]
    own: dict[str, Sequence[Any]] = {'index': range(len(rows)), **(descriptors or {})}
    for what, length in ((patterns, count), (own, len(rows))):
        for name, values in what.items():
            if len(values) != length:
                raise DataError(f'{path}: {len(values)} {name} for {length}; give one each')
    with replacing(path) as part, h5py.File(part, 'w') as file:
        file.attrs['rsatoolbox_version'] = VERSION
        if metric is not None:
            file.attrs['dissimilarity_measure'] = metric
        file['dissimilarities'] = rows
        file.create_group('descriptors')
        for group, content in (('pattern_descriptors', patterns), ('rdm_descriptors', own)):
            for name, values in content.items():
                file[f'{group}/{name}'] = _storable(values)


def _storable(values: Sequence[Any]) -> np.ndarray:
    """Numbers as they are, texts as UTF-8 bytes."""
    array = np.asarray(list(values))
    return np.char.encode(array, 'utf-8') if array.dtype.kind == 'U' else array


def save_result(result: RSAResult, path: str | Path) -> None:
    """All RDMs of an analysis in one file of rsatoolbox: layers, untrained layers, subjects.

    The RDM descriptors ``name``, ``kind`` ('layer', 'untrained', 'area') and ``subject`` (-1 for
    layers) tell them apart.
    """
    untrained = getattr(result, 'untrained_rdms', getattr(result, 'baseline_rdms', None))
    parts = [(result.rdms, 'layer', result.layers, [-1] * len(result.layers))]
    if untrained is not None:
        parts.append((untrained, 'untrained', result.layers, [-1] * len(result.layers)))
    for area, rows in result.area_rdms.items():
        parts.append((rows, 'area', [area] * len(rows), list(range(len(rows)))))
    save_hdf5(
        path,
        np.concatenate([np.atleast_2d(rows) for rows, *_ in parts]),
        result.ids,
        result.settings.metric,
        dict(
            name=[n for _, _, names, _ in parts for n in names],
            kind=[kind for rows, kind, *_ in parts for _ in range(len(rows))],
            subject=[s for *_, subjects in parts for s in subjects],
        ),
    )
