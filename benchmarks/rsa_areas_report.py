"""Figure and tables of what ``rsa_areas.py`` found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.utils.figures import (
    CEILING,
    COLOURS,
    GREY,
    INK,
    SMALL,
    clean,
    new_figure,
    panel_title,
    save,
)
from mmclarity.utils.files import write_text
from mmclarity.utils.tables import markdown_table, number, replace_part

AREAS = ('V1', 'V4', 'human IT', 'macaque IT')
TITLES = {
    'squeezenet1_0': 'SqueezeNet',
    'efficientnet_lite0': 'EfficientNet-Lite0',
    'alexnet': 'AlexNet',
}
POSITIONS = ('peak', 'centroid')


def report(results: Path, out: Path, page: Path | None = None) -> None:
    """Figure and Markdown tables, into ``out`` and between the marks of a page."""
    table = json.loads(results.read_text(encoding='utf-8'))
    draw(table, out / 'rsa_v1_v4_it.png')
    text = markdown(table)
    write_text(out / 'tables.md', text)
    if page is not None:
        replace_part(page, 'tables', text)
    print(text)


def markdown(table: dict[str, Any]) -> str:
    """Tables of all networks."""
    parts = []
    for network, entry in table.items():
        title = TITLES.get(network, network)
        parts += [f'### {title}', _scores(entry), _positions(entry)]
        if entry['orders']:
            parts.append(_orders(entry))
    return '\n\n'.join(parts)


def _scores(entry: dict[str, Any]) -> str:
    rows = []
    for i, layer in enumerate(entry['layers']):
        cells = []
        for found in entry['areas'].values():
            interval, gain = found['scores_interval'][i], found['gain_interval'][i]
            random = number(found['untrained'][i], '.3f')
            if found['random_networks'] > 1:
                low, high = (limits[i] for limits in found['untrained_range'])
                random += f' ({low:.2f} to {high:.2f})'
            star = ' \\*' if gain[0] > 0 else ' †' if gain[1] < 0 else ''
            cells.append(
                f'{number(found["scores"][i], ".3f")} {_interval(interval)}, {random}{star}'
            )
        rows.append([layer, *cells])
    return markdown_table(['layer', *entry['areas']], rows)


def _positions(entry: dict[str, Any]) -> str:
    rows = []
    for area, found in entry['areas'].items():
        cells = [
            f'{found["positions"][kind][0]:.2f} {_interval(found["positions"][kind][1:])}'
            for kind in POSITIONS
        ]
        rows.append([area, found['best'], *cells])
    return markdown_table(['area', 'best layer', *POSITIONS], rows)


def _orders(entry: dict[str, Any]) -> str:
    rows = []
    for name, kinds in entry['orders'].items():
        cells = []
        for kind in POSITIONS:
            difference, low, high, p = kinds[kind]
            cells.append(f'{difference:.2f} {_interval((low, high))}, p {p:.3f}')
        rows.append([name, *cells])
    return markdown_table(['order', *POSITIONS], rows)


def _interval(limits: Any) -> str:
    return f'[{number(limits[0], ".2f")}, {number(limits[1], ".2f")}]'


def draw(table: dict[str, Any], path: Path) -> None:
    """A row a network: curves of the layers by area, and where each area is matched best."""
    figure = new_figure(13, 3.0 * len(table) + 0.4)
    grid = figure.subplots(len(table), len(AREAS) + 1, squeeze=False)
    top = _top(table)
    for row, (network, entry) in zip(grid, table.items()):
        for axis, area in zip(row, AREAS):
            if area not in entry['areas']:
                axis.set_axis_off()
                continue
            _curve(axis, entry['areas'][area], entry['layers'], top)
            panel_title(axis, area, _ceiling_note(entry['areas'][area]))
        shown = [axis for axis, area in zip(row, AREAS) if area in entry['areas']]
        for axis in shown[1:]:
            axis.set_yticklabels([])
        if shown[0] is row[0]:
            shown[0].set_ylabel('Spearman correlation', fontsize=SMALL, color=INK)
        _name(row[0], TITLES.get(network, network), shown[0] is row[0])
        _places(row[-1], entry)
    _legend(figure, grid[0])
    save(figure, path)


def _top(table: dict[str, Any]) -> tuple[float, float]:
    """Limits of all curves, so that heights can be compared."""
    limits = [
        found[part]
        for entry in table.values()
        for found in entry['areas'].values()
        for part in ('scores_interval', 'untrained_interval')
    ]
    values = np.concatenate([np.ravel(one) for one in limits])
    return float(values.min()) - 0.03, float(values.max()) + 0.05


def _name(axis: Any, text: str, beside: bool) -> None:
    """The network's name: at the left of its row, or in the room of areas it has not seen."""
    if beside:
        axis.annotate(
            text,
            (-0.42, 0.5),
            xycoords='axes fraction',
            rotation=90,
            ha='center',
            va='center',
            fontsize=SMALL + 3,
            fontweight='bold',
            color=INK,
        )
        return
    note = 'Its RDMs are published for\nthe 92 pictures of IT only.'
    axis.text(-0.3, 0.75, text, transform=axis.transAxes, fontsize=SMALL + 3, fontweight='bold')
    axis.text(
        -0.3, 0.68, note, transform=axis.transAxes, va='top', fontsize=SMALL + 0.5, color=GREY
    )


