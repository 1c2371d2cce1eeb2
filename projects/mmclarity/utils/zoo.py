"""The model zoo: a page and OpenMMLab's metafiles, written from what was measured and only that.

A row is a JSON file of ``docs/zoo`` that ``tools/model_zoo.py`` measured: of a detector or of a
restorer. Nothing of the page or of the metafiles is typed by hand; a test has them written again
and compares, and another one compares the hashes with the files that ship.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmclarity.errors import DataError

from .files import listing
from .tables import markdown_table

Row = dict[str, Any]

#: Fields that every row must have, and those of its task.
FIELDS = (
    'name', 'task', 'config', 'checkpoint', 'sha256', 'seeds', 'parameters', 'multiply_adds',
    'shape', 'images_per_second', 'memory', 'machine', 'data', 'images', 'notes',
)  # fmt: skip
TASKS = {'detection': ('ap', 'conditions'), 'restoration': ('scores',)}
AP = ('AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large')
#: Numbers of a restorer: key, title, digits.
SCORES = (
    ('psnr', 'PSNR dB', 2),
    ('ssim', 'SSIM', 3),
    ('fabricated', 'fabricated', 1),
    ('missed', 'missed', 1),
    ('blur', 'blur px', 2),
)
PAGE, METAFILE, INDEX = 'docs/benchmarks/model_zoo.md', 'configs/metafile.yml', 'model-index.yml'
_HEAD = """\
# Model zoo

Measured rows only: this page is written by `tools/model_zoo.py` from the files in `docs/zoo`, and
tests compare the two, and the hashes with the files that ship. Brackets hold the 95 % interval of
drawing other images like these (bootstrap; it does not hold the spread of other seeds).
"""
_DETECTORS = """\
AP is in per cent. Conditions of fewer than 20 images are left out.
"""
_RESTORERS = """\
Means over the images. `fabricated` and `missed` are particles a picture
([how they are counted](../concepts/honesty.md)); `blur` is how much wider edges are than in the
reference. Other restorers on the same pairs: [one set of pairs](restoration_pairs.md).
"""
_COST = """\
Multiply-adds of one image, of convolutions, linear layers and matrix products; images a second from
pixels to the result, one after the other, by processor time on one thread, median; memory is the
most that the process took.
"""


def digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Examples:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     digest(file.name)[:8]
        'e3b0c442'
    """
    found = hashlib.sha256()
    with Path(path).open('rb') as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def read_rows(folder: str | Path) -> list[Row]:
    """The rows of a folder, by file name.

    Raises:
        DataError: Naming a file that is no row, and what it lacks.
    """
    rows = []
    for path in listing(folder, ('.json',)) if Path(folder).is_dir() else ():
        try:
            row = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as error:
            raise DataError(f'{path}: no JSON: {error}') from error
        row = row if isinstance(row, dict) else {}
        wanted = (*FIELDS, *TASKS.get(row.get('task', ''), ()))
        lacking = [field for field in wanted if field not in row]
        if lacking:
            raise DataError(f'{path}: lacks {", ".join(lacking)}; write it by tools/model_zoo.py')
        if row['task'] not in TASKS:
            raise DataError(f'{path}: task {row["task"]!r} is none of {", ".join(TASKS)}')
        rows.append(row)
    return rows


def written(rows: Sequence[Row]) -> dict[str, str]:
    """The page and the metafiles, by their place in the repository."""
    return {
        PAGE: page(rows),
        METAFILE: metafile(rows),
        INDEX: 'Import:\n  - configs/metafile.yml\n',
    }


def page(rows: Sequence[Row]) -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    if not rows:
        return '\n'.join([*parts, 'Nothing has been measured yet.\n'])
    detectors, restorers = (
        [row for row in rows if row['task'] == task] for task in ('detection', 'restoration')
    )
    if detectors:
        parts += ['## Detectors\n', _DETECTORS, *_of_detectors(detectors)]
    if restorers:
        parts += ['## Restorers\n', _RESTORERS, *_of_restorers(restorers)]
    parts += ['## What they take\n', _cost(rows), _COST]
    machines = '; '.join(sorted({row['machine'] for row in rows}))
    parts += [f'Machine: {machines}.\n', '## Where they come from\n', _origin(rows)]
    return '\n'.join(parts)


