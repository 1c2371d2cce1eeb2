"""Figures that compare models: bars with significance, RDM showcase, arrangement of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inference.significance import fdr
from ..rdms.pairs import num_stimuli
from ..rdms.rdms import RDMs
from . import style as parts
from .embedding import smacof
from .tables import SIGNIFICANT, ceiling_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..result import RSAResult

MARKS = ('bars', 'arrows', 'none')
# Inches between two lines of significance.
STEP = 0.085


def model_bars(
    result: RSAResult,
    path: str | Path,
    area: str | None = None,
    marks: str = 'bars',
    sort: bool = False,
) -> None:
    """Score of every layer as a bar, with interval, noise ceiling, and who differs from whom.

    Paired differences of the bootstrap, corrected for all pairs (false discovery rate). 'bars' are
    Nili bars: a line over every pair that differs. 'arrows' are fewer: from a layer's dot to the
    one next in score from which on all weaker ones differ.

    Args:
        result: With bootstraps, if there are to be marks.
        path: File to write.
        area: The first one if it is not given.
        marks: 'bars', 'arrows' or 'none'.
        sort: From the best to the worst, not in network order.

    Raises:
        ValueError: If the area is unknown, or marks are asked for without bootstraps.
    """
    if marks not in MARKS:
        raise ValueError(f'marks must be one of {", ".join(MARKS)}, got {marks!r}')
    area = result.areas[0] if area is None else area
    if area not in result.areas:
        raise ValueError(f'there is no area {area!r}; there are {", ".join(result.areas)}')
    if marks != 'none' and area not in result.differences:
        raise ValueError("marks need bootstraps; analyse with bootstraps=1000, or marks='none'")
    column = result.areas.index(area)
    scores = result.scores[:, column]
    order = np.argsort(-scores) if sort else np.arange(len(scores))
    names = [parts.short_names(result.layers)[0][i] for i in order]
    lines: list[tuple[int, int]] = []
    if marks != 'none':
        p = result.differences[area].layers_p[np.ix_(order, order)]
        lines = _lines(scores[order], p, marks)
    room = STEP * len(lines) + 0.1 * bool(lines)
    figure = parts.new_figure(1.6 + 0.62 * len(names), 3.6 + room)
    grid = figure.subplots(2, 1, sharex=True, height_ratios=[max(room, 0.01), 2.6])
    top, axes = grid
    _draw_bars(axes, result, area, order)
    _draw_marks(top, lines, marks)
    parts.layer_axis(axes, [result.layers[i] for i in order])
    more = (
        [f'intervals: {result.settings.level:.0%} bootstrap']
        if result.intervals is not None
        else []
    )
    if marks != 'none':
        what = 'lines' if marks == 'bars' else 'arrows'
        more.append(f'{what}: differences with q < {SIGNIFICANT}')
    parts.title(figure, f'Likeness to {area}', parts.subtitle(result, *more))
    parts.save(figure, path)


def _draw_bars(axes: Axes, result: RSAResult, area: str, order: np.ndarray) -> None:
    column, ceiling = result.areas.index(area), result.ceilings[area]
    scores, x = result.scores[order, column], np.arange(len(order))
    parts.clean(axes)
    axes.bar(x, scores, width=0.68, color=parts.COLOURS[0], label='trained', zorder=2)
    if result.untrained_scores is not None:
        axes.hlines(
            result.untrained_scores[order, column],
            x - 0.34,
            x + 0.34,
            color=parts.INK,
            linewidth=1.6,
            label='untrained',
            zorder=3,
        )
    if result.intervals is not None:
        low, high = result.intervals[order, column].T
        axes.vlines(x, low, high, color=parts.INK, linewidth=1.1, zorder=4)
    if ceiling.lower is not None and ceiling.upper is not None:
        axes.axhspan(
            ceiling.lower,
            ceiling.upper,
            color=parts.CEILING,
            linewidth=0,
            zorder=0.5,
            label=f'noise ceiling ({ceiling_text(ceiling)})',
        )
    axes.axhline(0, color=parts.FAINT, linewidth=0.8)
    axes.set_ylabel(parts.measure(result), fontsize=parts.NORMAL, color=parts.INK)
    parts.legend(axes.figure, axes)


def _lines(scores: np.ndarray, p: np.ndarray, marks: str) -> list[tuple[int, int]]:
    """From and to of each line, of pairs that differ after correction."""
    rows, columns = np.triu_indices(len(scores), 1)
    differ = np.zeros(p.shape, bool)
    differ[rows, columns] = fdr(p[rows, columns]) < SIGNIFICANT
    differ |= differ.T
    if marks == 'bars':
        pairs = [(int(i), int(j)) for i, j in zip(rows, columns) if differ[i, j]]
        return sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair[0]))
    found = []
    for i in np.argsort(-np.nan_to_num(scores, nan=-np.inf)):
        weaker = [j for j in np.argsort(-scores) if scores[j] < scores[i]]
        # The best one from which on every weaker layer differs.
        for k, j in enumerate(weaker):
            if all(differ[i, other] for other in weaker[k:]):
                found.append((int(i), int(j)))
                break
    return found


def _draw_marks(axes: Axes, lines: Sequence[tuple[int, int]], marks: str) -> None:
    axes.set_axis_off()
    axes.set_ylim(-0.5, max(len(lines), 1))
    for level, (start, stop) in enumerate(lines):
        if marks == 'bars':
            axes.plot([start, stop], [level, level], color=parts.INK, linewidth=1.1)
        else:
            axes.plot([start], [level], 'o', color=parts.INK, markersize=3.5)
            axes.annotate(
                '',
                (stop, level),
                (start, level),
                arrowprops=dict(
                    arrowstyle='-|>', color=parts.INK, linewidth=1.0, shrinkA=0, shrinkB=0
                ),
            )


def showcase(
    rdms: Any,
    path: str | Path,
    names: Sequence[str] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    columns: int = 4,
) -> None:
    """RDMs side by side, each in percentiles, with pictures of the stimuli along the edges.

    Args:
        rdms: One or several, condensed or square, or :class:`RDMs`.
        path: File to write.
        names: Of the RDMs; theirs if they have any.
        pictures: One (h, w, 3) in 0 .. 1 or 0 .. 255 for each stimulus, or none.
        columns: Panels in a row.

    Raises:
        ValueError: If numbers do not fit.
    """
    stack = RDMs.of(rdms)
    labels = list(names or stack.names or [f'RDM {i + 1}' for i in range(len(stack))])
    if len(labels) != len(stack):
        raise ValueError(f'{len(labels)} names for {len(stack)} RDMs; give one each')
    _check_pictures(pictures, stack.num_stimuli)
    rows, across = parts.panel_grid(len(stack), columns)
    figure = parts.new_figure(2.9 * across + 0.6, 2.75 * rows + 0.75)
    grid = figure.subplots(rows, across, squeeze=False).ravel()
    for axes in grid[len(stack) :]:
        axes.set_visible(False)
    from .matrices import percentiles

    for axes, label, rdm in zip(grid, labels, stack.condensed):
        image = axes.imshow(
            percentiles(rdm), cmap=parts.SEQUENTIAL, vmin=0, vmax=100, interpolation='nearest'
        )
        axes.set_title(label, fontsize=parts.NORMAL, color=parts.INK, pad=4)
        axes.set_xticks([])
        axes.set_yticks([])
        for side in axes.spines.values():
            side.set_visible(False)
        if pictures is not None:
            _edge_pictures(axes, pictures)
    bar = figure.colorbar(image, ax=grid[: len(stack)].tolist(), fraction=0.02, pad=0.02, aspect=25)
    bar.set_label('dissimilarity (percentile)', fontsize=parts.SMALL, color=parts.INK)
    bar.ax.tick_params(labelsize=parts.SMALL, color=parts.FAINT)
    bar.outline.set_visible(False)
    kind = [f'{stack.metric} distance'] if stack.metric else []
    shown = parts.SEPARATOR.join([*kind, f'{stack.num_stimuli} stimuli'])
    parts.title(figure, 'Dissimilarity matrices', shown)
    parts.save(figure, path)


def _edge_pictures(axes: Axes, pictures: Sequence[np.ndarray], most: int = 12) -> None:
    """Some of the pictures, evenly spread, left of the rows they belong to."""
    count = len(pictures)
    for k in np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)):
        height = 0.92 / min(most, count)
        bottom = 1 - (k + 0.5) / count - height / 2
        inset = axes.inset_axes((-height - 0.015, bottom, height, height))
        inset.imshow(_shown(pictures[k]))
        inset.set_axis_off()


def picture_map(
    rdm: Any,
    pictures: Sequence[np.ndarray],
    path: str | Path,
    name: str = '',
    categories: Sequence[str] | None = None,
    width: float = 7.0,
) -> None:
    """Stimuli as their own pictures, arranged by dissimilarity (SMACOF).

    Args:
        rdm: One RDM, or several whose mean is taken.
        pictures: One (h, w, 3) in 0 .. 1 or 0 .. 255 for each stimulus.
        path: File to write.
        name: Of the area or layer, for the heading.
        categories: One for each stimulus; colours the frames.
        width: Of the figure, inches.

    Raises:
        ValueError: If numbers do not fit.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    mean = RDMs.of(rdm).mean().condensed[0]
    count = num_stimuli(len(mean))
    _check_pictures(pictures, count)
    known = parts.check_categories(categories, count)
    points, stress = smacof(mean)
    points = points / (np.abs(points).max() or 1)
    figure = parts.new_figure(width, width + 0.25)
    axes = figure.subplots()
    side = 0.55 * width / np.sqrt(count)
    for place, picture, kind in zip(points, pictures, known or [''] * count):
        shown = _shown(picture)
        box = OffsetImage(shown, zoom=72 * side / max(shown.shape[:2]))
        colour = parts.COLOURS[list(dict.fromkeys(known)).index(kind) % 7] if known else parts.FAINT
        frame = dict(edgecolor=colour, linewidth=1.8 if known else 0.5)
        axes.add_artist(AnnotationBbox(box, tuple(place), pad=0.05, frameon=True, bboxprops=frame))
    for i, kind in enumerate(dict.fromkeys(known or [])):
        axes.plot([], [], 's', color=parts.COLOURS[i % 7], label=kind)
    axes.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), aspect='equal')
    axes.set_axis_off()
    parts.legend(figure, axes, 4 if width > 6.5 else 3)
    heading = f'Stimuli by their dissimilarities: {name}' if name else 'Stimuli by dissimilarity'
    note = ['metric scaling (SMACOF)', f'stress {stress:.2f}', f'{count} stimuli']
    parts.title(figure, heading, parts.SEPARATOR.join(note))
    parts.save(figure, path)


def _check_pictures(pictures: Sequence[np.ndarray] | None, count: int) -> None:
    if pictures is not None and len(pictures) != count:
        raise ValueError(f'{len(pictures)} pictures for {count} stimuli; give one each, in order')


def _shown(picture: np.ndarray) -> np.ndarray:
    picture = np.asarray(picture)
    picture = np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture
    return picture if picture.dtype == np.uint8 else np.clip(picture, 0, 1)
