"""Types stand in signatures only: a docstring that repeats them goes stale unseen."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for part in ('projects', 'tools', 'demo', 'benchmarks')
    for path in ROOT.glob(f'{part}/**/*.py')
)
SECTION = re.compile(r'(Args|Attributes|Returns|Yields|Raises|Examples?|Notes?):')
ENTRY = re.compile(r'\*{0,2}\w+(, \*{0,2}\w+)* (\(.+?\)\s*:|: )')
RESULT = re.compile(
    r'(Tensor|tuple|list|dict|set|bool|int|float|str|bytes|Path|None|(np|nn|torch)\.\w+|[A-Z]\w+)'
    r'(\[[^:]*\])?( \| [\w.]+)*: '
)
# Prose that begins with one word and a colon.
WORDS = re.compile(r'(True|False|Arguments|Whether|Either|Two|One|Both): ')


def typed(docstring: str) -> Iterator[str]:
    """The lines of a Google docstring that give a type."""
    section, indent, first = None, None, False
    for line in docstring.splitlines():
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            match = SECTION.fullmatch(line)
            section, indent, first = match and match[1], None, True
            continue
        indent = depth if indent is None else indent
        text = line.strip()
        if depth == indent and section in ('Args', 'Attributes') and ENTRY.match(text):
            yield text
        result = first and section in ('Returns', 'Yields') and RESULT.match(text)
        if result and not WORDS.match(text):
            yield text
        first = False


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node.name, text


def test_no_docstring_repeats_a_type():
    assert len(FILES) > 200
    found = [
        f'{path.relative_to(ROOT)}: {name}: {line}'
        for path in FILES
        for name, text in docstrings(path)
        for line in typed(text)
    ]
    assert not found, 'types belong into signatures:\n' + '\n'.join(found)


@pytest.mark.parametrize(
    'line',
    [
        'x (int): A.',
        'x (int, optional): A.',
        'x : int',
        'x, y (tuple[int, int]): A.',
        '**k (str): A',
    ],
)
def test_types_of_arguments_are_seen(line):
    assert list(typed(f'Does.\n\nArgs:\n    {line}\n')) == [line]


@pytest.mark.parametrize(
    'line', ['np.ndarray: A.', 'int | None: A.', 'dict[str, int]: A.', 'Box: A.']
)
def test_types_of_results_are_seen(line):
    assert list(typed(f'Does.\n\nReturns:\n    {line}\n')) == [line]


@pytest.mark.parametrize(
    'line', ['x: (H, W): rows first.', 'mean, std: Of red (R): as it is.', 'x: int or not.']
)
def test_plain_text_passes(line):
    assert not list(typed(f'Does.\n\nArgs:\n    {line}\n'))
