"""oneDNN's convolution with an activation: against torch's two steps, and where it is not used."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmclarity.utils import onednn

available = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available()
    or not hasattr(torch.ops.mkldnn, '_convolution_pointwise'),
    reason='this torch has no oneDNN, or none that takes an activation',
)


@available
@pytest.mark.parametrize('activation', list(onednn.ACTIVATIONS))
@pytest.mark.parametrize('groups', [1, 8])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('autocast', [False, True])
def test_is_the_convolution_and_the_activation(activation, groups, dtype, autocast):
    x = (torch.randn(2, 8, 13, 17) * 8).to(dtype).contiguous(memory_format=torch.channels_last)
    layer = nn.Conv2d(8, 16, 3, 2, 1, groups=groups)
    if not autocast:
        layer = layer.to(dtype)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        assert onednn.knows(x, activation)
        out = onednn.convolution(
            x, layer.weight, layer.bias, layer.stride, layer.padding, groups=groups,
            activation=activation,
        )  # fmt: skip
        want = activation()(layer(x))
    assert out.dtype == want.dtype
    torch.testing.assert_close(out, want)


@available
def test_leaves_gradients_other_types_and_other_activations_alone():
    x = torch.randn(1, 3, 8, 8)
    assert not onednn.knows(x)
    with torch.no_grad():
        assert onednn.knows(x)
        assert not onednn.knows(x.double())
        assert not onednn.knows(x, nn.SiLU)
        with torch.backends.mkldnn.flags(enabled=False):
            assert not onednn.knows(x)


@available
def test_a_dozen_channels_from_one_cell():
    x = torch.randn(1, 64, 34, 60).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(15, 64, 1, 1), torch.randn(15)
    with torch.no_grad():
        torch.testing.assert_close(onednn.convolution(x, weight, bias), F.conv2d(x, weight, bias))
