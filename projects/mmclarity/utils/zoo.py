"""The model zoo: a page and OpenMMLab's metafiles, written from what was measured and only that.

A row is a JSON file of ``docs/zoo`` that ``tools/model_zoo.py measure`` wrote. Nothing of the page
or of the metafiles is typed by hand; a test has them written again and compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmclarity.errors import DataError
from mmclarity.utils.files import listing
from mmclarity.utils.tables import markdown_table

#: Fields that a row must have.
FIELDS = (
    'name', 'config', 'checkpoint', 'sha256', 'seeds', 'parameters', 'multiply_adds', 'shape',
    'images_per_second', 'memory', 'machine', 'data', 'images', 'ap', 'conditions', 'notes',
)  # fmt: skip
NUMBERS = ('AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large')
PAGE, METAFILE, INDEX = 'docs/benchmarks/model_zoo.md', 'configs/metafile.yml', 'model-index.yml'
_HEAD = """\
# Model zoo

Measured rows only: this page is written by `tools/model_zoo.py` from the files in `docs/zoo`, and a
test compares the two. AP is in per cent, with the 95 % interval of drawing other images like these
(basic bootstrap; it does not hold the spread of other seeds). Conditions of fewer than 20 images
are left out.
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


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
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
        lacking = [field for field in FIELDS if not isinstance(row, dict) or field not in row]
        if lacking:
            raise DataError(f'{path}: lacks {", ".join(lacking)}; write it by model_zoo.py measure')
        rows.append(row)
    return rows


def written(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The page and the metafiles, by their place in the repository."""
    return {
        PAGE: page(rows),
        METAFILE: metafile(rows),
        INDEX: 'Import:\n  - configs/metafile.yml\n',
    }


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    if not rows:
        return '\n'.join([*parts, 'Nothing has been measured yet.\n'])
    for data in sorted({row['data'] for row in rows}):
        some = [row for row in rows if row['data'] == data]
        parts.append(f'## {data}\n\n{some[0]["images"]} images.\n')
        cells = [[row['name'], *(_interval(row['ap'].get(key)) for key in NUMBERS)] for row in some]
        parts.append(markdown_table(['detector', *NUMBERS], cells) + '\n')
        conditions = sorted({key for row in some for key in row['conditions']})
        if conditions:
            cells = [
                [name, *(_interval(row['conditions'].get(name)) for row in some)]
                for name in conditions
            ]
            parts.append(f'### {data}: AP by condition\n')
            parts.append(markdown_table(['images', *(row['name'] for row in some)], cells) + '\n')
    parts.append('## What they take\n')
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
    heads = ['detector', 'parameters', 'multiply-adds', 'image', 'images/s', 'memory', 'seeds']
    parts.append(markdown_table(heads, cells) + '\n')
    machines = '; '.join(sorted({row['machine'] for row in rows}))
    parts.append(
        'Multiply-adds of one image by `tools/analysis_tools/get_flops.py`; images a second '
        'from pixels to detections, one after the other, by processor time on one thread, median; '
        f'memory is the most that the process took. Machine: {machines}.\n'
    )
    cells = [
        [row['name'], f'`{row["config"]}`', f'`{row["checkpoint"]}`', f'`{row["sha256"][:16]}`',
         row['notes']]
        for row in rows
    ]  # fmt: skip
    parts.append('## Where they come from\n')
    heads = ['detector', 'config', 'checkpoint', 'SHA-256 begins', 'notes']
    parts.append(markdown_table(heads, cells) + '\n')
    return '\n'.join(parts)


def _interval(value: Sequence[float | None] | None) -> str:
    if value is None or value[0] is None:
        return ''
    point, low, high = value
    if low is None or high is None:
        return f'{100 * point:.1f}'
    # The basic interval of a rare class may end where no AP can be.
    low, high = max(low, 0.0), min(high, 1.0)
    return f'{100 * point:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


def metafile(rows: Sequence[dict[str, Any]]) -> str:
    """OpenMMLab's ``metafile.yml``."""
    import yaml

    models = [
        {
            'Name': row['name'],
            'In Collection': 'mmclarity',
            'Config': row['config'],
            'Metadata': {
                'Parameters': row['parameters'],
                'FLOPs': row['multiply_adds'],
                'Checkpoint SHA-256': row['sha256'],
                'inference time (ms/im)': [
                    {
                        'value': round(1000 / row['images_per_second'], 1),
                        'hardware': row['machine'],
                        'backend': 'PyTorch',
                        'batch size': 1,
                        'mode': 'FP32',
                        'resolution': f'({row["shape"][0]}, {row["shape"][1]})',
                    }
                ],
            },
            'Results': [
                {
                    'Task': 'Object Detection',
                    'Dataset': row['data'],
                    'Metrics': {
                        f'box {key}': round(100 * row['ap'][key][0], 1)
                        for key in NUMBERS
                        if row['ap'].get(key) and row['ap'][key][0] is not None
                    },
                }
            ],
        }
        for row in rows
    ]
    content = {
        'Collections': [
            {
                'Name': 'mmclarity',
                'Metadata': {'Architecture': ['Faster R-CNN', 'attention among regions']},
                'README': PAGE,
            }
        ],
        'Models': models,
    }
    head = '# Written by tools/model_zoo.py from docs/zoo; do not edit.\n'
    return head + yaml.safe_dump(content, sort_keys=False, width=100, allow_unicode=True)
