"""HDF5: plain arrays by path, and rsatoolbox's saves of RDMs and data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .found import Found, left_aside, of_toolbox


def require_h5py(path: Path) -> Any:
    """The module, or an error that names its command."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{path} needs h5py; install it with `pip install h5py`'
        ) from error
    return h5py


def read_hdf5(path: Path, key: str | None = None) -> dict[str, Found]:
    """Arrays of numbers and texts by their path in the file; large ones if they are asked for.

    Args:
        path: The file.
        key: The array that is asked for; all if not given.
    """
    h5py = require_h5py(path)
    found: dict[str, Found] = {}
    with h5py.File(path) as file:

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind == 'V':
                fields = ', '.join(item.dtype.names or ())
                found[name] = Found(np.empty(0), unread=f'records ({fields}); save plain arrays')
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in 'fiuSUO':
                return
            if h5py.check_ref_dtype(item.dtype) or item.shape is None:
                return
            if aside := left_aside(name, item, key):
                found[name] = Found(np.empty(0), unread=aside)
                return
            text = h5py.check_string_dtype(item.dtype)
            values = item.asstr()[()] if text and item.dtype.kind == 'O' else item[()]
            found[name] = Found(np.asarray(values))

        file.visititems(visit)
    _toolbox(found, path)
    return found


def _toolbox(found: dict[str, Found], path: Path) -> None:
    """Say what rsatoolbox's own arrays are, wherever in the file they lie."""
    for name in list(found):
        if name not in found:  # a descriptor of one before
            continue
        group, _, leaf = name.rpartition('/')
        start = f'{group}/' if group else ''
        values = found[name].values
        if leaf == 'dissimilarities' and np.ndim(values) == 2:
            kind, place = 'rdm', 'pattern_descriptors/'
        elif leaf == 'measurements' and np.ndim(values) in (2, 3):
            kind, place = 'responses', 'obs_descriptors/'
        else:
            continue
        patterns, rdms = (
            {
                key.removeprefix(start + folder): item.values
                for key, item in found.items()
                if key.startswith(start + folder)
            }
            for folder in (place, 'rdm_descriptors/')
        )
        found[name] = of_toolbox(values, kind, patterns, rdms, f'{path}:{name}')
        own = tuple(f'{start}{part}' for part in (place, 'rdm_desc', 'channel_desc', 'time_desc'))
        for key in [k for k in found if k.startswith(own)]:
            del found[key]
