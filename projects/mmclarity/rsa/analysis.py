"""One representational similarity analysis: layers of a network beside areas of a brain.

The chain is Kriegeskorte, Mur and Bandettini (Front. Syst. Neurosci. 2008): responses to the same
n stimuli become n x n dissimilarity matrices (RDMs), and RDMs are correlated. Inference follows
Nili et al. (PLoS Comput. Biol. 2014): a layer's score is the mean of its correlations with each
subject's RDM, which is what makes it comparable to the noise ceiling.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .data.neural import NeuralArea
from .inference.noise_ceiling import NoiseCeiling, noise_ceiling
from .inference.significance import bootstrap, fdr, permutation_test
from .rdms.compute import METRICS
from .rdms.pairs import num_stimuli
from .rdms.rdms import RDMs, as_condensed
from .recording import network_rdms
from .renamed import warn_renamed
from .result import (
    POOLINGS,
    RESAMPLED,
    Comparison,
    RSAResult,
    RSASettings,
    settings_dict,
    settings_from,
)
from .similarity.compare import ALL_METHODS, METHODS, compare_rdms, present_subjects

__all__ = [
    'ALL_METHODS',
    'METHODS',
    'METRICS',
    'POOLINGS',
    'RESAMPLED',
    'Comparison',
    'RSAResult',
    'RSASettings',
    'analyse',
    'network_rdms',
    'settings_dict',
    'settings_from',
]


def analyse(
    layer_rdms: Mapping[str, Any] | RDMs,
    areas: Sequence[NeuralArea],
    settings: RSASettings | None = None,
    untrained_rdms: Mapping[str, Any] | RDMs | None = None,
    ids: Sequence[str] | None = None,
    meta: Mapping[str, Any] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    baseline_rdms: Mapping[str, Any] | None = None,
) -> RSAResult:
    """Compare every layer of a network with every area.

    Pairs of stimuli that a subject lacks are NaN in its RDM and count for the other subjects. A
    layer whose RDM is NaN throughout has no scores (NaN); those of the others are as without it.

    Args:
        layer_rdms: RDM of each layer, condensed or square, in network order; or named RDMs.
        areas: RDMs (S, P) of each area's subjects, aligned to the stimuli of the network (see
            :func:`neural.align`).
        settings: Spearman without inference if they are not given.
        untrained_rdms: The same layers of the network with random weights.
        ids: Stimuli of the layers. Areas that carry ids must have the same ones in the same
            order. Those of the first area that has any, if they are not given.
        meta: Kept in the result.
        groups: Of the stimuli, in the order of the ids. Pairs of one group, such as two frames of
            a movie, never count; whole groups are drawn in bootstraps.
        baseline_rdms: Old name of ``untrained_rdms``.

    Returns:
        See there.

    Raises:
        ValueError: If there is no layer or no area, no layer has an RDM, numbers or ids of stimuli
            differ, a name comes twice, or the untrained network has other layers.
        TypeError: If an area is not a :class:`NeuralArea`.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import NeuralArea, compute_rdm
        >>> from mmclarity.rsa import analyse
        >>> rng = np.random.default_rng(0)
        >>> answers = rng.normal(size=(12, 40))
        >>> rdms = {'early': compute_rdm(answers), 'late': compute_rdm(rng.normal(size=(12, 40)))}
        >>> recorded = compute_rdm(answers + rng.normal(size=(12, 40)))
        >>> result = analyse(rdms, [NeuralArea('V1', recorded[None], ids=None, source='made up')])
        >>> result.best_layer('V1')[0]
        'early'
    """
    if baseline_rdms is not None:
        warn_renamed('baseline_rdms', 'untrained_rdms')
        untrained_rdms = baseline_rdms
    settings = settings or RSASettings()
    rdms = _stack(layer_rdms, 'layer_rdms', groups)
    known_ids = _common_ids(areas, ids, rdms.num_stimuli)
    stacks = _area_stacks(areas, rdms.num_stimuli, rdms.groups)
    layers = list(rdms.names or ())
    models, untrained = rdms, None
    if untrained_rdms is not None:
        untrained = _untrained_stack(untrained_rdms, rdms)
        models = RDMs(np.concatenate([rdms.condensed, untrained]), groups=rdms.groups)
    result = RSAResult(
        ids=known_ids,
        layers=layers,
        areas=list(stacks),
        scores=np.empty((len(layers), len(stacks))),
        ceilings={},
        settings=settings,
        rdms=rdms.condensed.copy(),
        area_rdms={name: stack.condensed.copy() for name, stack in stacks.items()},
        untrained_rdms=untrained,
        groups=None if rdms.groups is None else list(rdms.groups),
        meta=dict(meta or {}),
    )
    _infer(result, models, stacks)
    return result


def _infer(result: RSAResult, models: RDMs, stacks: Mapping[str, RDMs]) -> None:
    """Scores, ceilings, intervals and p of all models, the layers first, put into a result."""
    settings, layers = result.settings, len(result.layers)
    scores, intervals, p = [], [], []
    known = np.isfinite(models.condensed).any(1)
    if not known[:layers].any():
        raise ValueError('layer_rdms: all dissimilarities of all layers are NaN')
    alike = _constant_models(models.condensed)
    for these, why in (
        (~known, 'there is no RDM (NaN), and no score (N/A)'),
        (alike, 'the answer is the same to every stimulus, so that there is no score (N/A)'),
    ):
        if these.any():
            warnings.warn(f'{", ".join(_names(result.layers, these))}: {why}', stacklevel=3)
    if not known.all():  # what is not there costs the others nothing
        models = RDMs(models.condensed[known], groups=models.groups)
    for name, stack in stacks.items():
        subjects = RDMs(present_subjects(stack.condensed, f'area {name!r}'), groups=stack.groups)
        equal = _say_gaps(name, models, subjects)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', '.* pairs are NaN in some RDM')  # said for the area
            # Averaging over subjects passes NaN on: a layer whose RDM is constant has no score.
            if alike.any() or equal:  # said already, by name
                warnings.filterwarnings('ignore', 'RDM\\(s\\) .* of [ab] are constant')
                warnings.filterwarnings('ignore', 'all RDMs of a or all of b are constant')
            found = compare_rdms(models, subjects, settings.method).mean(axis=1)
            scores.append(_placed(found, known))
            result.ceilings[name] = _ceiling(name, subjects, settings)
            if settings.bootstraps:
                limits, comparison = _intervals(name, models, subjects, layers, settings, known)
                intervals.append(limits)
                if comparison is not None:
                    result.differences[name] = comparison
            if settings.permutations:
                found = permutation_test(
                    models,
                    subjects,
                    settings.method,
                    num_permutations=settings.permutations,
                    seed=settings.seed,
                )
                p.append(_placed(found, known))
    trained, result.untrained_scores = _split(scores, layers)
    assert trained is not None  # there is an area
    result.scores = trained
    result.intervals, result.untrained_intervals = _split(intervals, layers)
    result.p, result.untrained_p = _split(p, layers)
    if result.p is not None:
        result.q = fdr(result.p)


def _say_gaps(area: str, models: RDMs, subjects: RDMs) -> bool:
    """Warn, once for an area, of pairs that some RDM lacks, and of subjects that tell none apart.

    Returns:
        Whether there are any such subjects.
    """
    counted = subjects.counted
    unknown = np.isnan(models.condensed).any(0) | np.isnan(subjects.condensed).any(0)
    if unknown[counted].any():
        warnings.warn(
            f'area {area!r}: {int(unknown[counted].sum())} of {int(counted.sum())} pairs are NaN '
            'in some RDM and left out wherever it is compared',
            stacklevel=4,
        )
    equal = np.flatnonzero(_constant_models(subjects.condensed))
    if equal.size:
        warnings.warn(
            f'area {area!r}: all dissimilarities of subject(s) {", ".join(map(str, equal))} '
            '(counted from 0) are equal, so that the area has no score (N/A); leave them out',
            stacklevel=4,
        )
    return bool(equal.size)


def _ceiling(area: str, subjects: RDMs, settings: RSASettings) -> NoiseCeiling:
    """The noise ceiling of an area, whose name stands in what is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        found = noise_ceiling(subjects, settings.method, settings.pooling)
    if found.warning:
        warnings.warn(f'area {area!r}: {found.warning}', stacklevel=4)
    return found


