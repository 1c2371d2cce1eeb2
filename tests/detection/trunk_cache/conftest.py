"""Scenes, an untrained detector and its caches."""

import shutil

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmclarity.detection.trunk_cache.make import cache_splits
from mmclarity.engine.config import load_config
from tests.detection.trunk_cache.scenes import CONFIG, COUNT, options, scope
from tools.dataset_generators import make_murky


@pytest.fixture(scope='package')
def place(tmp_path_factory):
    """Scenes, the checkpoint of an untrained detector, and its caches in float32."""
    folder, before = tmp_path_factory.mktemp('cached'), scope()
    make_murky.main([str(folder / 'scenes'), '--train', str(COUNT), '--val', '2'])
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'plain.pth')
    made = list(
        cache_splits(
            CONFIG,
            str(folder / 'plain.pth'),
            folder / 'cache',
            ['train', 'val'],
            views=2,
            dtype='float32',
            options=options(folder),
            device='cpu',
        )
    )
    assert [path.name for path in made] == ['train', 'val']
    assert scope() == before, 'what is built next is looked up there'
    return folder


@pytest.fixture
def copy(place, tmp_path):
    shutil.copytree(place / 'cache' / 'val', tmp_path / 'val')
    return tmp_path / 'val'
