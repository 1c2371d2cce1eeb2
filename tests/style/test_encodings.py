"""Text is read and written as UTF-8 everywhere: left out, it is what the system was set up for."""

import ast
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def _without_encoding(tree):
    """Lines of calls that open, read or write text in the system's encoding."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = call.func
        attribute = function.attr if isinstance(function, ast.Attribute) else None
        if any(keyword.arg == 'encoding' for keyword in call.keywords):
            continue
        if attribute == 'write_text' or (attribute == 'read_text' and not call.args):
            yield call.lineno
        opened = attribute == 'open' and not isinstance(function.value, ast.Name)
        if opened or (isinstance(function, ast.Name) and function.id == 'open'):
            given = [keyword.value for keyword in call.keywords if keyword.arg == 'mode']
            given += call.args[not opened :][:1]
            if not any('b' in getattr(value, 'value', '') for value in given):
                yield call.lineno


def test_calls_are_found():
    code = "a.read_text()\nopen(p)\nopen(p, 'rb')\nq.r.open()\nopen(p, encoding='utf-8')\nx.open(p)"
    assert list(_without_encoding(ast.parse(code))) == [1, 2, 4]


def test_every_text_has_its_encoding():
    found = [
        f'{path.relative_to(REPO)}:{line}'
        for folder in ('projects', 'tools', 'demo', 'benchmarks')
        for path in sorted((REPO / folder).rglob('*.py'))
        for line in _without_encoding(ast.parse(path.read_text(encoding='utf-8')))
    ]
    assert not found
