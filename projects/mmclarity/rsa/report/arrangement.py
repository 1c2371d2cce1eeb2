"""A figure of stimuli arranged by their dissimilarities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis import RSAResult
from . import style as parts
from .embedding import procrustes, smacof

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        parts.panel_title(axes, name)
        # below, as beside the name of an untrained layer there is no room
        note = axes.text(0.5, 0.0, '', ha='center', va='top', color=parts.GREY)
        note.set(transform=axes.transAxes, fontsize=parts.SMALL - 0.5)
        axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect='equal')
        if not (rdm > 0).any():  # of a dead layer, or one that answers everything alike
            note.set_text('n/a: no two differ' if np.isfinite(rdm).any() else 'n/a: no RDM')
            continue
        points, stress = smacof(rdm)
        points = points / (np.linalg.norm(points, axis=1).max() or 1)
        first = points if first is None else first
        points = procrustes(points, first)
        _draw_points(axes, points, categories)
        note.set_text(f'stress {stress:.2f}')
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
