"""Every public name has an example in its docstring, and the examples give what they say."""

import ast
import doctest
import importlib
import warnings
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

PROJECTS = Path(__file__).resolve().parents[2] / 'projects'
# What is shown where it comes from, or needs a whole detector (or mmagic) around it: the guides
# and the tests of these show them.
ELSEWHERE = {
    'AttentionVisualizationHook',
    'BDD100KFold',
    'CascadeRegionAttentionRoIHead',
    'DynamicRegionAttentionRoIHead',
    'FrozenTrunkPreprocessor',
    'FrozenTrunkRCNN',
    'HybridTaskCascadeRegionAttentionRoIHead',
    'OnnxDetector',
    'SEMPix2Pix',
    'TrunkCacheDataset',
    'TrunkCacheHook',
    'build_pix2pix',
    'check_detector',
    'combine_results',
    'draw_look',
    'export_detector',
    'look_at',
    'looks_of',
    'random_twin',  # an old name
}


def public() -> dict[str, ast.AST]:
    """Dotted names of the classes and functions that the stubs of packages give, unimported."""
    found: dict[str, ast.AST] = {}
    for stub in sorted(PROJECTS.rglob('__init__.pyi')):
        package = '.'.join(stub.parent.relative_to(PROJECTS).parts)
        for node in ast.parse(stub.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                module = ast.parse(_source(stub.parent, node.module).read_text(encoding='utf-8'))
                kinds = (ast.ClassDef, ast.FunctionDef)
                known = {item.name: item for item in module.body if isinstance(item, kinds)}
                names = [alias.name for alias in node.names if alias.name in known]
                found |= {f'{package}.{name}': known[name] for name in names}
    # One object may be public in two packages.
    once = {name.rpartition('.')[2]: name for name in found}
    return {name: found[name] for name in sorted(once.values())}


def _source(folder: Path, module: str) -> Path:
    place = folder / module.replace('.', '/')
    return place / '__init__.py' if place.is_dir() else place.with_suffix('.py')


def is_shown_elsewhere(item: ast.AST) -> bool:
    """Dataclasses and errors come from what has an example, as a rule."""
    texts = [ast.unparse(decorator) for decorator in item.decorator_list]
    return any('dataclass' in text for text in texts) or item.name.endswith('Error')


PUBLIC = public()
WITH_EXAMPLE = [name for name, item in PUBLIC.items() if '>>> ' in (ast.get_docstring(item) or '')]


def test_every_public_name_has_an_example():
    assert len(WITH_EXAMPLE) > 100
    missing = {
        item.name
        for name, item in PUBLIC.items()
        if name not in WITH_EXAMPLE and not is_shown_elsewhere(item)
    }
    assert missing == ELSEWHERE, 'give an example, or strike what has one from the list'


@pytest.mark.parametrize('name', WITH_EXAMPLE)
def test_examples(name, monkeypatch, tmp_path):
    """Without the module's own names: a reader has only what the example imports."""
    monkeypatch.chdir(tmp_path)
    # mmengine warns once a process, on stdout: of whichever example comes first.
    monkeypatch.setattr(MMLogger.get_current_instance(), 'disabled', True)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=options, verbose=False)
    package, _, last = name.rpartition('.')
    item = getattr(importlib.import_module(package), last)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        test = doctest.DocTestParser().get_doctest(item.__doc__, {}, name, None, 0)
        report: list[str] = []
        runner.run(test, out=report.append)
    assert runner.failures == 0, ''.join(report)
