"""That nothing of the training is left in an untrained copy."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

from mmclarity.rsa import untrained_copy

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    from torch.nn.utils import weight_norm  # deprecated, and in many a published network


def old_weight_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        return weight_norm(module)


def pruned(module):
    prune.l1_unstructured(module, 'weight', 0.25)
    prune.l1_unstructured(module, 'bias', 1)
    return module


MADE = [
    old_weight_norm,
    spectral_norm,
    pruned,
    parametrizations.weight_norm,
    parametrizations.spectral_norm,
    parametrizations.orthogonal,
]
images = torch.randn(3, 3, 8, 8)


def trained(make, seed, kind=nn.Conv2d):
    """A network with weights that are made of others, after a pass."""
    torch.manual_seed(seed)
    net = nn.Sequential(make(kind(3, 4, 3)), nn.ReLU(), nn.Flatten())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2).add_(0.5)
    net(images)
    return net


@pytest.mark.filterwarnings('ignore::FutureWarning')
@pytest.mark.parametrize('kind', [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize('make', MADE)
def test_weights_that_are_made_of_others_are_drawn(make, kind):
    torch.manual_seed(0)
    first = trained(make, 1, kind)
    kept = {name: value.clone() for name, value in first.state_dict().items()}
    answers = [untrained_copy(net, 3)(images) for net in (first, first, trained(make, 2, kind))]
    assert torch.equal(answers[0], answers[1])
    if make is not pruned:  # which weights it leaves out was learned
        # Nothing of the trained weights is left: those of another training give the same.
        torch.testing.assert_close(answers[0], answers[2], rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, kept[name]) for name, value in first.state_dict().items())


@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_weight_norm_keeps_the_drawn_weights_and_spectral_norm_their_norm():
    plain = untrained_copy(nn.Sequential(nn.Conv2d(3, 4, 3)), 5)[0].weight
    for make in (old_weight_norm, parametrizations.weight_norm):
        copied = untrained_copy(nn.Sequential(make(nn.Conv2d(3, 4, 3))), 5)
        copied(images)
        torch.testing.assert_close(copied[0].weight, plain)
    for make in (spectral_norm, parametrizations.spectral_norm):
        copied = untrained_copy(nn.Sequential(make(nn.Conv2d(3, 4, 3))), 5)
        copied(images)
        norm = torch.linalg.matrix_norm(copied[0].weight.flatten(1), 2)
        torch.testing.assert_close(norm, torch.tensor(1.0), rtol=1e-3, atol=0)
        assert not any(module.training for module in copied.modules())


def test_what_a_reset_leaves_out_is_shuffled():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.gate = nn.Parameter(torch.arange(50.0))

    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.arange(50.0))

        def reset_parameters(self, deviation):
            raise AssertionError('was called without what it needs')

    copied = untrained_copy(nn.Sequential(Scaled(), Asks()))
    for values in (copied[0].gate, copied[1].kernel):
        assert not torch.equal(values, torch.arange(50.0))
        assert torch.equal(values.sort()[0], torch.arange(50.0))


def test_answers_kept_with_their_graph_are_copied_without():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, values):
            self.last = dict(out=[self.inner(values)])
            return self.last['out'][0]

    net = Keeps()
    net(torch.ones(1, 3))
    copied = untrained_copy(net)
    assert copied.last['out'][0].grad_fn is None and net.last['out'][0].grad_fn is not None
