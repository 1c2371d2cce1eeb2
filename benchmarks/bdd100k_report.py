"""What ``bdd100k_tables.py`` measured, as the tables of docs/benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmclarity.utils.tables import markdown_table, replace_part

NAMES = {
    'plain': 'plain',
    'plain_soft': 'plain, suppressed softly and with boxes by vote',
    'two_looks': 'two looks',
    'context': 'context: two looks with attention',
    'lambda': 'lambda',
    'sa32': 'SA t=32',
    'sa032': 'SA t=0.32',
    'sta32': 'STA t=32',
    'sta032': 'STA t=0.32',
}
SHORT = {'plain_soft': 'plain suppressed softly, by vote', 'context': 'context'}
NUMBERS = {
    'mAP': 'AP',
    'mAP_50': 'AP50',
    'mAP_75': 'AP75',
    'mAP_s': 'AP small',
    'mAP_m': 'AP medium',
    'mAP_l': 'AP large',
}
SIZES = ('small', 'medium', 'large')
# Rows of the table by weather: the name of the part, and what it is called.
WEATHER = {
    'all': 'all',
    'timeofday/daytime': 'daytime',
    'timeofday/night': 'night',
    'timeofday/dawn/dusk': 'dawn/dusk',
    'weather+timeofday/clear, daytime': 'clear, daytime',
    'weather/clear': 'clear',
    'weather/overcast': 'overcast',
    'weather/rainy': 'rainy',
    'weather/snowy': 'snowy',
}


def write(results: dict[str, Any], pages: Path) -> None:
    """Puts the tables between their marks.

    Raises:
        OSError: a page is missing.
        UsageError: a page lacks a mark.
    """
    page, trials = pages / 'bdd100k.md', pages / 'bdd100k_trials.md'
    replace_part(page, 'validation', validation(results['validation']))
    replace_part(page, 'conditions', conditions(results['validation']))
    replace_part(page, 'weather', weather(results['six classes'], results['cars']))
    replace_part(page, 'heads', heads(results['heads']))
    replace_part(page, 'ceilings', ceilings(results['ceilings']))
    replace_part(trials, 'published heads', heads(results['published heads'], bold=False))


def change(limits: Sequence[float | None]) -> str:
    """A difference in points, with its interval where it has one."""
    value, low, high = limits
    if value is None:
        return 'N/A'
    if low is None or high is None:
        return points(value, '+')
    return f'{points(value, "+")} [{points(low, "+")}, {points(high, "+")}]'


def points(value: float | None, sign: str = '') -> str:
    """In per cent; what rounds to zero has the sign of the number."""
    return 'N/A' if value is None else f'{100 * value:{sign}.1f}'


def validation(found: dict[str, Any]) -> str:
    """Values of the detectors that ship, and their differences."""
    rows = []
    for name, values in found['values'].items():
        title = f'**{NAMES[name]}**' if name == 'two_looks' else NAMES[name]
        rows.append([title, *(points(values['all'][number]) for number in NUMBERS)])
    for pair, changes in found['differences'].items():
        rows.append([_pair(pair), *(change(changes['all'][number]) for number in NUMBERS)])
    frames = found['parts']['all'][0]
    return markdown_table(
        [f'{frames:,} validation frames, the detectors that ship', *NUMBERS.values()], rows
    )


def conditions(found: dict[str, Any]) -> str:
    """Plain and two looks by number, class, weather, time of day and scene."""
    rows = []
    changes = found['differences']['two_looks - plain']
    for part, (frames, objects, thin) in found['parts'].items():
        for number, title in NUMBERS.items() if part == 'all' else [('mAP', '')]:
            rows.append(
                [
                    f'all, {title}' if title else _part(part) + (' \\*' if thin else ''),
                    f'{frames:,}',
                    f'{objects:,}',
                    *(
                        points(found['values'][name][part][number])
                        for name in ('plain', 'two_looks')
                    ),
                    change(changes[part][number]),
                ]
            )
    header = ['frames or objects of', 'frames', 'objects', 'plain', 'two looks', 'difference']
    return markdown_table(header, rows)


def weather(six: dict[str, Any], cars: dict[str, Any]) -> str:
    """Six classes that every condition has, and cars; what suppression alone does not bring."""
    pairs = ('two_looks - plain', 'two_looks - plain_soft')
    rows = []
    for part, title in WEATHER.items():
        values = [points(six['values'][name][part]['mAP']) for name in ('plain', 'two_looks')]
        changes = [
            change(found['differences'][pair][part]['mAP'])
            for found in (six, cars)
            for pair in pairs
        ]
        rows.append([title, f'{six["parts"][part][0]:,}', *values, *changes])
    header = ['frames', 'number', 'plain', 'two looks', 'difference', 'not by suppression']
    return markdown_table([*header, 'cars, difference', 'not by suppression'], rows)


def heads(found: dict[str, Any], bold: bool = True) -> str:
    """Seeds of each head, differences from the plain one, then from the others."""
    numbers = list(NUMBERS)[:5]  # large objects are few
    rows = []
    for name, seeds in found['seeds'].items():
        title = f'**{NAMES[name]}**' if bold and name == 'two_looks' else NAMES[name]
        cells = _changes(found, f'{name} - plain', numbers) if name != 'plain' else [''] * 6
        rows.append([title, ', '.join(map(points, seeds)), *cells])
    for pair in found['differences']:
        name, first = pair.split(' - ')
        if first != 'plain':
            title = f'{SHORT.get(name, NAMES[name])}, to {SHORT.get(first, NAMES[first])}'
            rows.append([title, '', *_changes(found, pair, numbers)])
    seeds = ', '.join(str(seed) for seed in range(len(found['seeds']['plain'])))
    header = ['head', f'AP of seeds {seeds}', 'difference in AP', 'for other seeds, too']
    header += [f'in {NUMBERS[number]}' for number in numbers[1:]]
    return markdown_table(header, rows, 'll' + 'r' * (len(numbers) + 1))


def _changes(found: dict[str, Any], pair: str, numbers: Sequence[str]) -> list[str]:
    """Differences in AP, the same with the interval that holds for other seeds, and in the rest."""
    cells = [change(found['differences'][pair]['all'][number]) for number in numbers]
    wide = change(found['over_seeds'][pair]['all']['mAP'])
    return [cells[0], wide[wide.index('[') :] if '[' in wide else '', *cells[1:]]


def ceilings(found: dict[str, Any]) -> str:
    """AP if one kind of mistake were put right, and what names have a neighbour to learn from."""
    header = ['', 'AP', 'AP50', 'AP75', *SIZES, *found['classes']]
    rows = [[name, *map(points, values)] for name, values in found['rows'].items()]
    (total, near), (sure_total, sure_near) = found['wrong_names'].values()
    share = 100 * near / max(total, 1)
    return (
        f'{markdown_table(header, rows)}\n\n'
        f'{100 * found["found"]:.0f} % of the objects have a detection on them. Of {total:,} wrong '
        f'names with a score of 0.05 or more, {near:,}\n({share:.0f} %) have a right '
        'neighbour: another object of the true class, rightly named with 0.5 or more, within\n'
        f'five sides. Of {sure_total:,} with a score of 0.3 or more, {sure_near:,} have one.'
    )


def _pair(pair: str) -> str:
    return ' - '.join(SHORT.get(name, NAMES[name]) for name in pair.split(' - '))


def _part(part: str) -> str:
    kind, _, value = part.partition('/')
    return value if kind == 'class' else f'{kind}: {value}'