def _curve(axis: Any, found: dict[str, Any], layers: list[str], top: tuple[float, float]) -> None:
    places = np.arange(len(layers))
    for label, part, colour in (
        ('random weights, mean of several', 'untrained', GREY),
        ('trained on ImageNet', 'scores', COLOURS[0]),
    ):
        low, high = np.array(found[f'{part}_interval']).T
        axis.plot(places, found[part], 'o-', color=colour, label=label, markersize=3.5)
        axis.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
    if 'ceiling' in found:
        axis.axhspan(*found['ceiling'], color=CEILING, zorder=0, label='noise ceiling')
    axis.axhline(0, color=INK, linewidth=0.6)
    axis.set_ylim(*top)
    axis.set_xticks(places, layers, rotation=90)
    clean(axis)


def _ceiling_note(found: dict[str, Any]) -> str:
    if 'ceiling' in found:
        low, high = found['ceiling']
        return f'ceiling {low:.2f} to {high:.2f}'
    if found.get('reliability'):
        mean = np.mean([ceiling for _, ceiling in found['reliability'].values()])
        return f'ceiling {mean:.2f} (one animal)'
    return 'no ceiling'


def _places(axis: Any, entry: dict[str, Any]) -> None:
    """Positions along the network, with intervals; centroids filled, best layers open."""
    areas = list(entry['areas'])
    for kind, offset, style in (
        ('centroid', 0.13, dict(fmt='o', color=INK, label='centroid of the curve')),
        ('peak', -0.13, dict(fmt='D', color=COLOURS[1], mfc='white', label='best layer')),
    ):
        values = np.array([entry['areas'][area]['positions'][kind] for area in areas])
        rows = np.array([AREAS.index(area) for area in areas]) - offset
        reach = np.abs(values[:, 1:].T - values[:, 0])
        axis.errorbar(values[:, 0], rows, xerr=reach, markersize=5, linewidth=1.2, **style)
    axis.set_ylim(len(AREAS) - 0.5, -0.5)
    axis.set_yticks(range(len(AREAS)), [area if area in areas else '' for area in AREAS])
    axis.set_xlim(-0.05, 1.05)
    axis.set_xticks([0, 0.5, 1], ['first\nlayer', 'middle', 'last\nlayer'])
    panel_title(axis, 'Where in the network')
    clean(axis, axis='x')


def _legend(figure: Any, row: Any) -> None:
    """One for the curves and for the positions, under all panels."""
    handles, labels = [], []
    for axis in (row[0], row[-1]):
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.append(handle)
            labels.append(label)
    figure.legend(
        handles,
        labels,
        loc='outside lower center',
        ncols=len(labels),
        frameon=False,
        fontsize=SMALL,
    )