def _constant_models(rdms: np.ndarray) -> np.ndarray:
    """(M,) whether all known dissimilarities of a model, of which there is one, are equal."""
    return np.array(
        [bool(len(known) and (known == known[0]).all()) for known in _finite_rows(rdms)]
    )


def _finite_rows(rdms: np.ndarray) -> Iterator[np.ndarray]:
    return (row[np.isfinite(row)] for row in rdms)


def _names(layers: Sequence[str], these: np.ndarray) -> list[str]:
    """Names of those of the models (M,), trained and then untrained."""
    names = [*layers, *(f'{layer} (untrained)' for layer in layers)]
    return [name for name, chosen in zip(names, these) if chosen]


def _placed(found: np.ndarray, known: np.ndarray, axes: int = 1) -> np.ndarray:
    """What was found for the known models (along the first axes), NaN in the places of others."""
    if known.all():
        return found
    table = np.full((len(known),) * axes + found.shape[axes:], np.nan)
    table[np.ix_(*[known] * axes)] = found
    return table


def _stack(rdms: Mapping[str, Any] | RDMs, name: str, groups: Sequence[Any] | None = None) -> RDMs:
    """The layers as one stack with their names."""
    if isinstance(rdms, RDMs):
        if rdms.names is None:
            raise ValueError(f'{name} have no names; give them by RDMs.of(..., names=[...])')
        return rdms if groups is None else RDMs.of(rdms, groups=groups)
    if not rdms:
        raise ValueError(f'{name} is empty: name at least one layer to analyse')
    rows = {}
    for layer, rdm in rdms.items():
        row = as_condensed(rdm, name=f'{name}[{layer!r}]')
        if len(row) != 1:
            raise ValueError(f'{name}[{layer!r}] holds {len(row)} RDMs; a layer has one')
        rows[layer] = row[0]
    sizes = {layer: len(row) for layer, row in rows.items()}
    if len(set(sizes.values())) > 1:
        listed = ', '.join(f'{layer}: {num_stimuli(size)}' for layer, size in sizes.items())
        raise ValueError(
            f'{name}: the numbers of stimuli differ ({listed}); show every layer the same stimuli'
        )
    return RDMs(np.stack(list(rows.values())), names=tuple(rows), groups=_texts(groups))


