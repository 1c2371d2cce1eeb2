"""Options of the training hook, in groups, and where those of earlier versions belong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..renamed import warn_renamed
from ..result import RSASettings, settings_from

FIGURES = ('end', 'each', 'none')
STIMULI = ('folder', 'manifest', 'size', 'mean', 'std', 'background')
# Flat names of earlier versions: the group each belongs to, and its name there.
RENAMED = {
    'manifest': ('stimuli', 'manifest'),
    'size': ('stimuli', 'size'),
    'module': ('layers', 'module'),
    'batch_size': ('layers', 'batch_size'),
    'baseline': ('layers', 'untrained'),
    'interval': ('output', 'interval'),
    'by_epoch': ('output', 'by_epoch'),
    'at_start': ('output', 'at_start'),
    'figures': ('output', 'figures'),
    'out_dir': ('output', 'folder'),
    **{
        name: ('settings', name)
        for name in (
            'metric',
            'method',
            'pooling',
            'bootstraps',
            'bootstrap_over',
            'permutations',
            'seed',
            'level',
        )
    },
}


@dataclass(frozen=True)
class Shown:
    """Which part of the model is shown the stimuli, and whose answers are taken.

    Args:
        names: Layers: names or regular expressions of the model's submodules.
        module: Part of the model that is called with the images. Its ``backbone`` or
            ``generator``, else its ``network``, else all of it, if it is not given.
        untrained: Also the network with random weights, once.
        batch_size: Stimuli shown at once.
    """

    names: Sequence[str]
    module: str | None = None
    untrained: bool = True
    batch_size: int = 32


@dataclass(frozen=True)
class Output:
    """When the network is analysed, and what is kept of it.

    Args:
        interval: Epochs (iterations) between analyses.
        by_epoch: Count epochs, not iterations.
        at_start: Also before the first epoch.
        figures: 'end' of training, 'each' analysis, or 'none'.
        folder: Instead of ``WORK_DIR/rsa``.
    """

    interval: int = 1
    by_epoch: bool = True
    at_start: bool = True
    figures: str = 'end'
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f'interval must be 1 or more, got {self.interval}')
        if self.figures not in FIGURES:
            raise ValueError(f'figures must be one of {", ".join(FIGURES)}, got {self.figures!r}')


@dataclass(frozen=True)
class Options:
    """All options of the hook, checked."""

    stimuli: dict[str, Any]
    areas: dict[str, Any]
    shown: Shown
    settings: RSASettings
    output: Output


def grouped(groups: Mapping[str, Any], flat: Mapping[str, Any]) -> Options:
    """The hook's options, with flat ones put where they belong.

    A flat option goes over the same one in its group, so that an override on a command line that
    was written for an earlier version has its way.

    Args:
        groups: 'stimuli', 'areas', 'layers', 'settings' and 'output'; None where not given.
        flat: Names of earlier versions.

    Raises:
        TypeError: If a name is unknown, or something that is needed is missing.
        ValueError: If a value is out of range.
    """
    flat = dict(flat)
    stimuli = _as_dict(groups['stimuli'], 'folder')
    layers = _as_dict(groups['layers'], 'names')
    settings, output = groups['settings'], _as_dict(groups['output'], 'folder')
    plain = (
        {item.name: getattr(settings, item.name) for item in fields(RSASettings)}
        if isinstance(settings, RSASettings)
        else dict(settings or {})
    )
    places = dict(stimuli=stimuli, layers=layers, settings=plain, output=output)
    areas = groups['areas']
    if 'neural' in flat:
        warn_renamed('neural', 'areas', stacklevel=4)
        old = flat.pop('neural')
        areas = old if not areas or not isinstance(old, Mapping) else {**areas, **old}
    if not isinstance(areas, Mapping) or not areas:
        raise TypeError(
            f"areas must name at least one area: dict(IT='recordings.npz:IT'), got {areas!r}"
        )
    areas = dict(areas)
    if flat.pop('assume_order', False):
        warn_renamed('assume_order', 'areas=dict(NAME=dict(file=..., assume_order=True))', 4)
        areas = {
            name: {**_as_dict(area, 'file'), 'assume_order': True} for name, area in areas.items()
        }
    for name, value in flat.items():
        if name not in RENAMED:
            known = ', '.join((*groups, *RENAMED, 'neural', 'assume_order'))
            raise TypeError(f'RSAHook has no option {name!r}; it has {known}')
        group, new = RENAMED[name]
        warnings.warn(
            f'RSAHook: {name} is now {group}=dict({new}=...)', DeprecationWarning, stacklevel=3
        )
        places[group][new] = value
    if 'folder' not in stimuli or 'names' not in layers:
        missing = 'stimuli' if 'folder' not in stimuli else 'layers'
        raise TypeError(f'RSAHook needs {missing}; give stimuli, areas and layers')
    _refuse_unknown(stimuli, STIMULI, 'stimuli')
    _refuse_unknown(layers, [item.name for item in fields(Shown)], 'layers')
    _refuse_unknown(output, [item.name for item in fields(Output)], 'output')
    names = layers['names']
    layers['names'] = [names] if isinstance(names, str) else list(names)
    return Options(stimuli, areas, Shown(**layers), settings_from(plain), Output(**output))


def _as_dict(value: Any, main: str) -> dict[str, Any]:
    """A group as a dict; what is none is its main entry."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {main: value}


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], name: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(f'RSAHook: {name} has no {", ".join(unknown)}; it has {", ".join(known)}')
