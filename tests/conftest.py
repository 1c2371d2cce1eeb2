"""What holds for every test: OpenMMLab can be imported, and no test leaves its mark on another."""

import os
import random
import sys
from collections.abc import Iterator

# Several processes of tests share the cores; before numpy and torch, who read it when they load.
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pytest
import torch

import mmclarity  # noqa: F401  # before any test imports mmcv: what it lacks is put in place


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> None:
    """Every test draws the same numbers, alone or among others; of its module's RNG as well."""
    own = getattr(request.module, 'RNG', None)
    if isinstance(own, np.random.Generator):
        own.bit_generator.state = np.random.default_rng(0).bit_generator.state
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_default_scope_left_over() -> Iterator[None]:
    """A test that builds a Runner sets mmengine's default scope, and the next would look up there.

    Module-wide fixtures may set one too, which their tests share: what was there stays.
    """
    before = dict(_scopes())
    yield
    scopes = _scopes()
    scopes.clear()
    scopes.update(before)


def _scopes() -> dict:
    """mmengine's default scopes by name, the newest last; nothing where it is not imported."""
    module = sys.modules.get('mmengine.registry.default_scope')
    return {} if module is None else module.DefaultScope._instance_dict
