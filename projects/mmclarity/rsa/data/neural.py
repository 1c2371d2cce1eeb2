"""Recordings of brain areas: RDMs or responses, one or many subjects, from common files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..rdms.compute import compute_rdm
from ..rdms.rdms import as_condensed, num_stimuli

KINDS = ('auto', 'rdm', 'responses')
ID_KEYS = ('ids', 'stimulus_ids', 'names')
# Parts of the largest value: below EXACT is rounding; below NEAR may be an RDM with noise.
EXACT, NEAR = 1e-6, 0.1
SUFFIXES = ('.npz', '.npy', '.mat', '.h5', '.hdf5')


@dataclass(frozen=True)
class NeuralArea:
    """One area: an RDM of each subject.

    Args:
        name (str): Of the area.
        rdms (np.ndarray): (S, P), condensed, float64.
        ids (list[str], optional): Of the stimuli, in the order of the RDMs. None: not known.
        source (str): File and key, for messages.
    """

    name: str
    rdms: np.ndarray
    ids: list[str] | None
    source: str


def load_neural(
    name: str,
    spec: str | Path,
    metric: str = 'correlation',
    ids: Sequence[str] | None = None,
    kind: str = 'auto',
) -> NeuralArea:
    """Read an area from a file.

    Args:
        name (str): What the area is called.
        spec (str): ``file`` or ``file:key`` of an .npz, .npy, .mat (also of version 7.3) or .h5.
        metric (str): Dissimilarity of raw responses, see :func:`compute_rdm`.
        ids (Sequence[str], optional): Of the stimuli. Defaults to what the file holds under
            ``ids``, ``stimulus_ids`` or ``names``, if anything.
        kind (str): 'rdm': (n, n), (P,) or a stack of them, with subjects first, or last as
            MATLAB has it, (n, n, subjects); (subjects, sessions, n, n) is averaged over sessions.
            'responses': (n, units) or (subjects, n, units). 'auto': RDMs if they are square,
            symmetric and zero on the diagonal, refused if they are nearly so, else responses; a
            vector is a condensed RDM. Defaults to 'auto'.

    Returns:
        NeuralArea: See there.

    Raises:
        FileNotFoundError: If the file is missing.
        KeyError: If the key is, or the file holds several arrays and none is named.
        ValueError: If what is there is neither, with the file, the key and what to do.
    """
    if kind not in KINDS:
        raise ValueError(f'kind must be one of {", ".join(KINDS)}, got {kind!r}')
    path, key = split_spec(spec)
    values, own_ids, key = _read(path, key)
    source = f'{path}:{key}' if key else str(path)
    if values.dtype.kind not in 'fiu':
        raise ValueError(f'{source} holds {values.dtype}, not real numbers')
    rdms = _as_rdms(np.asarray(values, np.float64), source, kind, metric)
    stimuli = num_stimuli(rdms.shape[1])
    known = own_ids if ids is None else [str(i) for i in ids]
    if known is not None:
        if len(known) != stimuli:
            remedy = (
                '; if its rows are condensed RDMs, say kind="rdm"'
                if (
                    kind == 'auto'
                    and values.ndim == 2
                    and values.shape[1] == len(known) * (len(known) - 1) // 2
                )
                else ''
            )
            raise ValueError(f'{source}: {len(known)} ids for {stimuli} stimuli{remedy}')
        if len(set(known)) != len(known):
            twice = next(i for i in known if known.count(i) > 1)
            raise ValueError(f'{source}: the id {twice!r} comes twice')
    return NeuralArea(name, rdms, known, source)


def split_spec(spec: str | Path) -> tuple[Path, str | None]:
    """``file[:key]``; a colon within the file's name is not taken for one."""
    text = str(spec)
    if Path(text).is_file() or ':' not in text:
        return Path(text), None
    file, key = text.rsplit(':', 1)
    return (Path(file), key) if key else (Path(file), None)


