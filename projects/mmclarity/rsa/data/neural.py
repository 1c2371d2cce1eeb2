"""Recordings of brain areas: RDMs or responses, one or many subjects, from common files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmclarity.errors import DataError

from ..rdms.pairs import num_stimuli, unmasked
from ..rdms.rdms import as_array
from .ids import names_of_pictures
from .labels import StimulusTable, average_repeats, match_labels
from .layout import KINDS, Layout, to_rdms
from .readers import Found, read, split_spec
from .readers.found import by_condition
from .readers.tables import frame

__all__ = ['KINDS', 'NeuralArea', 'align', 'common_ids', 'load_neural', 'split_spec']


@dataclass(frozen=True)
class NeuralArea:
    """One area: an RDM of each subject.

    Args:
        name: Of the area.
        rdms: (S, P), condensed, float64.
        ids: Of the stimuli, in the order of the RDMs. None: not known.
        source: File and key, for messages.
        labels: The ids are labels of BIDS: pictures are matched by their letters and digits.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import NeuralArea
        >>> rdm = np.array([[0.2, 0.9, 0.7]])
        >>> area = NeuralArea('V4', rdm, ids=['cat', 'dog', 'car'], source='made up')
        >>> area.rdms.shape
        (1, 3)
    """

    name: str
    rdms: np.ndarray
    ids: list[str] | None
    source: str
    labels: bool = False


def load_neural(
    name: str,
    spec: Any,
    metric: str = 'correlation',
    ids: Sequence[str] | None = None,
    kind: str = 'auto',
    *,
    order: str | None = None,
    similarity: bool | None = None,
    stimuli: str = 'auto',
    count: int | None = None,
    table: StimulusTable | None = None,
) -> NeuralArea:
    """Read an area from a file, or from an array, a pandas frame or rsatoolbox's objects.

    Args:
        name: What the area is called.
        spec: ``file`` or ``file:key`` of an .npz, .npy, .mat (also of version 7.3, struct arrays
            of the RSA toolbox, cell arrays), .h5 (also rsatoolbox's), .csv, .tsv, .nii or .nii.gz,
            or a folder of these, or a pattern of names (the key is a mask then). Or an array, a
            ``DataFrame``, or RDMs or a Dataset of rsatoolbox.
        metric: Dissimilarity of raw responses, see :func:`compute_rdm`.
        ids: Of the stimuli. Defaults to what the file holds under ``ids``, ``stimulus_ids`` or
            ``names``, as names of rows or as rsatoolbox's descriptors, if anything. Of single
            trials (trials, units) the same ids come again: their mean is taken, or all of them by
            metrics that need repetitions.
        kind: What the numbers are, see :class:`Layout`.
        order: Of a vector's pairs. Defaults to None: that of rows.
        similarity: Whether numbers are similarities.
        stimuli: Which axis of responses the stimuli lie on.
        count: How many stimuli there are. Three axes of responses need it, ids, or the kind.
        table: Which picture a label of BIDS, or a volume or row in order, is of. Rows of one
            picture are averaged.

    Raises:
        FileNotFoundError: If the file is missing.
        KeyError: If the key is, or the file holds several arrays and none is named.
        DataError: If what is there is neither, with the file, the key and what to do.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from mmclarity.rsa import load_neural
        >>> responses = np.random.default_rng(0).normal(size=(3, 5, 20))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f'{folder}/it.npz', IT=responses)
        ...     area = load_neural('IT', f'{folder}/it.npz:IT', count=5)  # stimuli
        >>> area.rdms.shape
        (3, 10)
    """
    layout = Layout(kind, order or 'rows', similarity, stimuli, count)
    found, source = _found(spec)
    if kind == 'auto' and found.kind != 'auto':
        layout = replace(layout, kind=found.kind)
    if table is not None and ids is None:
        found = _named(found, table, source, layout.kind)
    known = found.ids if ids is None else [str(i) for i in ids]
    if known is not None and layout.kind in ('auto', 'responses'):
        trials = _by_trial(found.values, known, layout, source)
        if trials is not None:
            values, known = trials
            found = replace(found, values=values)
            layout = replace(layout, kind='repeats', stimuli='first')
    try:
        rdms = to_rdms(found.values, source, layout, metric, None if known is None else len(known))
    except DataError:
        raise
    except ValueError as error:  # which names the source
        raise DataError(str(error)) from error
    _check_order(found.values, source, order)
    total = num_stimuli(rdms.shape[1])
    if known is not None:
        _check_ids(known, total, found.values, source, kind)
    return NeuralArea(name, rdms, known, source, found.labels and ids is None)


def _by_trial(
    values: Any, ids: list[str], layout: Layout, source: str
) -> tuple[np.ndarray, list[str]] | None:
    """Responses (trials, units), whose ids come several times, as (n, units, repeats), and ids.

    None where they are no trials. As many trials as units could be an RDM; then the kind must say.
    """
    if len(set(ids)) == len(ids) or not isinstance(values, np.ndarray) or values.ndim != 2:
        return None
    if values.shape[0] == values.shape[1] and layout.kind == 'auto':
        return None
    last = layout.stimuli == 'last' or (layout.stimuli == 'auto' and len(ids) != len(values))
    trials = values.T if last else values
    if len(ids) != len(trials) or trials.dtype.kind not in 'fiu':
        return None
    return by_condition(trials, dict(ids=ids), source)


def _named(found: Found, table: StimulusTable, source: str, kind: str) -> Found:
    """With the ids that a table of stimuli gives; responses of one picture averaged."""
    parts = found.values if isinstance(found.values, list) else [found.values]
    if found.ids is None:
        ids = table.in_order(_count(np.asarray(parts[0]), kind), source)
    else:
        ids = table.renamed(found.ids, source)
    if len(set(ids)) == len(ids):
        return replace(found, ids=ids, labels=False)
    values = np.asarray(found.values) if not isinstance(found.values, list) else None
    if kind != 'responses' or (values is not None and values.ndim not in (2, 3)):
        twice = next(i for i, times in Counter(ids).items() if times > 1)
        raise DataError(
            f'{source}: {table.path} has the picture {twice!r} several times, and only responses '
            '(stimuli, units) can be averaged; say so (--neural-kind responses)'
        )
    several = isinstance(found.values, list) or (values is not None and values.ndim == 3)
    subjects = list(found.values) if several else [found.values]
    means = [average_repeats(np.asarray(one, np.float64), ids) for one in subjects]
    unique = means[0][1]
    warnings.warn(
        f'{source}: {len(ids)} responses to {len(unique)} pictures ({table.path}); those of one '
        'are averaged',
        stacklevel=3,
    )
    averaged = [one for one, _ in means]
    return replace(found, values=averaged if several else averaged[0], ids=unique, labels=False)


def _count(values: np.ndarray, kind: str) -> int:
    """Stimuli of what has no ids: RDMs or responses, of one subject or, first, several."""
    if values.ndim == 1 or (kind == 'rdm' and values.shape[-1] != values.shape[-2]):
        return num_stimuli(values.shape[-1])
    return values.shape[0 if values.ndim == 2 or kind in ('repeats', 'time') else -2]


def _found(spec: Any) -> tuple[Found, str]:
    """Values and what to call them."""
    if isinstance(spec, str | Path):
        path, key = split_spec(spec)
        found, key = read(path, key)
        return found, f'{path}:{key}' if key and key != 'table' else str(path)
    kind = type(spec).__name__
    if kind == 'DataFrame':
        return frame(spec), 'the frame'
    if hasattr(spec, 'dissimilarities') or hasattr(spec, 'measurements'):
        from .toolbox import found_in

        return found_in(spec), f"rsatoolbox's {kind}"
    if isinstance(spec, torch.Tensor):
        return Found(as_array(spec, 'the tensor')), 'the tensor'
    return Found(spec if _holds_arrays(spec) else np.asarray(unmasked(spec))), 'the array'


def _holds_arrays(item: Any) -> bool:
    """Whether this is a list of arrays, one a subject or session, and not of plain numbers."""
    return isinstance(item, list) and any(
        hasattr(inner, 'shape') or _holds_arrays(inner) for inner in item
    )


def _check_order(values: Any, source: str, order: str | None) -> None:
    """Warn where a file of MATLAB or text holds a vector whose order nobody said."""
    vector = isinstance(values, np.ndarray) and values.ndim == 1
    is_text = re.search(r'\.(mat|csv|tsv)(:|$)', source.lower()) is not None
    if order is None and vector and is_text:
        warnings.warn(
            f'{source} is a condensed RDM, taken in the order of squareform and pdist (rows of '
            'the upper triangle). If it was made by RDM(triu(true(n), 1)), its columns, say '
            "order='columns' (--condensed-order columns)",
            stacklevel=3,
        )


def _check_ids(known: list[str], total: int, values: Any, source: str, kind: str) -> None:
    if len(known) != total:
        remedy = ''
        if isinstance(values, np.ndarray) and values.ndim == 2 and kind == 'auto':
            if len(known) * (len(known) - 1) // 2 == values.shape[1]:
                remedy = '; if its rows are condensed RDMs, say kind="rdm" (--neural-kind rdm)'
            elif len(known) in values.shape:
                remedy = '; say which axis is the stimuli (--stimuli-axis first or last)'
        raise DataError(f'{source}: {len(known)} ids for {total} stimuli{remedy}')
    if len(set(known)) != len(known):
        twice = next(i for i, times in Counter(known).items() if times > 1)
        raise DataError(
            f'{source}: the id {twice!r} comes twice; one row a picture is needed, or responses '
            '(trials, units), whose repeats are averaged (--neural-kind responses)'
        )


def by_picture(area: NeuralArea, stimulus_ids: Sequence[str]) -> NeuralArea:
    """Labels of BIDS, and names of files, as the ids of the pictures they stand for.

    Names of files (``images/face1.png``) are matched as :func:`.ids.names_of_pictures` says.

    Raises:
        DataError: If a label fits several pictures, or several labels fit one.
    """
    if area.ids is None:
        return area
    if area.labels:
        return replace(area, ids=match_labels(area.ids, stimulus_ids, area.source), labels=False)
    return replace(area, ids=names_of_pictures(area.ids, map(str, stimulus_ids)))


def _only_count(ids: Sequence[str]) -> bool:
    """Whether these are 0, 1, 2, ... or 1, 2, 3, ..., as pandas and R number what has no names."""
    return any(list(ids) == [str(i + first) for i in range(len(ids))] for first in (0, 1))


def _some(ids: Sequence[str]) -> str:
    """The first five."""
    return f'{", ".join(ids[:5])}{", ..." if len(ids) > 5 else ""}'


def common_ids(stimulus_ids: Sequence[str], areas: Sequence[NeuralArea]) -> list[str]:
    """The stimuli that all areas have, in the order of the images.

    Areas without ids count as having all. Raises a DataError if fewer than 3 are left.
    """
    shared = [str(i) for i in stimulus_ids]
    areas = [by_picture(area, stimulus_ids) for area in areas]
    for area in areas:
        if area.ids is not None:
            own = set(area.ids)
            shared = [i for i in shared if i in own]
    if len(shared) < 3:
        listed = '; '.join(
            f'{area.name}: {", ".join(area.ids[:3])}, ...' for area in areas if area.ids
        )
        raise DataError(
            f'images and recordings share {len(shared)} stimuli; an RDM needs 3. Images: '
            f'{", ".join(list(stimulus_ids)[:3])}, ...; {listed}'
        )
    return shared


def align(area: NeuralArea, stimulus_ids: Sequence[str], assume_order: bool = False) -> NeuralArea:
    """The area's RDMs over these stimuli in this order.

    Stimuli of the area beyond these are left out.

    Args:
        area: As it was read.
        stimulus_ids: Of the images that networks are shown.
        assume_order: An area without ids, or with none of these, is taken to be in this order, if
            the numbers are equal. Defaults to False.

    Returns:
        The area with these ids.

    Raises:
        ValueError: If an id comes twice or is not among the area's, or it has none and
            the order may not be assumed.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import NeuralArea
        >>> from mmclarity.rsa import align
        >>> rdm = np.array([[0.2, 0.9, 0.7]])
        >>> area = NeuralArea('V4', rdm, ids=['cat', 'dog', 'car'], source='made up')
        >>> align(area, ['car', 'cat', 'dog']).rdms
        array([[0.9, 0.7, 0.2]])
    """
    wanted = [str(i) for i in stimulus_ids]
    stimuli = num_stimuli(area.rdms.shape[1])
    twice = [i for i, count in Counter(wanted).items() if count > 1]
    if twice:
        raise DataError(f'stimulus_ids has {twice[0]!r} several times; give each stimulus one id')
    if area.ids is None:
        if stimuli != len(wanted):
            raise DataError(
                f'{area.source}: area {area.name!r} has {stimuli} stimuli, the images '
                f'are {len(wanted)}; give the ids of its stimuli'
            )
        if not assume_order:
            raise DataError(
                f'{area.source}: area {area.name!r} does not say which stimulus is '
                'which; store the names of the images beside it under the key "ids" (of a table in '
                'the first column), or, if it is in the order of the images, say so with '
                '--assume-order (assume_order=True)'
            )
        return replace(area, ids=wanted)
    area = by_picture(area, wanted)
    place = {stimulus: i for i, stimulus in enumerate(area.ids or ())}
    missing = [i for i in wanted if i not in place]
    if len(missing) == len(wanted):
        if stimuli == len(wanted) and assume_order:
            if not _only_count(area.ids or ()):
                warnings.warn(
                    f'{area.source}: the ids of area {area.name!r} ({_some(area.ids or ())}) name '
                    'none of the images; it is taken to be in their order, as you say',
                    stacklevel=2,
                )
            return replace(area, ids=wanted)
        more = ''
        if stimuli == len(wanted):
            more = '; or, if the recordings are in the order of the images, say --assume-order'
        raise DataError(
            f'{area.source}: area {area.name!r} and the images have no id in common: the '
            f'recordings name {_some(area.ids or ())}, the images {_some(wanted)}. Store the names '
            'of the images under the key "ids", or list the images with the ids of the recordings '
            f'in a table of two columns, id and file (--manifest){more}'
        )
    if missing:
        extra = [i for i in area.ids or () if i not in set(wanted)]
        raise DataError(
            f'{area.source}: area {area.name!r} lacks {len(missing)} of {len(wanted)} stimuli '
            f'({_some(missing)}); it has {_some(extra) or "no other"}. Give both '
            'the same ids, keep what all have (common_ids, --common), or analyse recordings of '
            'other pictures apart and combine the results (inference.combine_results)'
        )
    order = np.array([place[i] for i in wanted])
    rows, columns = np.triu_indices(len(order), 1)
    first, second = np.minimum(order[rows], order[columns]), np.maximum(order[rows], order[columns])
    # Place of the pair (i, j), i < j, in the condensed order of the area.
    pairs = first * (2 * stimuli - first - 1) // 2 + second - first - 1
    return replace(area, rdms=area.rdms[:, pairs], ids=wanted)
