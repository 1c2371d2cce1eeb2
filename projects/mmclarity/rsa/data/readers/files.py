"""A file of recordings by its ending, and the array in it that is meant."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import DataError, MissingKeyError, said
from mmclarity.utils.child import read_in_child

from .found import ID_KEYS, LARGE, TIMES, Found, keys_of, strings
from .hdf5 import read_hdf5
from .matlab import read_matlab
from .nifti import ENDINGS as NIFTI
from .nifti import is_pattern, read_nifti
from .tables import read_table

# Keys, in small letters without _, under which others store the names of stimuli.
LIKE_IDS = re.compile(
    '(stim|stimulus|stimuli|image|img|picture|condition|cond|file|filename)s?(id|name|file|label)?s?'
)
READERS: dict[str, Callable[..., dict[str, Found]]] = {
    '.mat': read_matlab,
    '.h5': read_hdf5,
    '.hdf5': read_hdf5,
    '.csv': read_table,
    '.tsv': read_table,
}
SUFFIXES = ('.npz', '.npy', *READERS, *NIFTI)
# Read by C libraries that a damaged file can crash or hold for ever.
APART = ('.mat', '.h5', '.hdf5')
SHEETS = ('.xls', '.xlsx', '.ods')
SAVE = 'of others take the numbers and numpy.savez(file, responses=..., ids=...)'
PICKLED = ('.pkl', '.pickle', '.joblib')


def split_spec(spec: str | Path) -> tuple[Path, str | None]:
    """``file[:key]``; a colon within the file's name is not taken for one."""
    text = str(spec)
    if Path(text).exists() or ':' not in text:
        return Path(text), None
    file, key = text.rsplit(':', 1)
    # C:\\data\\it.npz: the colon of a drive comes before a separator.
    if not key or (len(file) == 1 and key[:1] in '\\/'):
        return Path(text.rstrip(':')), None
    return Path(file), key


def read(path: Path, key: str | None) -> tuple[Found, str | None]:
    """What a file holds under a key, and that key.

    Raises:
        FileNotFoundError: If there is no such file.
        KeyError: If there is no such key, or several arrays and none is named.
        DataError: If it cannot be read, with the remedy.
    """
    if not path.exists() and not is_pattern(path):
        raise FileNotFoundError(f'{path}: there is no such file of recordings')
    name = path.name.lower()
    if path.is_dir() or name.endswith(NIFTI) or is_pattern(path):
        return read_nifti(path, key), key
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        raise DataError(
            f'{path} holds pickled Python objects, which may run any code when they are read. '
            "Write it anew: RDMs.save(file, file_type='hdf5') of rsatoolbox, or numpy.savez"
        )
    if suffix not in SUFFIXES:
        remedy = 'save the sheet as .csv' if suffix in SHEETS else SAVE
        raise DataError(f'{path}: recordings are read from {", ".join(SUFFIXES)}; {remedy}')
    if suffix == '.npy':
        if key:
            raise MissingKeyError(f'{path} is one array and has no key {key!r}; leave out ":{key}"')
        return Found(_opened(path, lambda p: np.load(p, allow_pickle=False))), None
    apart, archive = partial(_apart, key=key), partial(_npz, key=key)
    reader = apart if suffix in APART else READERS.get(suffix, archive)
    content = _opened(path, reader)
    if suffix == '.npz' and (key not in content if key else not content):
        _tell_unreadable(path, key)
    return _chosen(content, path, key)


def _opened(path: Path, reader: Callable) -> dict[str, Found]:
    try:
        return reader(path)
    except ModuleNotFoundError:
        raise
    except DataError as error:
        if str(path) in str(error):
            raise
        raise _unreadable(path, error) from error
    except Exception as error:  # readers meet a broken file with whatever error they run into
        raise _unreadable(path, error) from error


def _apart(path: Path, key: str | None) -> dict[str, Found]:
    content = read_in_child(f'{__name__}:plain', path, key)
    return {key: Found(**fields) for key, fields in content.items()}


def plain(path: Path, key: str | None) -> dict[str, dict[str, Any]]:
    """What is found as plain dicts, to be handed from process to process."""
    content = READERS[path.suffix.lower()](path, key)
    return {
        key: dict(values=found.values, kind=found.kind, ids=found.ids, unread=found.unread)
        for key, found in content.items()
    }


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = said(error).rstrip('.')
    if reason.startswith('Object arrays'):
        return DataError(
            f'{path} holds Python objects (a dict, a list), which may run any code when they are '
            'read. Save plain numbers: numpy.savez(file, responses=..., ids=...)'
        )
    if 'pickled (object) data' in reason:  # numpy of any file that does not begin as its own do
        reason = 'it does not begin as such files do'
    return DataError(
        f'{path} cannot be read as {path.suffix.lower()}: {reason}. Is it complete, and what '
        'its ending says?'
    )


