"""Figures of a representational similarity analysis.

Every function takes a result and the file to write. The untrained network, if there is one, is in
every figure: without training a network can be as much like early visual cortex as a trained one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import RSAResult
from ..rdms.rdms import to_square
from . import style as parts
from .embedding import procrustes, smacof
from .tables import SIGNIFICANT, ceiling_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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


def layer_curves(result: RSAResult, path: str | Path) -> None:
    """Score by layer, a panel per area: trained, untrained (dashed), intervals, noise ceiling.

    Filled markers have q < 0.05, if permutations were made.
    """
    count = len(result.areas)
    rows, columns = parts.panel_grid(count, 2 if count <= 4 else 3)
    width = max(4.2, 1.2 + 0.32 * len(result.layers))
    figure = parts.new_figure(columns * width, rows * 3.1 + 1.1)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    low, high = _limits(result)
    for i, axes in enumerate(grid.ravel()):
        if i >= count:
            axes.set_visible(False)
            continue
        parts.clean(axes)
        axes.axhline(0, color=parts.FAINT, linewidth=0.8)
        _draw_ceiling(axes, result, result.areas[i])
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
    _legend_with_ceiling(figure, grid.ravel()[0], result)
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


def _limits(result: RSAResult) -> tuple[float, float]:
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


def _draw_ceiling(axes: Axes, result: RSAResult, area: str) -> None:
    """The panel's name and the band between both bounds; only words where it has no bounds."""
    ceiling = result.ceilings[area]
    note = f'noise ceiling: {ceiling_text(ceiling)}'
    if ceiling.lower is not None and ceiling.upper is not None:
        note += f', {ceiling.subjects} subjects'
        axes.axhspan(
            ceiling.lower, ceiling.upper, color=parts.CEILING, alpha=0.75, linewidth=0, zorder=0.5
        )
    parts.panel_title(axes, area, note)


def _legend_with_ceiling(figure: Figure, axes: Axes, result: RSAResult) -> None:
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
    names = parts.short_names(last.layers)[0]
    width = 4.0 + 0.075 * max(map(len, names))
    figure = parts.new_figure(columns * width, rows * 3.3 + 1.1)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    scores = np.stack([results[epoch].scores for epoch in epochs])
    limits = np.array([_limits(results[epoch]) for epoch in epochs])
    for i, axes in enumerate(grid.ravel()):
        if i >= count:
            axes.set_visible(False)
            continue
        parts.clean(axes)
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        _draw_ceiling(axes, last, last.areas[i])
        _draw_untrained_range(axes, last, i)
        _draw_training(axes, epochs, scores[:, :, i], names)
        axes.set_xlabel(unit, fontsize=parts.NORMAL, color=parts.INK)
        if i % columns == 0:
            axes.set_ylabel(parts.measure(last), fontsize=parts.NORMAL, color=parts.INK)
    _legend_with_ceiling(figure, grid.ravel()[0], last)
    parts.title(figure, 'Similarity over training', parts.subtitle(last))
    parts.save(figure, path)


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
        text = name if math.isfinite(end) else f'{name} (n/a)'
        axes.annotate(
            text,
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
            image = axes.imshow(
                _percentiles(rdm)[np.ix_(order, order)],
                cmap=parts.SEQUENTIAL,
                vmin=0,
                vmax=100,
                interpolation='nearest',
            )
            axes.set_title(name, fontsize=parts.SMALL, color=parts.INK, pad=3)
            axes.set_xticks([])
            axes.set_yticks([])
            for side in axes.spines.values():
                side.set_visible(False)
            for bound in bounds:
                axes.axhline(bound - 0.5, color='white', linewidth=0.6)
                axes.axvline(bound - 0.5, color='white', linewidth=0.6)
    bar = figure.colorbar(
        image,
        ax=grid.ravel().tolist(),
        fraction=0.025,
        pad=0.015,
        aspect=14,
        shrink=min(1.0, 1.6 / len(lines)),
        anchor=(0.0, 1.0),
    )
    bar.set_label('dissimilarity (percentile)', fontsize=parts.SMALL, color=parts.INK)
    bar.ax.tick_params(labelsize=parts.SMALL, color=parts.FAINT)
    bar.outline.set_visible(False)
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


def _percentiles(rdm: np.ndarray) -> np.ndarray:
    """(n, n) of 0 .. 100; pairs without a value and the diagonal stay empty."""
    from scipy.stats import rankdata

    ranks = rankdata(rdm, nan_policy='omit')
    count = np.isfinite(rdm).sum()
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


def mds(
    result: RSAResult, path: str | Path, categories: Sequence[str] | None = None, panels: int = 8
) -> None:
    """Stimuli arranged by dissimilarity (SMACOF), for areas, layers and untrained layers.

    Args:
        result: What to draw.
        path: File to write.
        categories: One per stimulus; colours and shapes the points.
        panels: At most this many. The areas come first, then the best layer of each and
            its untrained network, then others spread over the network. Defaults to 8.
    """
    categories = parts.check_categories(categories, len(result.ids))
    chosen = _mds_panels(result, panels)
    rows, columns = parts.panel_grid(len(chosen), 4)
    figure = parts.new_figure(2.45 * columns + 0.2, 2.65 * rows + (1.25 if categories else 0.8))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    first = None
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, rdm) in zip(grid, chosen):
        points, stress = smacof(rdm)
        points = points / (np.linalg.norm(points, axis=1).max() or 1)
        first = points if first is None else first
        points = procrustes(points, first)
        _draw_points(axes, points, categories)
        parts.panel_title(axes, name, f'stress {stress:.2f}')
        axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect='equal')
    parts.legend(figure, grid[0])
    parts.title(
        figure,
        'Stimuli by their dissimilarities',
        parts.joined(
            result,
            f'{result.settings.metric} distance',
            'metric scaling (SMACOF)',
            'each panel turned to match the first',
        ),
    )
    parts.save(figure, path)


def _mds_panels(result: RSAResult, panels: int) -> list[tuple[str, np.ndarray]]:
    if panels < 1:
        raise ValueError(f'panels must be 1 or more, got {panels}')
    names = parts.short_names(result.layers)[0]
    found = {area: np.nanmean(rdms, axis=0) for area, rdms in result.area_rdms.items()}
    found = dict(list(found.items())[: max(panels // 2, 1)])
    best = [result.layers.index(layer[0]) for layer in map(result.best_layer, found) if layer]
    spaced = np.linspace(0, len(names) - 1, min(len(names), 4)).round().astype(int).tolist()
    for row in dict.fromkeys(best):
        found[f'{names[row]} (best)'] = result.rdms[row]
        if result.untrained_rdms is not None:
            found[f'{names[row]}, untrained'] = result.untrained_rdms[row]
    for row in spaced[::-1]:
        if row not in best:
            found[names[row]] = result.rdms[row]
    return list(found.items())[:panels]


def _draw_points(axes: Axes, points: np.ndarray, categories: list[str] | None) -> None:
    if categories is None:
        axes.scatter(*points.T, s=16, color=parts.COLOURS[0], alpha=0.8, linewidths=0)
        return
    for i, category in enumerate(dict.fromkeys(categories)):
        inside = [item == category for item in categories]
        axes.scatter(
            *points[inside].T,
            s=18,
            color=parts.COLOURS[i % 7],
            label=category,
            marker=parts.MARKERS[i % len(parts.MARKERS)],
            alpha=0.85,
            linewidths=0,
        )
