"""Colours, names and paper that all figures share. matplotlib is imported on use only."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .tables import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analysis import RSAResult

# Okabe and Ito (2008): eight colours that colour-blind readers tell apart. Blue first: it and
# vermilion differ most, and grey is kept for the untrained network and the ceiling.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#F0E442')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
UNTRAINED, CEILING, INK, FAINT = '#6E6E6E', '#DDDDDD', '#222222', '#B5B5B5'
SEQUENTIAL = 'viridis'
DPI = 150
SMALL, NORMAL, LARGE = 8.0, 9.5, 12.0
# Inches; room for headings.
NARROWEST = 5.5
SEPARATOR, HOLD = '  ·  ', '\u00a0'
METHOD_NAMES = {
    'pearson': 'Pearson r',
    'spearman': "Spearman's rho",
    'kendall': "Kendall's tau-a",
    'rho-a': 'rho-a',
    'cosine': 'cosine similarity',
}
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


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, PDF or SVG, in one move.

    Raises:
        ValueError: If the name ends otherwise.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f'{path}: figures are written as {", ".join(FORMATS)}; name it so')
    kind = path.suffix.lower()[1:]
    atomic_write(path, lambda file: figure.savefig(file, format=kind, dpi=DPI))


def measure(result: RSAResult) -> str:
    """What the scores are."""
    return METHOD_NAMES.get(result.settings.method, result.settings.method)


def subtitle(result: RSAResult, *more: str) -> str:
    """Which network, how the numbers were made, and what else is to be known."""
    return joined(
        result,
        f'{measure(result)} of RDMs',
        f'{result.settings.metric} distance',
        f'{len(result.ids)} stimuli',
        *more,
    )


def joined(result: RSAResult, *texts: str) -> str:
    """The network and remarks in one line."""
    model = [str(result.meta['model'])] if 'model' in result.meta else []
    return SEPARATOR.join([*model, *texts])


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
        color=UNTRAINED,
        linespacing=1.35,
    )


def panel_title(axes: Axes, text: str, note: str = '') -> None:
    """A panel's name at its left, a remark in grey at its right."""
    axes.set_title(text, loc='left', fontsize=NORMAL, color=INK, fontweight='bold')
    if note:
        axes.set_title(note, loc='right', fontsize=SMALL - 0.5, color=UNTRAINED)


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


def clean(axes: Axes, grid: bool = True) -> None:
    """Only the lines that carry something."""
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=SMALL)
    if grid:
        axes.grid(axis='y', color='#EEEEEE', linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)


def short_names(layers: Sequence[str]) -> tuple[list[str], str]:
    """Names without the leading modules they all share, and those modules.

    ``['backbone.a.0', 'backbone.a.1']`` gives ``['a.0', 'a.1']`` and ``'backbone'``: a name
    keeps at least two parts, for a bare number says little.
    """
    parts = [name.split('.') for name in layers]
    shared = 0
    while (
        all(len(part) > shared + 2 for part in parts) and len({part[shared] for part in parts}) == 1
    ):
        shared += 1
    if len(layers) < 2:
        shared = 0
    return ['.'.join(part[shared:]) for part in parts], '.'.join(parts[0][:shared])


def layer_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x, in network order, written so that sixteen can be read."""
    names, shared = short_names(layers)
    upright = max(map(len, names)) * len(names) <= 40
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=0 if upright else 40,
        ha='center' if upright else 'right',
        rotation_mode='anchor',
    )
    axes.set_xlabel(f'layer of {shared}' if shared else 'layer', fontsize=NORMAL, color=INK)
    axes.set_xlim(-0.5, len(names) - 0.5)


def ramp(count: int) -> list[Any]:
    """Colours from early to late, all dark enough on white."""
    from matplotlib import colormaps

    return list(colormaps[SEQUENTIAL](np.linspace(0.0, 0.82, max(count, 1))))


def spread(places: Sequence[float], gap: float) -> np.ndarray:
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


def check_categories(categories: Sequence[str] | None, stimuli: int) -> list[str] | None:
    """Raises ValueError unless there is one category for each stimulus."""
    if categories is None:
        return None
    if len(categories) != stimuli:
        raise ValueError(
            f'{len(categories)} categories for {stimuli} stimuli; give one each, in '
            'the order of the ids'
        )
    return [str(item) for item in categories]
