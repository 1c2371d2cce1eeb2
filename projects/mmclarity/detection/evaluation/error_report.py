"""Where a detector fails: one report as Markdown or as a self-contained HTML page."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmclarity.utils.figures import png
from mmclarity.utils.tables import markdown_table

from . import error_figures as figures
from .ceilings import CLOSE, SURE, count_near_sure, evaluate_ceilings_of
from .error_kinds import KINDS, SIZES, ErrorKinds
from .labelled import Labelled

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;font-size:13px;display:block;overflow-x:auto}
th,td{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
h3{font-size:1em;margin:1.6em 0 0}
img{max-width:100%}figure{margin:1em 0}figcaption{color:#666;font-size:13px}
"""

#: Parts with fewer objects are marked: their numbers say little.
FEW = 20


@dataclass
class Section:
    """A part of the report.

    Attributes:
        title: Its heading.
        text: Sentences below it.
        tables: Title (may be empty), and header and rows of each table.
        images: File name, caption and content of each picture.
        tables_first: Whether the tables come before the pictures.
    """

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    images: list[tuple[str, str, bytes]] = field(default_factory=list)
    tables_first: bool = False


def build(
    labelled: Labelled,
    dts: Sequence[dict],
    classes: Mapping[int, str],
    name: str,
    max_dets: int = 100,
    area_scale: float | np.ndarray = 1.0,
    sentence: str = '',
    min_score: float = 0.3,
    image_folder: Path | None = None,
    worst: int = 8,
) -> list[Section]:
    """Computes everything.

    Args:
        labelled: Images and ground truth.
        dts: Detections.
        classes: Names of the categories to evaluate, by id.
        name: Of the detector.
        max_dets: Detections counted for each image and class.
        area_scale: As for :class:`BoxEval`.
        sentence: How sizes are told, for the report.
        min_score: Detections below are left out of the confusion matrix and the pictures.
        image_folder: Where the images are; no pictures without.
        worst: How many images are shown.
    """
    images = len(labelled.names)
    gts, dts = ([i for i in items if i['category_id'] in classes] for items in (labelled.gts, dts))
    found = ErrorKinds(gts, dts, images, list(classes), max_dets, area_scale)
    groups = labelled.groups()
    notes = [*labelled.notes, *([f'{sentence}.'] if sentence else [])]
    head = Section(
        f'Where {name} fails',
        [
            f'{images:,} images, {len(found.gts):,} objects, {len(found.dts):,} detections.',
            *_in_short(found),
            *notes,
        ],
    )
    sections = [
        head,
        _kinds(found, classes, groups),
        _ceilings(gts, dts, images, classes, max_dets, area_scale, groups),
        _confusion(found, classes, min_score),
        _curves(found, classes),
    ]
    return sections + _pictures(found, labelled, classes, min_score, image_folder, worst)


#: What is done to put a kind of mistake right, for the sentence at the top.
_REMEDIES = {
    'name': 'objects that are found and called by a wrong name',
    'box': 'boxes that fit their objects badly',
    'both': 'wrong names in boxes that fit badly',
    'duplicate': 'objects found twice',
    'background': 'background taken for objects',
    'missed': 'objects that are not found at all',
}


def _in_short(found: ErrorKinds) -> list[str]:
    """The three kinds that cost most, in words."""
    costs = found.costs()
    dear = sorted(KINDS, key=lambda kind: -costs[kind])[:3]
    dear = [kind for kind in dear if costs[kind] > 0]
    if not dear:
        return []
    told = '; '.join(f'{_REMEDIES[kind]} ({_points(costs[kind])})' for kind in dear)
    return [
        f'AP50 is {_points(costs["AP50"])}. It loses most (points of AP50, if these alone were put '
        f'right) to {told}.'
    ]


