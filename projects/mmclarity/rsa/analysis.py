"""One representational similarity analysis: layers of a network beside areas of a brain.

The chain is Kriegeskorte, Mur and Bandettini (Front. Syst. Neurosci. 2008): responses to the same
n stimuli become n x n dissimilarity matrices (RDMs), and RDMs are correlated. Inference follows
Nili et al. (PLoS Comput. Biol. 2014): a layer's score is the mean of its correlations with each
subject's RDM, which is what makes it comparable to the noise ceiling.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .data.neural import NeuralArea
from .inference.noise_ceiling import NoiseCeiling, noise_ceiling
from .inference.significance import bootstrap, fdr, permutation_test
from .models.recorder import FeatureRecorder
from .rdms.accumulator import RDMAccumulator
from .rdms.compute import METRICS
from .rdms.memory import Slabs
from .rdms.rdms import as_condensed, num_stimuli
from .similarity.compare import METHODS, compare_rdms

if TYPE_CHECKING:
    from .data.stimuli import StimulusSet

POOLINGS = ('rank', 'mean')
RESAMPLED = ('stimuli', 'subjects', 'both')


@dataclass(frozen=True)
class RSASettings:
    """How an analysis is done; written into every output.

    Args:
        metric (str): Dissimilarity of two response patterns, one of :data:`rdm.METRICS`.
        method (str): Comparison of two RDMs, one of :data:`compare.METHODS`.
        pooling (str): How subjects are pooled for the noise ceiling: 'rank' (ranked first, as
            rsatoolbox has it) or 'mean' (of the raw dissimilarities).
        bootstraps (int): Resamplings behind the intervals; 0: no intervals.
        bootstrap_over (str): What is resampled: 'stimuli', 'subjects' or 'both'.
        permutations (int): Permutations of stimulus labels behind the p values; 0: none.
        seed (int): Of bootstraps and permutations.
        level (float): Coverage of the intervals, in (0, 1).

    Raises:
        ValueError: If a setting has a value it cannot have.
        TypeError: If a count is not an integer.
    """

    metric: str = 'correlation'
    method: str = 'spearman'
    pooling: str = 'rank'
    bootstraps: int = 0
    bootstrap_over: str = 'stimuli'
    permutations: int = 0
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        choices = dict(metric=METRICS, method=METHODS, pooling=POOLINGS, bootstrap_over=RESAMPLED)
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f'{name}={getattr(self, name)!r} is unknown; choose one of {", ".join(allowed)}'
                )
        for name in ('bootstraps', 'permutations', 'seed'):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f'{name} must be an integer, got {value!r}')
            if value < 0:
                raise ValueError(f'{name} must be 0 or more, got {value}')
        if not 0 < self.level < 1:
            raise ValueError(f'level must lie between 0 and 1, got {self.level}')


@dataclass(frozen=True)
class Comparison:
    """Paired differences within one area, from one bootstrap of all layers together.

    Args:
        layers (np.ndarray): (L, L), score of the row's layer minus the column's.
        layers_interval (np.ndarray): (L, L, 2), limits of it.
        layers_p (np.ndarray): (L, L), two-sided p.
        gain (np.ndarray, optional): (L,), trained minus untrained.
        gain_interval (np.ndarray, optional): (L, 2), limits of it.
        gain_p (np.ndarray, optional): (L,), two-sided p.
    """

    layers: np.ndarray
    layers_interval: np.ndarray
    layers_p: np.ndarray
    gain: np.ndarray | None = None
    gain_interval: np.ndarray | None = None
    gain_p: np.ndarray | None = None


@dataclass
class RSAResult:
    """Everything an analysis found; L layers, A areas, n stimuli, P = n(n-1)/2 pairs.

    Args:
        ids (list[str]): The n stimuli, in the order of all RDMs.
        layers (list[str]): Names, in network order.
        areas (list[str]): Names.
        scores (np.ndarray): (L, A), mean over an area's subjects of the correlation with the
            layer; NaN where a correlation is undefined.
        intervals (np.ndarray, optional): (L, A, 2), lower and upper bootstrap limit.
        p (np.ndarray, optional): (L, A), one-sided permutation p, uncorrected.
        q (np.ndarray, optional): (L, A), p after Benjamini-Hochberg over all layers and areas.
        ceilings (dict[str, NoiseCeiling]): By area.
        baseline_scores (np.ndarray, optional): (L, A), of the untrained twin.
        baseline_intervals (np.ndarray, optional): (L, A, 2).
        baseline_p (np.ndarray, optional): (L, A).
        differences (dict[str, Comparison]): By area; empty without bootstraps.
        settings (RSASettings): How it was done.
        rdms (np.ndarray): (L, P), of the layers.
        area_rdms (dict[str, np.ndarray]): (S, P) by area.
        baseline_rdms (np.ndarray, optional): (L, P), of the untrained twin.
        meta (dict): What else is worth keeping (model, checkpoint, epoch); values JSON can hold.
    """

    ids: list[str]
    layers: list[str]
    areas: list[str]
    scores: np.ndarray
    ceilings: dict[str, NoiseCeiling]
    settings: RSASettings
    rdms: np.ndarray
    area_rdms: dict[str, np.ndarray]
    intervals: np.ndarray | None = None
    p: np.ndarray | None = None
    q: np.ndarray | None = None
    baseline_scores: np.ndarray | None = None
    baseline_intervals: np.ndarray | None = None
    baseline_p: np.ndarray | None = None
    baseline_rdms: np.ndarray | None = None
    differences: dict[str, Comparison] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def scalars(self) -> dict[str, float]:
        """Scores as ``rsa/<area>/<layer>``, ceilings as ``rsa/<area>/ceiling_lower|upper``.

        The untrained twin's are ``rsa/<area>/<layer>/untrained``. Undefined scores and ceilings
        of areas with one subject are left out: they are not numbers.
        """
        found = {}
        for column, area in enumerate(self.areas):
            for row, layer in enumerate(self.layers):
                found[f'rsa/{area}/{layer}'] = self.scores[row, column]
                if self.baseline_scores is not None:
                    found[f'rsa/{area}/{layer}/untrained'] = self.baseline_scores[row, column]
            ceiling = self.ceilings[area]
            for bound in ('lower', 'upper'):
                if getattr(ceiling, bound) is not None:
                    found[f'rsa/{area}/ceiling_{bound}'] = getattr(ceiling, bound)
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def best_layer(self, area: str) -> tuple[str, float] | None:
        """The layer most like an area and its score; None if every score is undefined."""
        column = self.scores[:, self.areas.index(area)]
        if np.isnan(column).all():
            return None
        row = int(np.nanargmax(column))
        return self.layers[row], float(column[row])


def analyse(
    layer_rdms: Mapping[str, np.ndarray],
    areas: Sequence[NeuralArea],
    settings: RSASettings | None = None,
    baseline_rdms: Mapping[str, np.ndarray] | None = None,
    ids: Sequence[str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> RSAResult:
    """Compare every layer of a network with every area.

    Args:
        layer_rdms (Mapping): RDM of each layer, condensed or square, in network order.
        areas (Sequence[NeuralArea]): RDMs (S, P) of each area's subjects, aligned to the stimuli
            of the network (see :func:`neural.align`).
        settings (RSASettings, optional): Defaults to Spearman without inference.
        baseline_rdms (Mapping, optional): The same layers of an untrained twin.
        ids (Sequence[str], optional): Stimuli of the layers. Areas that carry ids must have the
            same ones in the same order. Defaults to those of the first area that has any.
        meta (Mapping, optional): Kept in the result.

    Returns:
        RSAResult: See there.

    Raises:
        ValueError: If there is no layer or no area, numbers or ids of stimuli differ, a name comes
            twice, or the baseline has other layers.
        TypeError: If an area is not a :class:`NeuralArea`.
    """
    settings = settings or RSASettings()
    layers, rdms = _stack(layer_rdms, 'layer_rdms')
    stimuli = num_stimuli(rdms.shape[1])
    stacks = _area_stacks(areas, stimuli)
    baseline = None
    if baseline_rdms is not None:
        baseline = _baseline_stack(baseline_rdms, layers, stimuli)
    models = rdms if baseline is None else np.concatenate([rdms, baseline])
    result = RSAResult(
        ids=_common_ids(areas, ids, stimuli),
        layers=layers,
        areas=list(stacks),
        scores=np.empty((len(layers), len(stacks))),
        ceilings={},
        settings=settings,
        rdms=rdms,
        area_rdms=stacks,
        baseline_rdms=baseline,
        meta=dict(meta or {}),
    )
    scores, intervals, p = [], [], []
    for name, subjects in stacks.items():
        # Averaging over subjects passes NaN on: a layer whose RDM is constant has no score.
        scores.append(compare_rdms(models, subjects, settings.method).mean(axis=1))
        result.ceilings[name] = noise_ceiling(subjects, settings.method, settings.pooling)
        if settings.bootstraps:
            limits, comparison = _intervals(name, models, subjects, len(layers), settings)
            intervals.append(limits)
            if comparison is not None:
                result.differences[name] = comparison
        if settings.permutations:
            p.append(
                permutation_test(
                    models,
                    subjects,
                    settings.method,
                    num_permutations=settings.permutations,
                    seed=settings.seed,
                )
            )
    result.scores, result.baseline_scores = _split(scores, len(layers))
    result.intervals, result.baseline_intervals = _split(intervals, len(layers))
    result.p, result.baseline_p = _split(p, len(layers))
    if result.p is not None:
        result.q = fdr(result.p)
    return result


def _stack(rdms: Mapping[str, np.ndarray], name: str) -> tuple[list[str], np.ndarray]:
    """Layer names and their RDMs (L, P)."""
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
    return list(rows), np.stack(list(rows.values()))


def _area_stacks(areas: Sequence[NeuralArea], stimuli: int) -> dict[str, np.ndarray]:
    """(S, P) by area name, every one with the layers' number of stimuli."""
    if not areas:
        raise ValueError('areas is empty: give at least one area to compare the layers with')
    stacks: dict[str, np.ndarray] = {}
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
        stacks[area.name] = rdms
    return stacks


