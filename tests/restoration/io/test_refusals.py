"""Every refusal is in the guide with its remedy, and the guide lists none that is gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / 'docs/user_guides/restoration_files.md'
CODE = ROOT / 'projects/mmclarity/restoration'
FILES = [
    *sorted((CODE / 'io').glob('*.py')),
    CODE / 'inference/files.py',
    CODE / 'inference/targets.py',
    CODE / 'inference/doubt_files.py',
    CODE / 'inference/combine.py',
]
# Mistakes that only a program can make: they are in the docstrings.
OF_PROGRAMS = (
    'crop must be',
    'is the name of a file; read it',
    'share is (number',
    'unknown option(s)',
    'annotations must be',
    'choose one with page=',
    'has no page',
    'pictures, none',
    'an image is (H, W)',
    'pixels are uint8',
    'a map is',
    'the restored picture',
    'restored must be',
    'an image made in memory',
)
RAISED_AGAIN = '(page '  # with the page's number


def raised() -> Iterator[tuple[str, str]]:
    """Place and text of every error; what is filled in stands as NUL."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            text = ''.join(_texts(node.exc.args[0])) if node.exc.args else ''
            yield f'{path.name}:{node.lineno}', text


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for value in node.values:
            yield from _texts(value)
    elif isinstance(node, ast.FormattedValue):
        yield '\0'


def listed() -> list[str]:
    """The messages of the guide's tables; a word in capitals stands for what is filled in."""
    part = GUIDE.read_text(encoding='utf-8').split('## What is refused')[1]
    rows = re.findall(r'^\| (`.*?) \|', part, re.MULTILINE)
    phrases = [phrase for row in rows for phrase in re.findall('`([^`]+)`', row)]
    return [re.sub(r'\b(N|TYPE)\b', '\0', phrase) for phrase in phrases]


def test_every_refusal_is_in_the_guide():
    phrases, found = listed(), list(raised())
    assert len(phrases) > 40 and len(found) > 60
    missing = [
        f'{place}: {text}'
        for place, text in found
        if not any(phrase in text for phrase in (*phrases, *OF_PROGRAMS, RAISED_AGAIN))
        # the text lies in a variable that is named before: see the next test
        and text.strip('\0: ') not in ('', 'export it again from the microscope')
    ]
    assert not missing


def test_the_guide_lists_what_is_there():
    texts = [text for _, text in raised()]
    gone = [phrase for phrase in listed() if not any(phrase in text for text in texts)]
    assert not gone


def test_every_row_has_a_remedy():
    part = GUIDE.read_text(encoding='utf-8').split('## What is refused')[1]
    rows = [line.strip('| ').split(' | ') for line in part.splitlines() if line.startswith('| `')]
    assert all(len(row) == 2 and len(row[1]) > 8 for row in rows)


def test_no_word_of_machine_learning_on_the_page():
    page = GUIDE.read_text(encoding='utf-8').lower()
    for word in ('checkpoint', 'tensor', 'epoch', 'gpu', 'weights', 'loss function', 'neural'):
        assert word not in page