def _npz(path: Path, key: str | None) -> dict[str, Found]:
    with np.load(path, allow_pickle=False) as file:
        found = {}
        sizes = {item.filename.removesuffix('.npy'): item.file_size for item in file.zip.infolist()}
        for name in file.files:
            if key is not None and name not in (key, *ID_KEYS) and sizes.get(name, 0) > LARGE:
                found[name] = Found(np.empty(0), unread='numbers, which were not asked for')
                continue
            try:
                found[name] = Found(file[name])
            except ValueError:  # pickled objects are not read
                if name in ID_KEYS:
                    warnings.warn(
                        f'{path}:{name} holds Python objects, which are not read, so that these '
                        'names are not known; save them as text, np.array(names, str)',
                        stacklevel=2,
                    )
        return found


def _tell_unreadable(path: Path, key: str | None) -> None:
    """Say of an array that is there why it was not read."""
    with np.load(path, allow_pickle=False) as file:
        for name in [key] if key else file.files:
            if name not in file.files:
                continue
            try:
                file[name]
            except ValueError as error:
                raise DataError(
                    f'{path}:{name} cannot be read: {said(error)}. Save plain numbers; Python '
                    'objects may run any code when they are read'
                ) from error


def _chosen(content: dict[str, Found], path: Path, key: str | None) -> tuple[Found, str]:
    """The array that is meant, with ids from beside it."""
    if key is None:
        candidates = [
            k
            for k, v in content.items()
            if k.rsplit('/', 1)[-1] not in ID_KEYS and v.may_be_recordings()
        ]
        sure = [k for k in candidates if content[k].kind != 'auto']
        candidates = sure if len(sure) == 1 else candidates
        if len(candidates) != 1:
            raise MissingKeyError(_which(content, candidates, path))
        key = candidates[0]
    key = next((one for one in keys_of(key) if one in content), key)
    if key not in content:
        raise MissingKeyError(f'{path} has no key {key!r}; it holds {", ".join(content)}')
    found = content[key]
    if found.unread:
        raise DataError(f'{path}:{key} holds {found.unread}')
    if found.ids is None:
        found.ids = _ids_beside(content, key, path)
    times = next((content[k].values for k in _beside(key, TIMES) if k in content), None)
    if isinstance(times, np.ndarray) and times.ndim == 1 and times.dtype.kind in 'fiu':
        found.times = times
    return found, key


def _beside(key: str, names: Sequence[str]) -> list[str]:
    """Keys of what belongs to an array: in its group of an HDF5 file, or at the top for all."""
    groups = dict.fromkeys((key.rpartition('/')[0], ''))
    return [f'{group}/{name}' if group else name for group in groups for name in names]


def _ids_beside(content: dict[str, Found], key: str, path: Path) -> list[str] | None:
    """Ids beside an array."""
    place = next((k for k in _beside(key, ID_KEYS) if k in content and k != key), None)
    place = place or _named_otherwise(content, key)
    if place is None:
        return None
    if content[place].unread:
        warnings.warn(
            f'{path}:{place} holds {content[place].unread}. These names are not known', stacklevel=3
        )
        return None
    return strings(np.asarray(content[place].values))


def _named_otherwise(content: dict[str, Found], key: str) -> str | None:
    """The one array of different texts, as many as an axis is long, that is called as names are."""
    group, values = key.rpartition('/')[0], content[key].values
    lengths = np.shape(values[0] if isinstance(values, list) else values)
    found = [
        name
        for name, item in content.items()
        if name.rpartition('/')[0] in (group, '')
        and LIKE_IDS.fullmatch(name.rpartition('/')[2].lower().replace('_', ''))
        and _are_names(item.values)
        and len(item.values) in lengths
    ]
    return found[0] if len(found) == 1 else None


def _are_names(values: Any) -> bool:
    """Whether these are texts in one row, no two the same."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in 'USO':
        return False
    texts = values.tolist()
    return all(isinstance(one, str | bytes) for one in texts) and len(set(texts)) == len(texts)


def _which(content: dict[str, Found], candidates: list[str], path: Path) -> str:
    """That an array must be named, and which ones there are."""
    if candidates:
        held = ', '.join(f'{k} {content[k].describe()}' for k in candidates)
        return f'{path}: which array is meant? It holds {held}; write {path}:KEY'
    others = [f'{k}: {v.unread}' if v.unread else f'{k} {v.describe()}' for k, v in content.items()]
    return f'{path} holds no array of numbers ({"; ".join(others) or "it is empty"})'
