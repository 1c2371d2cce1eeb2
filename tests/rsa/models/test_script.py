"""TorchScript looked into: equal to itself, and to the Python model it was made from."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from mmclarity.errors import LayerError
from mmclarity.rsa import FeatureRecorder, untrained_copy
from mmclarity.rsa.models import listing, networks
from mmclarity.rsa.models.script import ScriptView, opened


class Branches(nn.Module):
    """Control flow, lists, tuples, a module run several times, work in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.act = nn.ReLU(inplace=True)
        self.steps = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.head = nn.Linear(4, 2)

    def scaled(self, x: Tensor, by: float = 2.0) -> Tensor:
        return x * by

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.act(self.stem(x))
        seen = [x]
        for step in self.steps:
            x = self.act(step(x))
            seen.append(x.mean((2, 3)))
        count = 0
        while count < 3 and len(seen) > count:
            x = self.scaled(x, by=1.5) if x.dim() == 4 else self.scaled(x)
            count += 1
        if x.shape[1] != 4:
            raise ValueError('four channels')
        return self.head(x.mean((2, 3))), seen + [x.flatten(1)]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Branches().eval()


def test_every_layer_equals_that_of_the_python_model(model):
    images, layers = torch.randn(5, 3, 8, 8), ['stem', 'act#1', 'act#3', 'steps.1', 'head']
    expected = FeatureRecorder(model, layers).record_images(images)
    script = torch.jit.script(model)
    found = FeatureRecorder(script, layers).record_images(images)
    assert list(found) == layers
    for layer in layers:
        assert torch.equal(found[layer], expected[layer]), layer
    logits, seen = ScriptView(script)(images)
    assert torch.equal(logits, model(images)[0]) and len(seen) == 4


@pytest.mark.parametrize('name', ['resnet18', 'squeezenet1_1'])
@pytest.mark.parametrize('traced', [False, True])
def test_networks_of_torchvision(name, traced):
    torch.manual_seed(0)
    model, images = models.get_model(name).eval(), torch.randn(2, 3, 64, 64)
    script = torch.jit.trace(model, images) if traced else torch.jit.script(model)
    layers = networks.default_layers(model)
    assert networks.default_layers(ScriptView(script)) == layers
    expected = FeatureRecorder(model, layers).record_images(images)
    found = FeatureRecorder(script, layers).record_images(images)
    for layer in layers:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-5, atol=1e-6)


def test_a_saved_script_is_a_model_of_the_command_line(model, tmp_path):
    path = tmp_path / 'net.pt'
    torch.jit.script(model).save(path)
    network = networks.load(str(path))
    assert network.name == 'net' and network.layers == ['stem', 'steps.0', 'steps.1', 'head']
    names = [layer.name for layer in listing.list_layers(network.model, torch.zeros(1, 3, 8, 8))]
    assert names[:4] == ['stem', 'act#1', 'act#2', 'act#3']


def test_what_is_no_script_is_refused_with_the_remedy(model, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(model.state_dict(), path)
    with pytest.raises(LayerError, match='is not TorchScript.*--checkpoint'):
        networks.load(str(path))
    with pytest.raises(FileNotFoundError, match='no such file'):
        networks.load(str(tmp_path / 'nothing.pt'))


def test_untrained_copy_has_new_weights_and_leaves_the_script(model):
    script = torch.jit.script(nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)))
    view, before = ScriptView(script).eval(), copy.deepcopy(script.state_dict())
    other = untrained_copy(view)
    weight = dict(other.named_parameters())['0.weight']
    assert abs(weight.var().item() * 27 / 2 - 1) < 0.2  # He: variance 2 / fan-in
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(other(images), view(images))
    for name, value in script.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(view(images), script.eval()(images))


def test_half_precision_and_moved_weights_are_used(model):
    view = ScriptView(torch.jit.script(model)).to(torch.bfloat16)
    images = torch.randn(2, 3, 8, 8).bfloat16()
    assert torch.equal(view(images)[0], model.bfloat16()(images)[0])


def test_parts_of_a_python_model_are_opened_in_place(model):
    outer = nn.Sequential(torch.jit.script(model.stem), model.act)
    assert opened(outer) is outer and isinstance(outer[0], ScriptView)


def test_errors_of_the_script_are_its_own(model):
    script = torch.jit.script(model)
    with pytest.raises(RuntimeError):
        ScriptView(script)(torch.randn(1, 2, 8, 8))


@pytest.mark.filterwarnings('ignore:.torch.jit')
@pytest.mark.parametrize('make', [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(1, 2))])
def test_frozen_scripts_are_refused_by_name(make, tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval()
    frozen = torch.jit.freeze(make(model))
    with pytest.raises(LayerError, match='without parts, as torch.jit.freeze.*before it is'):
        FeatureRecorder(frozen, ['0'])
    frozen.save(str(tmp_path / 'net.pt'))
    with pytest.raises(LayerError, match='without parts'):
        networks.load(str(tmp_path / 'net.pt'))


def test_weights_of_compiled_models(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    path, file = tmp_path / 'weights.pth', tmp_path / 'net.py'
    file.write_text('from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(3, 2, 1))\n')
    torch.save({f'module._orig_mod.{k}': v for k, v in model.state_dict().items()}, path)
    found = networks.load(f'{file}:net', str(path))
    torch.testing.assert_close(found.model[0].weight, model[0].weight)
