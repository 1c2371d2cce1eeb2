"""Nothing is written but through the one writer: no file is ever half there under its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
FOLDERS = ('projects', 'tools', 'demo', 'benchmarks')
# Calls that write to what they are given: by the name of the function or method.
WRITES = frozenset(
    ['write_text', 'write_bytes', 'savefig', 'savez', 'savez_compressed', 'savetxt', 'imwrite']
    + ['imsave', 'save_file', 'to_csv', 'save', 'savemat', 'copyfile', 'copy', 'copy2', 'move']
    + ['dump', 'to_json', 'VideoWriter', 'rename', 'replace']
)
# These names mean something else elsewhere: looked at only if they are of these modules.
OF_MODULES = dict(
    dump=('json', 'pickle', 'yaml'), copy=('shutil',), rename=('os',), replace=('os',),
    move=('shutil',), save=None,
)  # fmt: skip
# File, function: why its writing needs no part.
ALLOWED = {
    ('projects/mmclarity/utils/files.py', '*'): 'the writer itself',
    ('projects/mmclarity/restoration/io/bmp.py', 'rewrite'): 'written to a part',
    ('projects/mmclarity/restoration/io/png.py', 'rewrite'): 'written to a part',
    ('projects/mmclarity/restoration/io/tiff_write.py', 'rewriting'): 'written to a part',
    ('projects/mmclarity/detection/trunk_cache/files.py', '__enter__'): 'in a folder being made',
    ('projects/mmclarity/cli/adapt.py', 'adapt_files'): 'a method of ours, with parts of its own',
    ('tools/train_general_restorer.py', 'run'): 'a method of its own, with parts',
    ('benchmarks/adapt_scans.py', 'scored'): 'in a temporary folder',
    ('projects/mmclarity/restoration/app/server.py', '_receive'): "in a job's own folder",
    ('projects/mmclarity/rsa/report/movie.py', 'epochs_movie'): 'in a folder of its own',
    ('tools/analysis_tools/repeat.py', 'train'): 'a log, appended to while it is read',
    ('benchmarks/timing.py', 'start'): 'a switch of the kernel',
    ('benchmarks/restore.py', 'build'): 'in a temporary folder',
    ('benchmarks/careamics_n2v.py', '*'): 'runs where this package is not installed',
    ('benchmarks/restore_tiles.py', '*'): 'in a temporary folder',
}


def _name(node: ast.expr) -> str:
    """The last part of what is called."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', '')


def _root(node: ast.expr) -> str:
    """The variable that an expression begins with: ``part`` of ``str(part / 'a').lower()``."""
    while True:
        if isinstance(node, ast.Call):
            inside = isinstance(node.func, ast.Name) and node.args
            node = node.args[0] if inside else node.func
        elif isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            node = node.value
        elif isinstance(node, ast.BinOp):
            node = node.left
        else:
            return getattr(node, 'id', '')


def _safe_names(function: ast.AST) -> set[str]:
    """Variables that are parts of the writer, what was opened from one, or kept in memory."""
    found = {'self'} if getattr(function, 'name', '') == '_finish' else set()
    for node in ast.walk(function):
        if isinstance(node, ast.With):
            for item in node.items:
                call, to = item.context_expr, item.optional_vars
                if not isinstance(call, ast.Call) or to is None:
                    continue
                roots = {_root(call), *(_root(argument) for argument in call.args)}
                if _name(call.func) in ('replacing', 'making_folder') or roots & found:
                    found |= {n.id for n in ast.walk(to) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Assign) and any(
            isinstance(c, ast.Call) and _name(c.func) in ('BytesIO', 'StringIO', 'replacing')
            for c in ast.walk(node.value)
        ):
            found |= {n.id for to in node.targets for n in ast.walk(to) if isinstance(n, ast.Name)}
    return found


def _writes(call: ast.Call) -> bool:
    name = _name(call.func)
    if name == 'open':
        modes = [a for a in call.args if isinstance(a, ast.Constant)]
        modes += [k.value for k in call.keywords if k.arg == 'mode']
        return any(set(str(getattr(mode, 'value', ''))) & set('wax+') for mode in modes[-1:])
    if name not in WRITES:
        return False
    if isinstance(call.func, ast.Name):
        return name in ('save_file',)  # functions of ours have parts of their own
    modules = OF_MODULES.get(name)
    return modules is None or _root(call.func) in modules


def bare_writes(source: str, file: str) -> list[str]:
    """``file:line: call`` of what writes outside of a part."""
    found = []

    def visit(node: ast.AST, function: str, safe: set[str]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            function = getattr(node, 'name', function)
            safe = safe | _safe_names(node)
        if isinstance(node, ast.Call) and _writes(node):
            roots = {_root(node.func), *(_root(argument) for argument in node.args)}
            ours = {'parts', 'figures', 'files', 'tables'} & {_root(node.func)}
            allowed = (file, '*') in ALLOWED or (file, function) in ALLOWED
            if not roots & safe and not ours and not allowed:
                found.append(f'{file}:{node.lineno}: {ast.unparse(node)[:80]}')
        for child in ast.iter_child_nodes(node):
            visit(child, function, safe)

    visit(ast.parse(source), '', set())
    return found


def test_every_file_is_written_through_the_one_writer():
    found = []
    for folder in FOLDERS:
        for path in sorted((REPO / folder).rglob('*.py')):
            file = path.relative_to(REPO).as_posix()
            found += bare_writes(path.read_text(encoding='utf-8'), file)
    assert not found, 'write these through mmclarity.utils.files:\n' + '\n'.join(found)


@pytest.mark.parametrize(
    'line',
    [
        "open(path, 'w').write('x')",
        "path.open('ab')",
        "with open(path, mode='x') as file:\n        pass",
        "path.write_text('x')",
        'figure.savefig(path)',
        'np.savez(path, a=1)',
        'torch.save(model, path)',
        'Image.new("L", (1, 1)).save(path)',
        'cv2.imwrite(path, image)',
        'json.dump(1, file)',
        'save_file(weights, path)',
        'os.replace(part, path)',
    ],
)
def test_the_scan_sees_a_bare_write(line):
    assert len(bare_writes(f'def f(path, file, part):\n    {line}\n', 'a.py')) == 1


@pytest.mark.parametrize(
    'lines',
    [
        "with replacing(path) as part, part.open('wb') as file:\n        np.savez(file, a=1)",
        'with replacing(path) as part:\n        torch.save(model, part)',
        'buffer = io.BytesIO()\n    image.save(buffer, "PNG")',
        "text.replace('a', 'b'); copy.copy(path); write_text(path, 'x')",
        "with open(path, 'rb') as file:\n        pass",
    ],
)
def test_the_scan_leaves_the_rest(lines):
    assert not bare_writes(f'def f(path, text):\n    {lines}\n', 'a.py')