def _baseline_stack(rdms: Mapping[str, np.ndarray], layers: list[str], stimuli: int) -> np.ndarray:
    names, stack = _stack(rdms, 'baseline_rdms')
    if set(names) != set(layers):
        different = ', '.join(sorted(set(names) ^ set(layers)))
        raise ValueError(
            f'baseline_rdms has other layers than layer_rdms: {different}; record '
            'the untrained twin with the same layer names'
        )
    if num_stimuli(stack.shape[1]) != stimuli:
        raise ValueError(
            f'baseline_rdms has {num_stimuli(stack.shape[1])} stimuli, layer_rdms '
            f'{stimuli}; show both networks the same stimuli'
        )
    return stack[[names.index(layer) for layer in layers]]


def _common_ids(areas: Sequence[NeuralArea], ids: Sequence[str] | None, stimuli: int) -> list[str]:
    """The ids of all RDMs; numbers where nobody knows any."""
    known, owner = (list(ids), 'the stimuli of the network') if ids is not None else (None, '')
    for area in areas:
        if area.ids is None:
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
    area: str, models: np.ndarray, subjects: np.ndarray, layers: int, settings: RSASettings
) -> tuple[np.ndarray, Comparison | None]:
    """Limits (M, 2) of all models of one area and their paired differences."""
    over = settings.bootstrap_over
    if len(subjects) == 1 and over != 'stimuli':
        if over == 'subjects':
            warnings.warn(
                f'area {area!r} has one subject: subjects cannot be resampled, so there '
                "are no intervals; use bootstrap_over='stimuli'",
                stacklevel=3,
            )
            return np.full((len(models), 2), np.nan), None
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
    own = slice(0, layers)
    comparison = Comparison(
        paired.difference[own, own], paired.interval[own, own], paired.p[own, own]
    )
    if len(models) > layers:
        trained, untrained = np.arange(layers), np.arange(layers, len(models))
        comparison = Comparison(
            comparison.layers,
            comparison.layers_interval,
            comparison.layers_p,
            paired.difference[trained, untrained],
            paired.interval[trained, untrained],
            paired.p[trained, untrained],
        )
    return result.interval(settings.level), comparison