def _as_rdms(values: np.ndarray, source: str, kind: str, metric: str) -> np.ndarray:
    """(S, P) of whatever the file holds."""
    if kind != 'responses' and _subjects_last(values):
        values, kind = np.moveaxis(values, -1, 0), 'rdm'
    square = values.ndim >= 2 and values.shape[-1] == values.shape[-2]
    if kind == 'auto':
        kind = 'rdm' if values.ndim == 1 else _told_apart(values, source) if square else 'responses'
    if kind == 'rdm':
        if values.ndim == 4:
            values = values.mean(1)
        return as_condensed(values, source)
    if values.ndim not in (2, 3):
        raise ValueError(
            f'{source} has shape {values.shape}; responses are (stimuli, units) or '
            '(subjects, stimuli, units)'
        )
    try:
        return np.stack(
            [compute_rdm(one, metric) for one in (values if values.ndim == 3 else values[None])]
        )
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error


def _flaws(squares: np.ndarray) -> tuple[float, float]:
    """Asymmetry and diagonal of (..., n, n), as parts of the largest value."""
    plain = np.nan_to_num(squares)
    scale = np.abs(plain).max(initial=0) or 1.0
    diagonal = np.diagonal(plain, axis1=-2, axis2=-1)
    return (
        np.abs(plain - np.swapaxes(plain, -1, -2)).max(initial=0) / scale,
        np.abs(diagonal).max(initial=0) / scale,
    )


def _subjects_last(values: np.ndarray) -> bool:
    """Whether these are RDMs (n, n, subjects) and not (subjects, n, n)."""
    if values.ndim != 3 or values.shape[0] != values.shape[1]:
        return False
    if values.shape[1] == values.shape[2] and max(_flaws(values)) <= EXACT:
        return False
    return max(_flaws(np.moveaxis(values, -1, 0))) <= EXACT


def _told_apart(values: np.ndarray, source: str) -> str:
    """'rdm' or 'responses', of square matrices that might be either."""
    asymmetry, diagonal = _flaws(values)
    if max(asymmetry, diagonal) <= EXACT:
        return 'rdm'
    # Responses of as many units as stimuli are far from both; RDMs with noise are not.
    if min(asymmetry, diagonal) > NEAR:
        return 'responses'
    flaws = [
        text
        for text, flaw in (('is not symmetric', asymmetry), ('its diagonal is not zero', diagonal))
        if flaw > EXACT
    ]
    raise ValueError(
        f'{source} has shape {values.shape}, and {" and ".join(flaws)}: RDMs or '
        'responses? Say kind="rdm" or kind="responses"'
    )


def _read(path: Path, key: str | None) -> tuple[np.ndarray, list[str] | None, str | None]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file of recordings')
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f'{path}: recordings are read from {", ".join(SUFFIXES)}')
    try:
        if suffix == '.npy':
            if key:
                raise KeyError(f'{path} is one array and has no key {key!r}; leave out ":{key}"')
            return np.load(path, allow_pickle=False), None, None
        content = dict(npz=_npz, mat=_mat).get(suffix[1:], _hdf5)(path)
    # scipy meets a broken .mat with whatever error its reader runs into.
    except (OSError, ValueError, EOFError, IndexError, TypeError, BadZipFile) as error:
        raise ValueError(f'{path} cannot be read as {suffix}: {error}') from error
    if key is None:
        candidates = [
            k
            for k, v in content.items()
            if k.rsplit('/', 1)[-1] not in ID_KEYS
            and v.dtype.kind in 'fiu'
            and v.ndim >= 1
            and v.size > 1
        ]
        if len(candidates) != 1:
            found = ', '.join(f'{k} {content[k].shape}' for k in candidates) or 'none'
            raise KeyError(f'{path}: which array is meant? It holds {found}; write {path}:KEY')
        key = candidates[0]
    if key not in content:
        raise KeyError(f'{path} has no key {key!r}; it holds {", ".join(content)}')
    # Ids stand beside the array, in its group of an HDF5 file, or at the top for all.
    beside = key.rpartition('/')[0]
    places = [
        f'{group}/{k}' if group else k for group in dict.fromkeys((beside, '')) for k in ID_KEYS
    ]
    ids = next((_strings(content[k]) for k in places if k in content and k != key), None)
    return content[key], ids, key


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        found = {}
        for key in file.files:
            try:
                found[key] = file[key]
            except ValueError:  # pickled objects are not read
                continue
        return found