def _kinds(
    found: ErrorKinds, classes: Mapping[int, str], groups: Mapping[str, Sequence[int]]
) -> Section:
    costs, counts = found.costs(), found.counts()
    columns = [*KINDS, 'false positives', 'false negatives']
    overall = [
        ['', *columns],
        ['points of AP50', *(_points(costs[kind]) for kind in columns)],
        ['mistakes', *(str(counts[kind]) for kind in KINDS), '', ''],
    ]
    parts = [('all', {})]
    parts += [(f'class/{label}', dict(category=number)) for number, label in classes.items()]
    parts += [(f'objects/{size}', dict(size=size)) for size in SIZES]
    parts += [(group, dict(images=images)) for group, images in groups.items()]
    table, numbers = [['part', 'objects', 'AP50', *KINDS]], [['part', *KINDS]]
    few = False
    for label, part in parts:
        cost, count = found.costs(**part), found.counts(**part)
        base = '' if 'size' in part else _points(cost['AP50'])
        objects = found.number(**part)
        mark = ' *' if objects < FEW else ''
        few = few or bool(mark)
        costs_of = (_points(cost[kind]) for kind in KINDS)
        table.append([label + mark, f'{objects:,}', base, *costs_of])
        numbers.append([label, *(str(count[kind]) for kind in KINDS)])
    return Section(
        'Kinds of mistakes',
        [
            'After TIDE, at IoU 0.5: a wrong name; a box that overlaps its object too little '
            '(0.1 to 0.5); both; a duplicate; background taken for an object; an object missed. '
            'The cost of a kind is what AP50 would gain if its mistakes were put right; the costs '
            'of several kinds do not add up.',
            'By part, costs are points of the AP50 of these images or this class (for sizes: of '
            'all objects, if only the mistakes of this size were put right). Counts are of all '
            'detections, those of low scores too, which cost little.',
            *([f'* Fewer than {FEW} objects: chance has most of it.'] if few else []),
        ],
        [('In all', overall), ('What they cost, by part', table), ('How many, by part', numbers)],
        [('costs.png', 'What each kind costs', png(figures.cost_figure(costs)))],
    )


def _ceilings(
    gts: Sequence[dict],
    dts: Sequence[dict],
    images: int,
    classes: Mapping[int, str],
    max_dets: int,
    area_scale: float | np.ndarray,
    groups: Mapping[str, Sequence[int]],
) -> Section:
    results = evaluate_ceilings_of(gts, dts, images, list(classes), max_dets, area_scale, groups)
    kinds = list(results['all'])
    sizes = [['', 'AP', 'AP50', 'AP75', 'small', 'medium', 'large', *classes.values()]]
    for kind in kinds:
        summary = results['all'][kind]
        values = [*summary.numbers().values()]
        values += [summary.average(category_id=number) for number in classes]
        sizes.append([kind, *map(_points, values)])
    gains = [['images of', *kinds]]
    for group, summaries in results.items():
        base, *others = (summary.average() for summary in summaries.values())
        gains.append([group, _points(base), *(_points(value - base, '+') for value in others)])
    total, near = count_near_sure(gts, dts, images, 0.05)
    return Section(
        'Ceilings',
        [
            'AP over IoU 0.5 to 0.95 if one kind of mistakes were put right; then, by condition, '
            'AP as it is and the points that each kind is worth.',
            f'{total} detections with a score of 0.05 or more bear a wrong name; {near} of them '
            f'({100 * near / max(total, 1):.0f} %) have a right neighbour: another object of the '
            f'true class, rightly named with {SURE:g} or more, within {CLOSE:g} sides.',
        ],
        [('By size and class', sizes), ('By condition', gains)],
    )


def _confusion(found: ErrorKinds, classes: Mapping[int, str], min_score: float) -> Section:
    table = found.confusion(min_score)
    names = [classes[number] for number in found.category_ids]
    rows = [['is / called', *names, 'missed']]
    rows += [[label, *map(str, row.tolist())] for label, row in zip([*names, 'no object'], table)]
    return Section(
        'Confusion',
        [
            f'Detections with a score of {min_score:g} or more, IoU 0.5. "No object" holds what '
            'lies on nothing, and further detections of an object.'
        ],
        [('Counts', rows)],
        [
            (
                'confusion.png',
                'Per cent of the objects of a class; in the last row, counts',
                png(figures.confusion_figure(table, names)),
            )
        ],
    )


