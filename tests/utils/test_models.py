"""One way out of every wrapper."""

import pytest
import torch
from mmengine.model import (
    ExponentialMovingAverage,
    MMDistributedDataParallel,
    MMSeparateDistributedDataParallel,
)
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from mmclarity.engine import AveragedGradients
from mmclarity.utils.models import innermost, unwrap


@pytest.fixture
def group(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class TwoNetworks(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(2, 2), nn.Linear(2, 1)


class HasAPart(nn.Module):
    """A model of its own whose part happens to be called ``module``."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)


def test_several_processes(group):
    model = TwoNetworks()
    separate = MMSeparateDistributedDataParallel(model, device_ids=None)
    assert unwrap(separate) is model
    for wrapper in (MMDistributedDataParallel, nn.parallel.DistributedDataParallel):
        model = nn.Linear(2, 2)
        assert unwrap(wrapper(model)) is model


@pytest.mark.parametrize(
    'wrap',
    [
        AveragedGradients,
        nn.DataParallel,
        torch.compile,
        lambda model: torch.compile(AveragedGradients(model)),
        lambda model: AveragedGradients(torch.compile(model)),
        lambda model: model,
    ],
)
def test_wrappers_and_compilation_nested(wrap):
    model = nn.Linear(2, 2)
    assert unwrap(wrap(model)) is model


def test_averaged_models_give_their_own_copy():
    model = nn.Linear(2, 2)
    for average in (ExponentialMovingAverage(model), torch.optim.swa_utils.AveragedModel(model)):
        assert unwrap(average) is average.module


def test_models_with_a_part_of_that_name_stay():
    model = HasAPart()
    assert unwrap(model) is model


def test_registered_wrappers_of_users():
    @MODEL_WRAPPERS.register_module(force=True)
    class MyOwn(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = nn.Linear(2, 2)
    try:
        assert unwrap(MyOwn(model)) is model
    finally:
        MODEL_WRAPPERS.module_dict.pop('MyOwn')


def test_a_model_that_holds_itself_ends():
    model = nn.Linear(2, 2)
    model.__dict__['_orig_mod'] = model
    assert unwrap(model) is model


def test_data_sets_are_found_within_their_wrappers():
    from types import SimpleNamespace as Wrapper

    one, two = [1], [2, 3]
    both = Wrapper(datasets=[Wrapper(dataset=one), Wrapper(datasets=[two])])
    assert list(innermost(both)) == [one, two]
    assert list(innermost(one)) == [one]
