"""Folded batch norm and quick depthwise gradients, against torch's own."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from mmclarity.detection.backbones.fast_convolutions import (
    conv_norm_act,
    depthwise_weight_gradient,
    fold_blocks,
)


@pytest.mark.parametrize('size', [3, 5])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('threads', [1, 2, 5])
def test_weight_gradient_is_torchs(size, stride, threads):
    x = torch.randn(3, 7, 9, 11, dtype=torch.float64)
    grad = torch.randn_like(
        F.conv2d(x, x.new_zeros(7, 1, size, size), None, stride, size // 2, groups=7)
    )
    expected = torch.nn.grad.conv2d_weight(x, (7, 1, size, size), grad, stride, size // 2, groups=7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = depthwise_weight_gradient(x, grad, size, stride, size // 2)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected)


def layer(size, stride, groups, dtype=torch.float64):
    conv = nn.Conv2d(6, 6, size, stride, size // 2, groups=groups, bias=False)
    norm = timm.layers.BatchNormAct2d(6, act_layer=nn.ReLU6)
    norm.weight.data.uniform_(0.5, 1.5)
    norm.bias.data.normal_()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(conv, norm).to(dtype).eval()


@pytest.mark.parametrize(
    ('size', 'stride', 'groups'), [(1, 1, 1), (3, 1, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 2, 1)]
)
def test_outputs_and_gradients_are_those_without_folding(size, stride, groups):
    plain = layer(size, stride, groups)
    x = torch.randn(2, 6, 8, 9, dtype=torch.float64, requires_grad=True)
    expected = plain(x)
    found = conv_norm_act(plain[0], plain[1], x)
    torch.testing.assert_close(found, expected)
    grad = torch.randn_like(expected)
    inputs = (x, *plain.parameters())
    for a, b in zip(
        torch.autograd.grad(found, inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_training_statistics_are_not_folded():
    plain = layer(5, 1, 6).train()
    x = torch.randn(2, 6, 8, 9, dtype=torch.float64)
    before = plain[1].running_mean.clone()
    conv_norm_act(plain[0], plain[1], x)
    assert not torch.equal(before, plain[1].running_mean)


def test_whoever_listens_to_a_layer_hears_it():
    plain, heard = layer(3, 1, 6), []
    plain[0].register_forward_hook(lambda module, args, output: heard.append(output))
    x = torch.randn(2, 6, 8, 9, dtype=torch.float64)
    conv_norm_act(plain[0], plain[1], x)
    torch.testing.assert_close(heard[0], plain[0](x))


@pytest.mark.parametrize('act', [nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU])
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize(('size', 'stride', 'groups'), [(1, 1, 1), (5, 2, 6)])
def test_the_activation_is_the_same_in_inference(act, autocast, size, stride, groups):
    conv, norm = layer(size, stride, groups, torch.float32)
    norm.act = act()
    x = torch.randn(2, 6, 16, 18) * 9
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        expected = conv_norm_act(conv, norm, x.requires_grad_())
        with torch.no_grad():
            found = conv_norm_act(conv, norm, x)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected.detach())


def test_whoever_listens_to_an_activation_hears_it_in_inference():
    (conv, norm), heard = layer(3, 1, 6, torch.float32), []
    norm.act = nn.ReLU6()
    norm.act.register_forward_hook(lambda module, args, output: heard.append(output))
    with torch.no_grad():
        found = conv_norm_act(conv, norm, torch.randn(2, 6, 8, 9))
    assert torch.equal(heard[0], found)


def test_network_is_timms():
    network = timm.create_model('efficientnet_lite0').eval()
    x = torch.randn(2, 3, 64, 96)
    expected = network.forward_features(x)
    names = list(network.state_dict())
    fold_blocks(network.blocks)
    torch.testing.assert_close(network.forward_features(x), expected, rtol=1e-4, atol=1e-4)
    assert list(network.state_dict()) == names


def test_gradients_in_bfloat16_are_near_those_in_float32():
    plain = layer(5, 1, 6, torch.float32)
    x = torch.randn(2, 6, 16, 18, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = conv_norm_act(plain[0], plain[1], x)
    assert found.dtype == torch.bfloat16
    expected = plain(x)
    inputs = (x, *plain.parameters())
    mine = torch.autograd.grad(found.float().sum(), inputs)
    for a, b in zip(mine, torch.autograd.grad(expected.sum(), inputs), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.1 * b.norm()
