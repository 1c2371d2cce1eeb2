"""What only some systems have is asked for before it is used (benchmarks aside)."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
MODULES = {'fcntl', 'grp', 'msvcrt', 'pwd', 'resource', 'termios', 'winreg'}
# Of os: not on Windows, or not on macOS either.
FUNCTIONS = {
    *('O_CLOEXEC', 'O_DIRECTORY', 'fork', 'geteuid', 'getuid', 'killpg', 'posix_fadvise', 'pread'),
    *('pwrite', 'register_at_fork', 'sched_getaffinity', 'setsid', 'statvfs', 'sysconf', 'uname'),
}
# What shows in a file that it asks first.
ASKED = "hasattr(os, '{0}')|os\\.name != 'posix'|AttributeError"


def needed(code):
    """What a file takes for granted."""
    tree = ast.parse(code)
    for statement in tree.body:  # not within try, with, if or a function
        if isinstance(statement, ast.Import):
            yield from (name.name for name in statement.names if name.name in MODULES)
        if isinstance(statement, ast.ImportFrom) and statement.module in MODULES:
            yield statement.module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FUNCTIONS:
            used = isinstance(node.value, ast.Name) and node.value.id == 'os'
            asked = ASKED.format(node.attr).replace('(os', '\\(os').replace("')|", "'\\)|")
            if used and not re.search(asked, code):
                yield f'os.{node.attr}'


@pytest.mark.parametrize(
    ('code', 'found'),
    [
        ('import os, resource\nos.getpid()', ['resource']),
        ('def f():\n    import resource', []),
        ('try:\n    import fcntl\nexcept ImportError:\n    fcntl = None', []),
        ('import os\nos.sched_getaffinity(0)', ['os.sched_getaffinity']),
        ("if hasattr(os, 'fork'): os.fork()\nos.pread(1, 2, 3)", ['os.pread']),
    ],
)
def test_what_is_not_asked_for_is_found(code, found):
    assert list(needed(code)) == found


def test_nothing_is_taken_for_granted():
    found = [
        f'{path.relative_to(REPO)}: {name}'
        for folder in ('projects', 'tools', 'demo')
        for path in sorted((REPO / folder).rglob('*.py'))
        for name in needed(path.read_text(encoding='utf-8'))
    ]
    assert not found