def _split(columns: list[np.ndarray], layers: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Per-area columns (M, ...) to (L, A, ...) of the network and of its twin."""
    if not columns:
        return None, None
    table = np.stack(columns, axis=1)
    return table[:layers], table[layers:] if len(table) > layers else None


def network_rdms(
    model: nn.Module,
    layers: Sequence[str],
    stimuli: StimulusSet,
    metric: str = 'correlation',
    batch_size: int = 32,
    device: torch.device | str | None = None,
    spill_dir: str | None = None,
    forward: Callable[[torch.Tensor], Any] | None = None,
    *,
    pool: str | None = None,
    exact: bool = False,
    memory: Slabs | None = None,
) -> dict[str, np.ndarray]:
    """Show the stimuli to a network and make the RDM of each layer.

    Args:
        model (nn.Module): Called with a batch of images (b, 3, H, W). Its train mode, statistics
            and place are as before afterwards.
        layers (Sequence[str]): Names or regular expressions, see :class:`FeatureRecorder`.
        stimuli (StimulusSet): The n images.
        metric (str): 'correlation', 'euclidean' or 'cosine': a network gives no repetitions, which
            the others need. Defaults to 'correlation'.
        batch_size (int): Images shown at once. Defaults to 32.
        device (optional): Where the model is run; it is moved back afterwards. Defaults to where
            it is.
        spill_dir (str, optional): Folder for what does not fit in memory.
        forward (Callable, optional): Called with the images, where only a part of ``model`` is to
            see them. Defaults to ``model``.
        pool: None, 'mean' or 'cls', see :class:`FeatureRecorder`.
        exact: Products in float64, see :class:`RDMAccumulator`; else within 1e-6 of it.
        memory: Where responses are kept. Who shows the stimuli to several networks shares it: the
            next one need not wait for the system. Defaults to its own.

    Returns:
        dict[str, np.ndarray]: Condensed RDM (P,) by layer, in network order.

    Raises:
        KeyError: If a layer is unknown.
        ValueError: If fewer than 3 stimuli are given, a response is constant or not finite, or
            the metric needs repetitions.
    """
    if batch_size < 1:
        raise ValueError(f'batch_size must be 1 or more, got {batch_size}')
    if metric in ('mahalanobis', 'crossnobis'):
        raise ValueError(
            f'metric={metric!r} needs repeated measurements, and a network responds '
            'the same each time; choose correlation, euclidean or cosine'
        )
    parameter = next(model.parameters(), None)
    home = torch.device('cpu') if parameter is None else parameter.device
    device = home if device is None else torch.device(device)
    recorder = FeatureRecorder(model, layers, pool)
    memory = memory or Slabs()
    accumulators = {
        name: RDMAccumulator(metric, spill_dir, exact=exact, memory=memory)
        for name in recorder.names
    }
    with ExitStack() as stack:
        if device != home:  # A network spread over several devices is left as it is.
            stack.callback(model.to, home)
            model.to(device)
        for accumulator in accumulators.values():
            stack.callback(accumulator.close)
        # Convolutions on the CPU take half the time where channels come last.
        batches = (
            images.to(device, memory_format=torch.channels_last)
            for _, images in stimuli.batches(batch_size)
        )
        keep = lambda name, block: accumulators[name].update(block)  # noqa: E731
        for _ in recorder.record(forward or recorder.model, batches, keep):
            pass
        rdms = {}
        for name, accumulator in accumulators.items():
            try:
                rdms[name] = accumulator.result()
            except ValueError as error:
                raise ValueError(f'layer {name!r}: {error}') from error
            accumulator.close()
    return rdms


def settings_dict(settings: RSASettings) -> dict[str, Any]:
    """Settings as JSON can hold them."""
    return asdict(settings)


def settings_from(values: Mapping[str, Any]) -> RSASettings:
    """Settings from :func:`settings_dict`; unknown names are refused with the known ones."""
    known = [item.name for item in fields(RSASettings)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f'unknown settings {", ".join(unknown)}; known are {", ".join(known)}')
    return RSASettings(**values)