def _by_data(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    names = sorted({row['data'] for row in rows})
    return [(name, [row for row in rows if row['data'] == name]) for name in names]


def _of_detectors(rows: Sequence[Row]) -> list[str]:
    parts = []
    for data, some in _by_data(rows):
        parts.append(f'### {data}\n\n{some[0]["images"]} images.\n')
        cells = [[row['name'], *(_per_cent(row['ap'].get(key)) for key in AP)] for row in some]
        parts.append(markdown_table(['detector', *AP], cells) + '\n')
        conditions = sorted({key for row in some for key in row['conditions']})
        if conditions:
            cells = [
                [name, *(_per_cent(row['conditions'].get(name)) for row in some)]
                for name in conditions
            ]
            parts.append(f'### {data}: AP by condition\n')
            parts.append(markdown_table(['images', *(row['name'] for row in some)], cells) + '\n')
    return parts


def _of_restorers(rows: Sequence[Row]) -> list[str]:
    parts = []
    for data, some in _by_data(rows):
        parts.append(f'### {data}\n\n{some[0]["images"]} images.\n')
        cells = [
            [row['name'], *(_interval(row['scores'].get(key), digits) for key, _, digits in SCORES)]
            for row in some
        ]
        heads = ['restorer', *(title for _, title, _ in SCORES)]
        parts.append(markdown_table(heads, cells) + '\n')
    return parts


def _cost(rows: Sequence[Row]) -> str:
    cells = [
        [
            row['name'],
            f'{row["parameters"] / 1e6:.2f} M',
            f'{row["multiply_adds"] / 1e9:.2f} G',
            f'{row["shape"][1]}x{row["shape"][0]}',
            f'{row["images_per_second"]:.1f}',
            f'{row["memory"] / 1e6:.0f} MB',
            str(row['seeds']),
        ]
        for row in rows
    ]
    heads = ['model', 'parameters', 'multiply-adds', 'image', 'images/s', 'memory', 'seeds']
    return markdown_table(heads, cells) + '\n'


def _origin(rows: Sequence[Row]) -> str:
    cells = [
        [
            row['name'],
            f'`{row["config"]}`' if row['config'] else 'in the package',
            f'`{row["checkpoint"]}`',
            f'`{row["sha256"][:16]}`',
            row['notes'],
        ]
        for row in rows
    ]
    heads = ['model', 'config', 'checkpoint', 'SHA-256 begins', 'notes']
    return markdown_table(heads, cells, align='lllll') + '\n'


def _interval(value: Sequence[float | None] | None, digits: int) -> str:
    if value is None or value[0] is None:
        return ''
    point, low, high = value
    if low is None or high is None:
        return f'{point:.{digits}f}'
    return f'{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]'


def _per_cent(value: Sequence[float | None] | None) -> str:
    if value is None or None in value:
        return _interval(value and [n if n is None else 100 * n for n in value], 1)
    # The basic interval of a rare class may end where no AP can be.
    point, low, high = (float(number or 0.0) for number in value)
    return _interval([100 * point, 100 * max(low, 0.0), 100 * min(high, 1.0)], 1)


def metafile(rows: Sequence[Row]) -> str:
    """OpenMMLab's ``metafile.yml``."""
    import yaml

    collections = {
        'detection': dict(
            Name='Detectors of bad visibility',
            Metadata={'Architecture': ['Faster R-CNN', 'attention among regions']},
            README=PAGE,
        ),
        'restoration': dict(
            Name='Restorers of micrographs', Metadata={'Architecture': ['U-Net']}, README=PAGE
        ),
    }
    used = [task for task in collections if any(row['task'] == task for row in rows)]
    content = {
        'Collections': [collections[task] for task in used],
        'Models': [_model(row, collections[row['task']]['Name']) for row in rows],
    }
    head = '# Written by tools/model_zoo.py from docs/zoo; do not edit.\n'
    return head + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)


def _model(row: Row, collection: str) -> Row:
    model: Row = {'Name': row['name'], 'In Collection': collection}
    if row['config']:
        model['Config'] = row['config']
    if '/' in row['checkpoint']:
        model['Weights'] = row['checkpoint']
    model['Metadata'] = {
        'Parameters': row['parameters'],
        'FLOPs': row['multiply_adds'],
        'Checkpoint SHA-256': row['sha256'],
        'inference time (ms/im)': [
            {
                'value': round(1000 / row['images_per_second'], 1),
                'hardware': row['machine'],
                'backend': 'PyTorch',
                'batch size': 1,
                'mode': row.get('mode', 'FP32'),
                'resolution': f'({row["shape"][0]}, {row["shape"][1]})',
            }
        ],
    }
    if row['task'] == 'detection':
        task, metrics = (
            'Object Detection',
            {
                f'box {key}': round(100 * row['ap'][key][0], 1)
                for key in AP
                if row['ap'].get(key) and row['ap'][key][0] is not None
            },
        )
    else:
        task, metrics = (
            'Denoising',
            {
                key.upper(): round(row['scores'][key][0], digits)
                for key, _, digits in SCORES[:2]
                if row['scores'].get(key) and row['scores'][key][0] is not None
            },
        )
    model['Results'] = [{'Task': task, 'Dataset': row['data'], 'Metrics': metrics}]
    return model
