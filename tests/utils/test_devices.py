"""A device is told before anything is built on it."""

import pytest
import torch

from mmclarity.errors import UsageError
from mmclarity.utils.devices import check_device


def test_a_device_that_is_there():
    assert check_device('cpu') == 'cpu'


@pytest.mark.parametrize('name', ['gpu', 'cuda:99', '', 'CPU', 'cpu:x'])
def test_devices_that_are_not_there(name):
    with pytest.raises(UsageError, match='cannot be used; this machine has cpu'):
        check_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_cuda_without_a_gpu():
    with pytest.raises(UsageError, match="'cuda' cannot be used"):
        check_device('cuda')
