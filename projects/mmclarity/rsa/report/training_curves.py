"""A figure of likeness while a network trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import RSAResult
from . import style as parts
from .curves import draw_ceiling, legend_with_ceiling, limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def epoch_curves(results: Mapping[int, RSAResult], path: str | Path, unit: str = 'epoch') -> None:
    """Score over training, a panel per area and a line per layer, dark (early) to light (late).

    Args:
        results: By epoch (or iteration); all of the same layers and
            areas.
        path: File to write.
        unit: What the keys count. Defaults to 'epoch'.

    Raises:
        ValueError: If there is no result, or layers or areas differ.
    """
    if not results:
        raise ValueError('there is no result to draw; analyse at least one epoch')
    epochs = sorted(results)
    last = results[epochs[-1]]
    for epoch in epochs:
        if (results[epoch].layers, results[epoch].areas) != (last.layers, last.areas):
            raise ValueError(
                f'{unit} {epoch} has other layers or areas than {unit} {epochs[-1]}; '
                'draw runs with different settings apart'
            )
    count = len(last.areas)
    rows, columns = parts.panel_grid(count, 2 if count <= 4 else 3)
    scores = np.stack([results[epoch].scores for epoch in epochs])
    short = parts.short_names(last.layers)[0]
    names = [
        [_name(layer, line, epochs) for layer, line in zip(short, panel.T)]
        for panel in np.moveaxis(scores, 2, 0)
    ]
    width = 4.0 + 0.075 * max(len(name) for panel in names for name in panel)
    figure = parts.new_figure(columns * width, rows * 3.3 + 1.1)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    bounds = np.array([limits(results[epoch]) for epoch in epochs])
    for i, axes in enumerate(grid.ravel()):
        if i >= count:
            axes.set_visible(False)
            continue
        parts.clean(axes)
        axes.set_ylim(bounds[:, 0].min(), bounds[:, 1].max())
        draw_ceiling(axes, last, last.areas[i])
        _draw_untrained_range(axes, last, i)
        _draw_training(axes, epochs, scores[:, :, i], names[i])
        axes.set_xlabel(unit, fontsize=parts.NORMAL, color=parts.INK)
        if i % columns == 0:
            axes.set_ylabel(parts.measure(last), fontsize=parts.NORMAL, color=parts.INK)
    legend_with_ceiling(figure, grid.ravel()[0], last)
    network = {key: value for key, value in last.meta.items() if key == 'model'}
    said = parts.subtitle(replace(last, meta=network))
    parts.title(figure, 'Similarity over training', said)
    parts.save(figure, path)


def _name(layer: str, line: np.ndarray, epochs: Sequence[int]) -> str:
    """A layer, and when its scores (epochs,) end, if they do before the last epoch."""
    known = np.flatnonzero(np.isfinite(line))
    if not len(known):
        return f'{layer} (n/a)'
    return layer if known[-1] == len(epochs) - 1 else f'{layer} (to {epochs[known[-1]]})'


def _draw_untrained_range(axes: Axes, result: RSAResult, column: int) -> None:
    """From the worst to the best layer of the untrained network, which does not train."""
    if result.untrained_scores is None:
        return
    scores = result.untrained_scores[:, column]
    if np.isfinite(scores).any():
        axes.axhspan(
            np.nanmin(scores),
            np.nanmax(scores),
            facecolor='none',
            linewidth=0.9,
            edgecolor=parts.UNTRAINED,
            hatch='////',
            alpha=0.35,
            linestyle='--',
            label='untrained: range of layers',
            zorder=0.6,
        )


def _draw_training(
    axes: Axes, epochs: Sequence[int], scores: np.ndarray, names: Sequence[str]
) -> None:
    """Lines (epochs, L) with their names at the right end, moved apart."""
    from matplotlib.ticker import MaxNLocator

    single = len(epochs) == 1
    for colour, line in zip(parts.ramp(len(names)), scores.T):
        axes.plot(
            epochs, line, color=colour, linewidth=1.7, marker='o', markersize=5 if single else 3
        )
    low, high = axes.get_ylim()
    ends = np.array(
        [line[np.isfinite(line)][-1] if np.isfinite(line).any() else np.nan for line in scores.T]
    )
    # At 3.0 inches of panel a line of small print is about a twentieth.
    places = parts.spread(np.nan_to_num(ends, nan=low), 0.045 * (high - low))
    places = places - max(places.max() - high, 0)
    places = places + max(low - places.min(), 0)
    reach = (epochs[-1] - epochs[0]) or 1
    axes.set_xlim(epochs[0] - 0.03 * reach, epochs[-1] + 0.03 * reach)
    for colour, name, place, end in zip(parts.ramp(len(names)), names, places, ends):
        axes.annotate(
            name,
            (1.0, end if math.isfinite(end) else place),
            (1.06, place),
            xycoords=('axes fraction', 'data'),
            textcoords=('axes fraction', 'data'),
            fontsize=parts.SMALL,
            color=colour,
            va='center',
            annotation_clip=False,
            arrowprops=dict(
                arrowstyle='-',
                color=colour,
                linewidth=0.6,
                alpha=0.6,
                relpos=(0, 0.5),
                shrinkA=0,
                shrinkB=0,
            ),
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