def _texts(items: Sequence[Any] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(str(item) for item in items)


def _area_stacks(
    areas: Sequence[NeuralArea], stimuli: int, groups: Sequence[Any] | None
) -> dict[str, RDMs]:
    """(S, P) by area name, every one with the layers' number of stimuli."""
    if not areas:
        raise ValueError('areas is empty: give at least one area to compare the layers with')
    stacks: dict[str, RDMs] = {}
    for area in areas:
        if not isinstance(area, NeuralArea):
            raise TypeError(
                f'areas must hold NeuralArea, got {type(area).__name__}; read files '
                'with load_neural'
            )
        if area.name in stacks:
            raise ValueError(f'two areas are named {area.name!r}; give each its own name')
        rdms = as_condensed(area.rdms, name=f'area {area.name!r} ({area.source})')
        count = num_stimuli(rdms.shape[1])
        if count != stimuli:
            raise ValueError(
                f'area {area.name!r} ({area.source}) has {count} stimuli but the '
                f'layers have {stimuli}; show the network the stimuli of the '
                'recording, or match them by id with align()'
            )
        stacks[area.name] = RDMs(rdms, groups=_texts(groups))
    return stacks


def _untrained_stack(rdms: Mapping[str, Any] | RDMs, trained: RDMs) -> np.ndarray:
    """(L, P) in the order of the layers."""
    stack = _stack(rdms, 'untrained_rdms')
    layers = trained.names or ()
    if set(stack.names or ()) != set(layers):
        different = ', '.join(sorted(set(stack.names or ()) ^ set(layers)))
        raise ValueError(
            f'untrained_rdms has other layers than layer_rdms: {different}; record '
            'the untrained network with the same layer names'
        )
    if stack.num_stimuli != trained.num_stimuli:
        raise ValueError(
            f'untrained_rdms has {stack.num_stimuli} stimuli, layer_rdms '
            f'{trained.num_stimuli}; show both networks the same stimuli'
        )
    return stack.pick(layers).condensed


def _common_ids(areas: Sequence[NeuralArea], ids: Sequence[str] | None, stimuli: int) -> list[str]:
    """The ids of all RDMs; numbers where nobody knows any."""
    known, owner = (list(ids), 'the stimuli of the network') if ids is not None else (None, '')
    for area in areas:
        if not isinstance(area, NeuralArea) or area.ids is None:
            continue
        if known is None:
            known, owner = list(area.ids), f'area {area.name!r} ({area.source})'
        elif list(area.ids) != known:
            raise ValueError(
                f'the ids of area {area.name!r} ({area.source}) are not those of '
                f'{owner}, or stand in another order; match them with align() first'
            )
    if known is None:
        return [str(i) for i in range(stimuli)]
    if len(known) != stimuli:
        raise ValueError(f'{owner}: {len(known)} ids for RDMs of {stimuli} stimuli')
    return [str(item) for item in known]


def _intervals(
    area: str,
    models: RDMs,
    subjects: RDMs,
    layers: int,
    settings: RSASettings,
    known: np.ndarray,
) -> tuple[np.ndarray, Comparison | None]:
    """Limits (M, 2) of all models of one area and their paired differences.

    ``models`` are those of the M that are ``known``; the others have NaN.
    """
    over = settings.bootstrap_over
    if len(subjects) == 1 and over != 'stimuli':
        if over == 'subjects':
            warnings.warn(
                f'area {area!r} has one subject: subjects cannot be resampled, so there '
                "are no intervals; use bootstrap_over='stimuli'",
                stacklevel=3,
            )
            return np.full((len(known), 2), np.nan), None
        warnings.warn(f'area {area!r} has one subject: only stimuli are resampled', stacklevel=3)
        over = 'stimuli'
    result = bootstrap(
        models,
        subjects,
        settings.method,
        over=over,
        num_samples=settings.bootstraps,
        seed=settings.seed,
        ceiling=False,
    )
    paired = result.paired_differences(settings.level)
    difference, interval, p = (
        _placed(table, known, axes=2) for table in (paired.difference, paired.interval, paired.p)
    )
    own = slice(0, layers)
    comparison = Comparison(difference[own, own], interval[own, own], p[own, own])
    if len(known) > layers:
        trained, untrained = np.arange(layers), np.arange(layers, len(known))
        comparison = replace(
            comparison,
            gain=difference[trained, untrained],
            gain_interval=interval[trained, untrained],
            gain_p=p[trained, untrained],
        )
    return _placed(result.interval(settings.level), known), comparison


def _split(columns: list[np.ndarray], layers: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Per-area columns (M, ...) to (L, A, ...) of the network, trained and untrained."""
    if not columns:
        return None, None
    table = np.stack(columns, axis=1)
    return table[:layers], table[layers:] if len(table) > layers else None