def _mat(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(path, squeeze_me=True)
    except NotImplementedError:  # version 7.3 is HDF5, stored with axes reversed
        return {k: v.T if v.dtype.kind in 'fiu' else v for k, v in _hdf5(path).items()}
    return {k: np.asarray(v) for k, v in content.items() if not k.startswith('__')}


def _hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{path} needs h5py; install it with `pip install h5py`'
        ) from error
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if (
            isinstance(item, h5py.Dataset)
            and item.dtype.kind in 'fiuSUO'
            and not name.startswith('#')
        ):
            found[name] = (
                item.asstr()[()]
                if h5py.check_string_dtype(item.dtype)
                else _texts(file, item)
                if item.dtype == h5py.ref_dtype
                else item[()]
            )

    with h5py.File(path) as file:
        file.visititems(visit)
    return {k: np.asarray(v) for k, v in found.items()}


def _texts(file: Any, item: Any) -> np.ndarray:
    """Texts of a MATLAB 7.3 cell array: references to arrays of character codes."""
    return np.array(
        [
            ''.join(map(chr, np.ravel(file[reference][()])))
            if file[reference].dtype.kind == 'u'
            else str(np.squeeze(file[reference][()]))
            for reference in np.ravel(item[()])
        ]
    )


def _strings(values: np.ndarray) -> list[str]:
    if values.dtype.kind == 'f' and (values == np.round(values)).all():
        values = values.astype(np.int64)  # MATLAB keeps whole numbers as floats: 1, not '1.0'
    return [(v.decode() if isinstance(v, bytes) else str(v)).strip() for v in values.ravel()]


def align(area: NeuralArea, stimulus_ids: Sequence[str], assume_order: bool = False) -> NeuralArea:
    """The area's RDMs over these stimuli in this order.

    Stimuli of the area beyond these are left out.

    Args:
        area (NeuralArea): As it was read.
        stimulus_ids (Sequence[str]): Of the images that networks are shown.
        assume_order (bool): An area without ids is taken to be in this order, if the numbers are
            equal. Defaults to False.

    Returns:
        NeuralArea: With these ids.

    Raises:
        ValueError: If an id comes twice or is not among the area's, or it has none and
            the order may not be assumed.
    """
    wanted = [str(i) for i in stimulus_ids]
    stimuli = num_stimuli(area.rdms.shape[1])
    twice = [i for i, count in Counter(wanted).items() if count > 1]
    if twice:
        raise ValueError(f'stimulus_ids has {twice[0]!r} several times; give each stimulus one id')
    if area.ids is None:
        if stimuli != len(wanted):
            raise ValueError(
                f'{area.source}: area {area.name!r} has {stimuli} stimuli, the images '
                f'are {len(wanted)}; give the ids of its stimuli'
            )
        if not assume_order:
            raise ValueError(
                f'{area.source}: area {area.name!r} does not say which stimulus is '
                'which; store their ids under the key "ids", or, if they are in the '
                'order of the images, say so with assume_order'
            )
        return replace(area, ids=wanted)
    place = {stimulus: i for i, stimulus in enumerate(area.ids)}
    missing = [i for i in wanted if i not in place]
    if missing:
        extra = [i for i in area.ids if i not in set(wanted)]
        raise ValueError(
            f'{area.source}: area {area.name!r} lacks {len(missing)} of {len(wanted)} stimuli '
            f'({", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}); it has '
            f'{", ".join(extra[:5]) or "no other"}{", ..." if len(extra) > 5 else ""}. Give both '
            'the same ids'
        )
    order = np.array([place[i] for i in wanted])
    rows, columns = np.triu_indices(len(order), 1)
    first, second = np.minimum(order[rows], order[columns]), np.maximum(order[rows], order[columns])
    # Place of the pair (i, j), i < j, in the condensed order of the area.
    pairs = first * (2 * stimuli - first - 1) // 2 + second - first - 1
    return replace(area, rdms=area.rdms[:, pairs], ids=wanted)
