"""A figure of likeness by layer, and what it shares with that of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import RSAResult
from . import style as parts
from .tables import SIGNIFICANT, ceiling_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def layer_curves(result: RSAResult, path: str | Path) -> None:
    """Score by layer, a panel per area: trained, untrained (dashed), intervals, noise ceiling.

    Filled markers have q < 0.05, if permutations were made.
    """
    count = len(result.areas)
    rows, columns = parts.panel_grid(count, 2 if count <= 4 else 3)
    width = max(4.2, 1.2 + 0.32 * len(result.layers))
    figure = parts.new_figure(columns * width, rows * 3.1 + 1.1)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    low, high = limits(result)
    for i, axes in enumerate(grid.ravel()):
        if i >= count:
            axes.set_visible(False)
            continue
        parts.clean(axes)
        axes.axhline(0, color=parts.FAINT, linewidth=0.8)
        draw_ceiling(axes, result, result.areas[i])
        _draw_curve(
            axes,
            result.scores[:, i],
            _of(result.intervals, i),
            _of(result.q, i),
            parts.COLOURS[0],
            '-',
            'trained',
        )
        if result.untrained_scores is not None:
            _draw_curve(
                axes,
                result.untrained_scores[:, i],
                _of(result.untrained_intervals, i),
                None,
                parts.UNTRAINED,
                '--',
                'untrained',
            )
        parts.layer_axis(axes, result.layers)
        axes.set_ylim(low, high)
        if i % columns == 0:
            axes.set_ylabel(parts.measure(result), fontsize=parts.NORMAL, color=parts.INK)
    legend_with_ceiling(figure, grid.ravel()[0], result)
    more = []
    if result.intervals is not None:
        more.append(
            f'bands: {result.settings.level:.0%} bootstrap over {result.settings.bootstrap_over}'
        )
    if result.q is not None:
        more.append(f'filled: q < {SIGNIFICANT}')
    parts.title(figure, 'Which layer is like which area', parts.subtitle(result, *more))
    parts.save(figure, path)


def _of(table: np.ndarray | None, column: int) -> np.ndarray | None:
    return None if table is None else table[:, column]


def limits(result: RSAResult) -> tuple[float, float]:
    """Room for all curves, intervals and ceilings of all panels, from 0 or below."""
    found = [0.0, 0.05]
    for table in (
        result.scores,
        result.intervals,
        result.untrained_scores,
        result.untrained_intervals,
    ):
        if table is not None:
            found += table[np.isfinite(table)].tolist()
    for ceiling in result.ceilings.values():
        found += [bound for bound in (ceiling.lower, ceiling.upper) if bound is not None]
    room = 0.06 * (max(found) - min(found))
    return min(found) - room, max(found) + room


def draw_ceiling(axes: Axes, result: RSAResult, area: str) -> None:
    """The panel's name and the band between both bounds; only words where it has no bounds."""
    ceiling = result.ceilings[area]
    note = f'noise ceiling: {ceiling_text(ceiling)}'
    if ceiling.lower is not None and ceiling.upper is not None:
        note += f', {ceiling.subjects} subjects'
        axes.axhspan(
            ceiling.lower, ceiling.upper, color=parts.CEILING, alpha=0.75, linewidth=0, zorder=0.5
        )
    parts.panel_title(axes, area, note)


def legend_with_ceiling(figure: Figure, axes: Axes, result: RSAResult) -> None:
    """The legend under all panels; the first may lack the ceiling that another one has."""
    if any(ceiling.lower is not None for ceiling in result.ceilings.values()):
        axes.fill_between(
            [],
            [],
            color=parts.CEILING,
            alpha=0.75,
            linewidth=0,
            label=f'noise ceiling ({result.settings.pooling}-pooled)',
        )
    parts.legend(figure, axes)


def _draw_curve(
    axes: Axes,
    scores: np.ndarray,
    interval: np.ndarray | None,
    q: np.ndarray | None,
    colour: str,
    style: str,
    label: str,
) -> None:
    x = np.arange(len(scores))
    if interval is not None:
        axes.fill_between(x, interval[:, 0], interval[:, 1], color=colour, alpha=0.16, linewidth=0)
        if len(scores) == 1:  # A band needs two points.
            axes.vlines(x, interval[:, 0], interval[:, 1], color=colour, linewidth=1.2)
    front = 3 if style == '-' else 2.5  # The trained network lies on top.
    axes.plot(
        x,
        scores,
        style,
        color=colour,
        linewidth=1.8,
        label=label,
        marker='o',
        markersize=5,
        markerfacecolor='white',
        markeredgewidth=1.3,
        zorder=front,
    )
    if q is not None:
        good = q < SIGNIFICANT
        axes.plot(x[good], scores[good], 'o', color=colour, markersize=5, zorder=front)
