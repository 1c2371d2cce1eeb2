"""Everything under tests/ may import mmdet: its operators are made available first."""

import random

import numpy as np
import pytest
import torch

from mmclarity import compat

compat.install()


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test draws the same numbers, alone or among others."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
