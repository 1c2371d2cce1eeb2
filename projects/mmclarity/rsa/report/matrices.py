"""A figure of all dissimilarity matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import RSAResult
from ..rdms.pairs import to_square
from . import style as parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def rdm_grid(result: RSAResult, path: str | Path, categories: Sequence[str] | None = None) -> None:
    """All RDMs: areas (mean over subjects), layers, and the untrained network's layers.

    Colours are percentiles within each RDM, since measures have no common scale.

    Args:
        result: What to draw.
        path: File to write.
        categories: One per stimulus; stimuli are sorted by it.
    """
    categories = parts.check_categories(categories, len(result.ids))
    names = parts.short_names(result.layers)[0]
    groups = [
        ('areas', [(area, np.nanmean(rdms, axis=0)) for area, rdms in result.area_rdms.items()]),
        ('trained', list(zip(names, result.rdms))),
    ]
    if result.untrained_rdms is not None:
        groups.append(('untrained', list(zip(names, result.untrained_rdms))))
    columns = max(3, parts.panel_grid(len(names), 8)[1])
    lines = [
        (label if i == 0 else '', group[i : i + columns])
        for label, group in groups
        for i in range(0, len(group), columns)
    ]
    order, bounds = _category_order(categories, len(result.ids))
    figure = parts.new_figure(1.45 * columns + 1.3, 1.62 * len(lines) + 0.8)
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for row, (label, group) in zip(grid, lines):
        row[0].set_ylabel(label, fontsize=parts.NORMAL, color=parts.INK, fontweight='bold')
        for axes in row[len(group) :]:
            axes.set_visible(False)
        for axes, (name, rdm) in zip(row, group):
            image = _draw_matrix(axes, rdm, order, bounds)
            axes.set_title(name, fontsize=parts.SMALL, color=parts.INK, pad=3)
    _draw_scale(figure, grid, image)
    if categories and len(lines[0][1]) < columns:
        _list_categories(grid[0][len(lines[0][1])], categories)
    parts.title(
        figure,
        'Dissimilarity matrices',
        parts.joined(
            result,
            f'{result.settings.metric} distance',
            f'{len(result.ids)} stimuli',
            *(['sorted by category'] if categories else []),
        ),
    )
    parts.save(figure, path)


def _draw_matrix(axes: Axes, rdm: np.ndarray, order: np.ndarray, bounds: list[int]) -> AxesImage:
    """One RDM (P,), its stimuli in this order, with lines between categories."""
    image = axes.imshow(
        percentiles(rdm)[np.ix_(order, order)],
        cmap=parts.SEQUENTIAL,
        vmin=0,
        vmax=100,
        interpolation='nearest',
    )
    axes.set_xticks([])
    axes.set_yticks([])
    if not np.isfinite(rdm).any():
        centre = dict(ha='center', va='center', transform=axes.transAxes)
        axes.text(0.5, 0.5, 'n/a', fontsize=parts.SMALL, color=parts.GREY, **centre)
    for side in axes.spines.values():
        side.set_visible(False)
    for bound in bounds:
        axes.axhline(bound - 0.5, color='white', linewidth=0.6)
        axes.axvline(bound - 0.5, color='white', linewidth=0.6)
    return image


def _draw_scale(figure: Figure, grid: np.ndarray, image: AxesImage) -> None:
    """The colours of percentiles, beside the first row or two."""
    bar = figure.colorbar(
        image,
        ax=grid.ravel().tolist(),
        fraction=0.025,
        pad=0.015,
        aspect=14,
        shrink=min(1.0, 1.6 / len(grid)),
        anchor=(0.0, 1.0),
    )
    bar.set_label('dissimilarity (percentile)', fontsize=parts.SMALL, color=parts.INK)
    bar.ax.tick_params(labelsize=parts.SMALL, color=parts.FAINT)
    bar.outline.set_visible(False)


def _list_categories(axes: Axes, categories: list[str]) -> None:
    """Names in the order of rows, in a place without a matrix."""
    names = list(dict.fromkeys(categories))
    shown = names if len(names) <= 10 else [*names[:9], f'and {len(names) - 9} more']
    axes.set_visible(True)
    axes.set_axis_off()
    text = axes.text(
        0.0,
        1.0,
        'from top to bottom:\n' + '\n'.join(shown),
        fontsize=parts.SMALL,
        color=parts.UNTRAINED,
        va='top',
        transform=axes.transAxes,
        linespacing=1.35,
    )
    text.set_in_layout(False)


def percentiles(rdm: np.ndarray) -> np.ndarray:
    """(n, n) of 0 .. 100; pairs without a value and the diagonal stay empty."""
    from scipy.stats import rankdata

    count = np.isfinite(rdm).sum()
    ranks = rankdata(rdm, nan_policy='omit') if count else np.full(len(rdm), np.nan)
    square = to_square(100 * (ranks - 1) / max(count - 1, 1))
    square = np.array(square)
    np.fill_diagonal(square, np.nan)
    return square


def _category_order(categories: list[str] | None, count: int) -> tuple[np.ndarray, list[int]]:
    """Stimuli sorted by category (first come, first), and where categories begin."""
    if categories is None:
        return np.arange(count), []
    known = list(dict.fromkeys(categories))
    keys = np.array([known.index(item) for item in categories])
    order = np.argsort(keys, kind='stable')
    return order, (np.flatnonzero(np.diff(keys[order])) + 1).tolist()
