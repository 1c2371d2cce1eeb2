"""MATLAB files, up to version 7 by scipy and 7.3 by h5py: arrays, cell arrays and structs.

The RSA toolbox (Nili et al., PLoS Comput. Biol. 2014) keeps RDMs in struct arrays,
``RDMs(subject, session)``, each with the fields ``RDM`` (square or condensed), ``name`` and
``color``. Cell arrays hold one array a subject, or cells of sessions.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .found import Found, left_aside
from .hdf5 import require_h5py

FIELD = 'RDM'
# What scipy calls all objects of MATLAB's own classes.
UNNAMED = 'None'
# What to save in the place of objects of MATLAB's own classes, whose format it keeps to itself.
REMEDIES = dict(
    string='cellstr(NAME)', table='its columns, table2array(NAME)', categorical='cellstr(NAME)'
)


def read_matlab(path: Path, key: str | None = None) -> dict[str, Found]:
    """Variables by name; fields of a struct as ``struct/field``.

    Of version 7.3 large variables are read if ``key`` asks for them, or there is none.

    A damaged cell array can end scipy's reader, and the process, with a segmentation fault: call
    it through :func:`mmclarity.utils.child.read_in_child`.
    """
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Duplicate variable name "None"')  # see _objects
            content = loadmat(path, squeeze_me=True, struct_as_record=False)
        if UNNAMED in content:
            del content[UNNAMED]
            content.update(_objects(path))
    except NotImplementedError:  # version 7.3 is HDF5, stored with axes reversed
        content = _read_73(path, key)
    found: dict[str, Found] = {}
    for name, value in content.items():
        if not name.startswith(('__', '#')):
            _add(found, name, _simple(value))
    return found


class _Struct(dict):
    """Fields of one struct."""


class _Unread(str):
    """What stands there, and what to save instead."""


def _object_of(kind: str) -> _Unread:
    """An object of one of MATLAB's own classes."""
    remedy = REMEDIES.get(kind, 'plain arrays')
    article = 'an' if kind[:1] in 'aeiou' else 'a'
    return _Unread(
        f"{article} {kind or 'object'} of MATLAB's own kind, which only MATLAB reads; save {remedy}"
    )


def _objects(path: Path) -> dict[str, _Unread]:
    """Objects of MATLAB's own classes by name; loadmat keeps the last alone, without its name."""
    from scipy.io import loadmat
    from scipy.io.matlab import varmats_from_mat

    found = {}
    with path.open('rb') as file:
        for name, single in varmats_from_mat(file):
            if name == UNNAMED:
                for item in loadmat(single)[UNNAMED]:
                    found[item['s0'].decode()] = _object_of(item['s2'].decode())
    return found


def _simple(value: Any) -> Any:
    """Arrays, texts, structs, what is unread; lists (one a subject; lists within are sessions)."""
    if hasattr(value, '_fieldnames'):
        return _Struct((name, _simple(getattr(value, name))) for name in value._fieldnames)
    if isinstance(value, np.ndarray) and value.dtype == object:
        if value.ndim > 1:
            return [_simple(row) for row in value]
        items = [_simple(item) for item in value]
        return np.array(items) if items and all(isinstance(i, str) for i in items) else items
    if hasattr(value, 'toarray'):
        return value.toarray()  # a sparse matrix
    if isinstance(value, np.ndarray) and value.dtype.names:
        return _object_of(np.ravel(value)[0]['s2'].decode() if 's2' in value.dtype.names else '')
    return value if isinstance(value, str | _Struct | list) else np.asarray(value)


def _add(found: dict[str, Found], name: str, value: Any) -> None:
    rdms = _field(value)
    if rdms is not None:
        found[name] = Found(rdms, 'rdm')
    elif isinstance(value, _Struct):
        for field, inner in value.items():
            _add(found, f'{name}/{field}', inner)
    elif isinstance(value, _Unread):
        found[name] = Found(np.empty(0), unread=value.replace('NAME', name.replace('/', '.')))
    elif isinstance(value, str):
        found[name] = Found(np.array([value]))
    elif isinstance(value, np.ndarray) or _is_nested(value):
        found[name] = Found(value)
    elif isinstance(value, list) and value and all(isinstance(item, _Struct) for item in value):
        what = f'{len(value)} structs ({", ".join(value[0])}); save one matrix of their numbers'
        found[name] = Found(np.empty(0), unread=what)


