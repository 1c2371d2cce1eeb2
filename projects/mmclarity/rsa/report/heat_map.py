"""A figure of the scores of layers and areas, as numbers on colours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import RSAResult
from . import style as parts
from .tables import SIGNIFICANT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


def heat_map(result: RSAResult, path: str | Path) -> None:
    """Scores of layers (columns) and areas (rows); the untrained network below, on one scale.

    A star marks q < 0.05. The scale starts at 0, or at the lowest score if that is negative.
    """
    tables = [('trained', result.scores, result.q)]
    if result.untrained_scores is not None:
        tables.append(('untrained', result.untrained_scores, None))
    layers, areas = result.scores.shape
    height = max(0.5, min(0.62, 6 / areas))
    figure = parts.new_figure(
        2.6 + max(0.62 * layers, 4.0), 1.9 + len(tables) * (height * areas + 0.35)
    )
    grid = figure.subplots(len(tables), 1, squeeze=False, sharex=True)[:, 0]
    everything = np.concatenate([table.ravel() for _, table, _ in tables])
    finite = everything[np.isfinite(everything)]
    low, high = (min(0.0, finite.min()), finite.max()) if finite.size else (0.0, 1.0)
    for axes, (name, table, q) in zip(grid, tables):
        image = axes.imshow(
            table.T, cmap=parts.SEQUENTIAL, vmin=low, vmax=max(high, low + 1e-3), aspect='auto'
        )
        _write_cells(axes, table, q, image)
        axes.set_yticks(range(areas), result.areas)
        axes.set_xticks(np.arange(layers + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(areas + 1) - 0.5, minor=True)
        axes.grid(which='minor', color='white', linewidth=1.5)
        axes.tick_params(which='both', length=0, labelsize=parts.NORMAL, labelcolor=parts.INK)
        for side in axes.spines.values():
            side.set_visible(False)
        if len(tables) > 1:
            parts.panel_title(axes, name)
    parts.layer_axis(grid[-1], result.layers)
    grid[-1].tick_params(axis='x', labelsize=parts.SMALL)
    bar = figure.colorbar(image, ax=list(grid), pad=0.01, fraction=0.03, aspect=18)
    bar.set_label(parts.measure(result), fontsize=parts.SMALL, color=parts.INK)
    bar.ax.tick_params(labelsize=parts.SMALL, color=parts.FAINT)
    bar.outline.set_visible(False)
    star = [f'* q < {SIGNIFICANT}'] if result.q is not None else []
    parts.title(figure, 'Similarity of layers and areas', parts.subtitle(result, *star))
    parts.save(figure, path)


def _write_cells(axes: Axes, table: np.ndarray, q: np.ndarray | None, image: AxesImage) -> None:
    """Values (L, A) into their cells, the best layer of each area in bold."""
    best = [np.nanmax(column, initial=-np.inf) for column in table.T]
    for row, column in np.ndindex(table.shape):
        value = table[row, column]
        star = '*' if q is not None and q[row, column] < SIGNIFICANT else ''
        text = f'{value:.2f}{star}' if math.isfinite(value) else 'n/a'
        red, green, blue, _ = image.cmap(image.norm(value)) if math.isfinite(value) else (1,) * 4
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        axes.text(
            row,
            column,
            text,
            ha='center',
            va='center',
            fontsize=7.5 if len(table) <= 16 else 6,
            fontweight='bold' if value == best[column] else 'normal',
            color='white' if dark else parts.INK,
        )
