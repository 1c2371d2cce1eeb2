"""The examples in the docstrings of the detection package give what they say."""

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
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in found:
        test.globs.setdefault('torch', torch)
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_the_public_parts_have_examples():
    from mmclarity.detection import attention, backbones, roi_heads

    for part in (
        attention.RegionBatch,
        attention.RegionSelfAttention,
        attention.RegionSourceTargetAttention,
        attention.RegionLambda,
        attention.IntraRegionAttention,
        attention.relative_geometry,
        backbones.TimmBackbone,
        roi_heads.ContextFeatures,
        roi_heads.RegionAttentionBBoxHead,
        roi_heads.RegionContext,
    ):
        assert '>>> ' in part.__doc__, part