def _field(value: Any) -> Any:
    """The field ``RDM`` of a struct, or of each of nested lists of them; None if there is none."""
    if isinstance(value, _Struct):
        return value.get(FIELD)
    if isinstance(value, list) and value:
        inner = [_field(item) for item in value]
        return None if any(item is None for item in inner) else inner
    return None


def _is_nested(value: Any) -> bool:
    """Lists of arrays."""
    return isinstance(value, np.ndarray) or (
        isinstance(value, list) and bool(value) and all(map(_is_nested, value))
    )


def _read_73(path: Path, key: str | None) -> dict[str, Any]:
    h5py = require_h5py(path)

    with h5py.File(path) as file:

        def value(item: Any, referred: bool = False) -> Any:
            decode = item.attrs.get('MATLAB_object_decode', 0)
            if decode or 'MATLAB_sparse' in item.attrs:
                return _object_of(_text(item)) if decode else _dense(item)
            if isinstance(item, h5py.Group):
                return _fields({name: value(inner) for name, inner in item.items()})
            kind = _text(item)
            if h5py.check_ref_dtype(item.dtype):
                references = np.asarray(item[()]).T
                items = [value(file[one], True) for one in references.ravel()]
                return _cells(items, references.shape)
            if item.attrs.get('MATLAB_empty', 0):
                return '' if kind == 'char' else np.empty(0)
            characters = item.dtype.kind == 'u' and item.dtype.itemsize == 2
            if kind == 'char' or (not kind and referred and characters):
                lines = [''.join(map(chr, row)) for row in np.atleast_2d(item[()].T)]
                return lines[0] if len(lines) == 1 else np.array(lines)  # char('a', 'bc')
            if h5py.check_string_dtype(item.dtype):
                return np.asarray(item.asstr()[()])
            return np.squeeze(np.asarray(item[()]).T)

        found = {}
        for name, item in file.items():
            plain = isinstance(item, h5py.Dataset) and 'MATLAB_object_decode' not in item.attrs
            aside = left_aside(name, item, key) if plain else ''
            if not name.startswith('#'):
                found[name] = _Unread(aside) if aside else value(item)
        return found


def _text(item: Any) -> str:
    """MATLAB's class of an item of HDF5."""
    kind = item.attrs.get('MATLAB_class', b'')
    return kind.decode() if isinstance(kind, bytes) else str(kind)


def _dense(item: Any) -> np.ndarray:
    """A sparse matrix: values of its columns, ``jc`` where each begins, ``ir`` their rows."""
    from scipy.sparse import csc_matrix

    starts = item['jc'][()]
    shape = int(item.attrs['MATLAB_sparse']), len(starts) - 1
    if 'data' not in item:  # nothing but zeros
        return np.zeros(shape)
    return csc_matrix((item['data'][()], item['ir'][()], starts), shape).toarray()


def _cells(items: list[Any], shape: tuple[int, ...]) -> Any:
    """Items of a cell array in its shape, without axes of one."""
    if items and all(isinstance(item, str) for item in items):
        return np.array(items)
    shape = tuple(length for length in shape if length != 1)
    if len(shape) < 2:
        return items
    width = len(items) // shape[0]
    return [_cells(items[i * width : (i + 1) * width], shape[1:]) for i in range(shape[0])]


def _fields(content: dict[str, Any]) -> Any:
    """A struct; a list of them where every field has a value for each, as struct arrays have."""
    lengths = {len(v) if isinstance(v, list) else -1 for v in content.values()}
    if FIELD in content and isinstance(content[FIELD], list):
        return _spread(content[FIELD])
    if len(lengths) == 1 and lengths.isdisjoint((-1, 0)):
        count = lengths.pop()
        return [_Struct((k, v[i]) for k, v in content.items()) for i in range(count)]
    return _Struct(content)


def _spread(values: Any) -> Any:
    if isinstance(values, list):
        return [_spread(value) for value in values]
    return _Struct({FIELD: values})
