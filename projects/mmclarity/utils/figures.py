"""Colours, type and paper of every figure of the project. matplotlib is imported on use only."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): eight colours that colour-blind readers tell apart. Blue first: it and
# vermilion differ most, and grey is kept for what others are compared with (GREY, CEILING).
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#F0E442')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
GREY, CEILING, INK, FAINT = '#6E6E6E', '#DDDDDD', '#222222', '#B5B5B5'
SEQUENTIAL = 'viridis'
DPI = 150
SMALL, NORMAL, LARGE = 8.0, 9.5, 12.0
# Inches; room for headings.
NARROWEST = 5.5
SEPARATOR, HOLD = '  ·  ', '\u00a0'
FORMATS = ('.png', '.pdf', '.svg')


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) of its own: pyplot and its state are not touched.

    Raises:
        ModuleNotFoundError: If matplotlib is missing, with the command that installs it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'figures need matplotlib; install it with `pip install '
            'matplotlib`, or switch figures off'
        ) from error
    figure = Figure(
        figsize=(max(width, NARROWEST), height), dpi=DPI, layout='constrained', facecolor='white'
    )
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    return figure


def save(figure: Figure, path: str | Path, dpi: float = DPI) -> None:
    """Write a figure as PNG, PDF or SVG, in one move.

    Raises:
        ValueError: If the name ends otherwise.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f'{path}: figures are written as {", ".join(FORMATS)}; name it so')
    with replacing(path, parents=True) as part:
        figure.savefig(part, format=path.suffix.lower()[1:], dpi=dpi)


def png(figure: Figure) -> bytes:
    """A figure as PNG, to be put into a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=DPI)
    return buffer.getvalue()


def title(figure: Figure, text: str, below: str) -> None:
    """A heading at the left, with a line in grey that says how the numbers were made."""
    # A blank that may not break holds the parts together, so that lines end between them.
    held = below.replace(' ', HOLD).replace(f'{HOLD}{HOLD}·{HOLD}{HOLD}', '  · ')
    wrapped = textwrap.wrap(held, int(15 * figure.get_figwidth()))
    lines = [line.replace(HOLD, ' ').strip(' ·').replace('  · ', SEPARATOR) for line in wrapped]
    # The empty lines keep the place that the subtitle takes.
    figure.suptitle(
        text + '\n' * (1 + len(lines)),
        x=0.012,
        ha='left',
        fontsize=LARGE,
        color=INK,
        fontweight='bold',
        linespacing=0.95,
    )
    figure.text(
        0.012,
        1 - 0.28 / figure.get_figheight(),
        '\n'.join(lines),
        ha='left',
        va='top',
        fontsize=SMALL,
        color=GREY,
        linespacing=1.35,
    )


def panel_title(axes: Axes, text: str, note: str = '') -> None:
    """A panel's name at its left, a remark in grey at its right."""
    axes.set_title(text, loc='left', fontsize=NORMAL, color=INK, fontweight='bold')
    if note:
        axes.set_title(note, loc='right', fontsize=SMALL - 0.5, color=GREY)


def legend(figure: Figure, axes: Axes, columns: int = 6) -> None:
    """One legend under all panels, of what is drawn in ``axes``."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(
            handles,
            labels,
            loc='outside lower center',
            frameon=False,
            fontsize=SMALL,
            ncols=min(len(labels), columns),
            handletextpad=0.5,
            labelcolor=INK,
        )


def clean(axes: Axes, grid: bool = True, axis: str = 'y') -> None:
    """Only the lines that carry something; the grid is of the values' ``axis``."""
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=SMALL)
    if grid:
        axes.grid(axis=axis, color='#EEEEEE', linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)


def ramp(count: int) -> list[Any]:
    """Colours from early to late, all dark enough on white."""
    from matplotlib import colormaps

    return list(colormaps[SEQUENTIAL](np.linspace(0.0, 0.82, max(count, 1))))


def spread(places: Sequence[float] | np.ndarray, gap: float) -> np.ndarray:
    """Move labels apart to at least ``gap``, keeping their order and, together, their middle."""
    places = np.asarray(places, float)
    order = np.argsort(places, kind='stable')
    # Pool neighbours that collide (as isotonic regression does); each pool keeps its mean.
    pools: list[tuple[float, int]] = []
    for i, value in enumerate(places[order]):
        mean, count = value - i * gap, 1
        while pools and pools[-1][0] >= mean:
            other, size = pools.pop()
            mean, count = (other * size + mean * count) / (size + count), size + count
        pools.append((mean, count))
    steps = np.concatenate([np.full(count, mean) for mean, count in pools] or [np.empty(0)])
    result = np.empty(len(places))
    result[order] = steps + gap * np.arange(len(places))
    return result


def panel_grid(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns for ``count`` panels, without an all but empty last row."""
    rows = -(-count // columns)
    return rows, -(-count // rows)
