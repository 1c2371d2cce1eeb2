"""The examples of methods and of names that are not public; tests/style has the public ones."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import mmclarity.detection

MODULES = [
    module.name
    for module in pkgutil.walk_packages(mmclarity.detection.__path__, 'mmclarity.detection.')
] + ['mmclarity.utils.images']


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    found = doctest.DocTestFinder(exclude_empty=True).find(module, name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for test in found:
        test.globs.setdefault('torch', torch)
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
