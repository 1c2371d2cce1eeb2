"""A comparison of detectors as text, Markdown, CSV, JSON and a forest plot."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmclarity.utils.figures import COLOURS, GREY, INK, NORMAL, SMALL, clean, new_figure
from mmclarity.utils.tables import csv_text, markdown_table

from .comparison import TITLES, Comparison, Estimate, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW_DRAWS = 0.99  # below this share of draws with objects, the row says so
_COLUMNS = (
    *('part', 'number', 'images', 'objects', 'detector', 'value', 'low', 'high'),
    *('difference', 'difference_low', 'difference_high', 'p', 'valid_draws'),
    *('over_seeds_low', 'over_seeds_high', 'holding'),
)
_FEW = 20  # images or objects; no interval is worth much below
_FEW_HOLDING = 10  # of what is drawn, with objects of this class and size


def heading(comparison: Comparison) -> str:
    """How the numbers were made, in one sentence."""
    return (
        f'AP in per cent with {100 * comparison.confidence:g} % intervals: {comparison.draws:,} '
        f'bootstrap draws of the {comparison.drawn}, the same for all detectors (seed '
        f'{comparison.seed}).'
    )


def shown(comparison: Comparison, everything: bool = False) -> list[Row]:
    """Rows of the table: all six numbers of all images, AP of classes and groups."""
    return [
        row for row in comparison.rows if everything or row.part == 'all' or row.number == 'mAP'
    ]


def table(comparison: Comparison, everything: bool = False) -> list[list[str]]:
    """Header and rows."""
    first, *others = comparison.names
    header = ['images of', 'number', 'images', 'objects', *comparison.names]
    for name in others:
        header += [f'{name} - {first}', 'p']
    rows = [header]
    for row in shown(comparison, everything):
        cells = [row.part, TITLES[row.number], str(row.images), str(row.objects)]
        cells += [_cell(value) for value in row.values]
        for difference, p in zip(row.differences, row.p):
            cells += [_cell(difference, '+'), _p(p, comparison.draws)]
        if is_thin(row):
            cells[0] += ' *'
        rows.append(cells)
    return rows


def remarks(comparison: Comparison) -> list[str]:
    """What is to be known beside the table."""
    notes = list(comparison.notes)
    if any(is_thin(row) for row in shown(comparison)):
        notes.append(
            f'* Fewer than {_FEW} images or objects, objects in fewer than {_FEW_HOLDING} '
            f'{comparison.drawn}, or draws that hold none of them (left out of the row): too few '
            'for the interval to be trusted.'
        )
    if comparison.seeds > 1:
        overall = comparison.rows[0].seed_values * 100
        for name, values in zip(comparison.names, overall):
            notes.append(
                f'AP of each seed, {name}: {", ".join(f"{v:.2f}" for v in values)} '
                f'(standard deviation {values.std(ddof=1):.2f})'
            )
        for name, values in zip(comparison.names[1:], overall[1:] - overall[0]):
            notes.append(
                f'Difference of each pair of seeds, {name} - {comparison.names[0]}: '
                f'{", ".join(f"{v:+.2f}" for v in values)} '
                f'(standard deviation {values.std(ddof=1):.2f})'
            )
        notes += _over_seeds(comparison)
    return notes


def _over_seeds(comparison: Comparison) -> list[str]:
    """The differences with the intervals that hold for other seeds, too."""
    rows = [row for row in comparison.rows if row.part == 'all']
    return [
        f'{name} - {comparison.names[0]}, for other {comparison.drawn} and other seeds of both '
        'trainings: '
        + ', '.join(
            f'{TITLES[row.number]} {_cell(row.over_seeds[place], "+")}'
            for row in rows
            if not math.isnan(row.over_seeds[place].value)
        )
        for place, name in enumerate(comparison.names[1:])
    ]


def as_text(comparison: Comparison, everything: bool = False) -> str:
    """For the terminal."""
    rows = table(comparison, everything)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        '  '.join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, '-' * max(len(line) for line in lines))
    return '\n'.join([heading(comparison), '', *lines, '', *remarks(comparison)]).rstrip()


def as_markdown(comparison: Comparison, everything: bool = False) -> str:
    """A table and its remarks."""
    header, *rows = table(comparison, everything)
    found = markdown_table(header, rows, 'll' + 'r' * (len(header) - 2))
    notes = [f'- {note}' for note in remarks(comparison)]
    text = [heading(comparison), '', found, *([''] + notes if notes else [])]
    return '\n'.join(text).replace('- * ', '- \\* ') + '\n'


def as_csv(comparison: Comparison) -> str:
    """One line for each detector, part and number; in [0, 1], empty where undefined."""
    rows = []
    nothing = Estimate(math.nan, math.nan, math.nan)
    for row in comparison.rows:
        changes = [nothing, *row.differences]
        over_seeds = [nothing, *row.over_seeds]
        for name, value, change, p, wide in zip(
            comparison.names, row.values, changes, [math.nan, *row.p], over_seeds
        ):
            numbers = [value.value, value.low, value.high, change.value, change.low, change.high]
            numbers += [p, row.valid, wide.low, wide.high]
            rows.append(
                [row.part, row.number, row.images, row.objects, name]
                + ['' if math.isnan(n) else repr(n) for n in numbers]
                + [row.holding]
            )
    return csv_text(_COLUMNS, rows)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything, in [0, 1]; null where undefined."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if hasattr(value, 'tolist'):
            value = value.tolist()
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return plain(asdict(comparison))


def forest_plot(comparison: Comparison) -> 'Figure':
    """Differences with their intervals: overall numbers, classes, groups of images.

    Raises:
        ValueError: If there is nothing to compare with.
        ModuleNotFoundError: If matplotlib is missing.
    """
    if len(comparison.names) < 2:
        raise ValueError('a forest plot shows differences: give a second detector')
    rows = [
        row
        for row in shown(comparison)
        if any(math.isfinite(item.value) for item in row.differences)
    ]
    others = len(comparison.names) - 1
    heights = _heights(rows)
    inches = 0.24 * max(1, 0.6 * others) * (heights[-1] + 1.5) if rows else 1
    figure = new_figure(8.2, inches + 1.3)
    axes = figure.add_subplot()
    for place, name in enumerate(comparison.names[1:]):
        offset = 0.0 if others == 1 else 0.6 * (place / (others - 1) - 0.5)
        colour = COLOURS[place % len(COLOURS)]
        for row, height in zip(rows, heights):
            own = GREY if is_thin(row) else colour
            _whisker(axes, row.differences[place], height + offset, own)
        axes.plot([], [], 'o', color=colour, label=f'{name} - {comparison.names[0]}')
    axes.axvline(0, color=INK, linewidth=0.8)
    _limit(axes, rows)
    axes.set_yticks(heights, [_label(row) for row in rows], fontsize=SMALL)
    axes.set_ylim((heights[-1] + 0.8) if rows else 1, -0.8)
    axes.set_xlabel(
        f'AP points more than {comparison.names[0]} (the first detector)\n'
        'grey: zero lies within, or too few images or objects',
        fontsize=SMALL,
    )
    clean(axes, axis='x')
    axes.tick_params(axis='y', length=0)
    axes.spines['left'].set_visible(False)
    if others == 1:
        _numbers(axes, rows, heights)
    axes.legend(
        loc='lower left',
        bbox_to_anchor=(0, 1),
        frameon=False,
        fontsize=NORMAL,
        ncols=min(others, 2),
    )
    return figure


def _limit(axes: 'Axes', rows: Sequence[Row]) -> None:
    """Leaves rows of few objects out of the scale, so that one does not flatten all others."""
    wanted = [row for row in rows if not is_thin(row)] or rows
    ends = [
        100 * end
        for row in wanted
        for item in row.differences
        for end in (item.low, item.high, item.value, 0.0)
        if math.isfinite(end)
    ]
    if ends:
        margin = 0.06 * (max(ends) - min(ends)) or 1.0
        axes.set_xlim(min(ends) - margin, max(ends) + margin)


def is_thin(row: Row) -> bool:
    """Whether a row stands on too few images or objects for its interval to be trusted."""
    few = min(row.images, row.objects) < _FEW or row.holding < _FEW_HOLDING
    return few or row.valid < _FEW_DRAWS


def _heights(rows: Sequence[Row]) -> list[float]:
    """Places from the top, with a gap between kinds of rows."""
    heights: list[float] = []
    previous = None
    for row in rows:
        kind = row.part.split('/')[0]
        step = 1.0 if kind == previous else 1.7
        heights.append(heights[-1] + step if heights else 0.0)
        previous = kind
    return heights


def _whisker(axes: 'Axes', estimate: Estimate, height: float, colour: str) -> None:
    low, value, high = (100 * v for v in (estimate.low, estimate.value, estimate.high))
    if not math.isfinite(value):
        return
    colour = GREY if low <= 0 <= high or not math.isfinite(low) else colour
    axes.plot([low, high], [height] * 2, color=colour, linewidth=1.6, solid_capstyle='butt')
    axes.plot([value], [height], 'o', color=colour, markersize=4.5)


def _numbers(axes: 'Axes', rows: Sequence[Row], heights: Sequence[float]) -> None:
    """The differences in words at the right."""
    for row, height in zip(rows, heights):
        axes.annotate(
            _cell(row.differences[0], '+'),
            (1.01, height),
            xycoords=('axes fraction', 'data'),
            fontsize=7.5,
            va='center',
            color=INK,
            annotation_clip=False,
        )


def _label(row: Row) -> str:
    if row.part == 'all':
        return TITLES[row.number]
    kind, _, value = row.part.partition('/')
    count = f'{row.objects} objects' if kind == 'class' else f'{row.images} images'
    kind = '' if kind == 'class' else f'{kind}: '
    return f'{kind}{value} ({count})'


def _cell(estimate: Estimate, sign: str = '') -> str:
    if math.isnan(estimate.value):
        return '-'
    value, low, high = (
        f'{100 * number:{sign}.2f}' for number in (estimate.value, estimate.low, estimate.high)
    )
    if math.isnan(estimate.low):
        return value
    return f'{value} [{low}, {high}]'


def _p(p: float, draws: int) -> str:
    if math.isnan(p):
        return '-'
    least = 2 / (draws + 1)
    return f'{p:.3f}' if p >= 0.001 else f'< {max(0.001, math.ceil(least * 1000) / 1000):g}'