def _curves(found: ErrorKinds, classes: Mapping[int, str]) -> Section:
    error = found.calibration()[3]
    curves = png(figures.curve_figure(found, classes))
    calibration = png(figures.calibration_figure(found))
    return Section(
        'Precision, recall, calibration',
        [
            'At IoU 0.5. A calibrated detector is right as often as its scores say; its expected '
            f'calibration error (ten bins) is {error:.3f}.'
        ],
        [],
        [
            ('curves.png', 'Precision and recall', curves),
            ('calibration.png', 'Calibration', calibration),
        ],
    )


def _pictures(
    found: ErrorKinds,
    labelled: Labelled,
    classes: Mapping[int, str],
    min_score: float,
    folder: Path | None,
    worst: int,
) -> list[Section]:
    chosen = figures.worst_images(found, min_score, worst)
    if not chosen:
        return []
    rows = [['image', 'weight', 'mistakes']]
    rows += [[labelled.names[place], f'{weight:.1f}', text] for place, weight, text in chosen]
    section = Section(
        'Worst images',
        [
            'Wrong detections weigh as much as their score, objects missed weigh 1. Colours tell '
            'the kind of mistake; words are what the detector said, or what it missed.'
        ],
        [('', rows)],
        tables_first=True,
    )
    unread = []
    for rank, (place, _, text) in enumerate(chosen if folder is not None else ()):
        name = labelled.names[place]
        content = None
        for path in (folder / labelled.paths[place], folder / name, Path(labelled.paths[place])):
            content = content or figures.picture(path, found, place, classes, min_score)
        if content is None:
            unread.append(name)
        else:
            section.images.append((f'worst_{rank + 1}.jpg', f'{name}: {text}', content))
    if unread:
        section.text.append(f'Not to be read in {folder}: {", ".join(unread)}.')
    return [section]


def as_markdown(sections: Sequence[Section], folder: str) -> str:
    """The report, with pictures in ``folder`` beside it."""
    lines = []
    for level, section in enumerate(sections):
        lines += ['#' * (1 if not level else 2) + f' {section.title}', '']
        for text in section.text:
            lines += [text, '']
        tables: list[str] = []
        for title, (header, *rows) in section.tables:
            tables += [f'### {title}', ''] if title else []
            tables += [markdown_table(header, rows), '']
        pictures = [
            line
            for name, caption, _ in section.images
            for line in (f'![{caption}]({folder}/{name})', '')
        ]
        lines += tables + pictures if section.tables_first else pictures + tables
    return '\n'.join(lines)


def as_html(sections: Sequence[Section]) -> str:
    """The report as one page, pictures within."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(sections[0].title)}</title><style>{_STYLE}</style>'
    ]
    for level, section in enumerate(sections):
        tag = 'h2' if level else 'h1'
        parts.append(f'<{tag}>{html.escape(section.title)}</{tag}>')
        parts += [f'<p>{html.escape(text)}</p>' for text in section.text]
        tables = [_table(*table) for table in section.tables]
        pictures = [_figure(*image) for image in section.images]
        parts += tables + pictures if section.tables_first else pictures + tables
    return '\n'.join([*parts, '</html>\n'])


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    cells = [_cells('td' if place else 'th', row) for place, row in enumerate(rows)]
    head = f'<h3>{html.escape(title)}</h3>' if title else ''
    return f'{head}<table>{"".join(f"<tr>{row}</tr>" for row in cells)}</table>'


def _figure(name: str, caption: str, content: bytes) -> str:
    kind = 'png' if name.endswith('.png') else 'jpeg'
    data = base64.b64encode(content).decode()
    caption = html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/{kind};base64,{data}">'
        f'<figcaption>{caption}</figcaption></figure>'
    )


def _cells(tag: str, row: Sequence[str]) -> str:
    return ''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in row)


def _points(value: float, sign: str = '') -> str:
    return '-' if np.isnan(value) else f'{100 * value:{sign}.1f}'
