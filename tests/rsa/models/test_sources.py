"""Networks of timm, torch.hub and Python files; all made here, nothing is loaded."""

import pytest
import torch
from torch import nn

from mmclarity.errors import LayerError
from mmclarity.rsa import FeatureRecorder
from mmclarity.rsa.models import networks
from mmclarity.rsa.models.listing import layer_table, list_layers

FILE = """
from torch import nn
from mmclarity.rsa.models.networks import Network

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))

def described():
    return Network('mine', net(), ['2'], 'random', mean=(0.5,) * 3)

def number():
    return 3

def needs(width):
    return net()

def trained():
    model = net()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)
    return model
"""
HUB = """
dependencies = ['torch']
from torch import nn

def small(pretrained=True):
    if pretrained:
        raise OSError('no net')
    return nn.Sequential(nn.Conv2d(3, 4, 1))

def always():
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    nn.init.constant_(net[0].weight, 7.0)
    return net
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'my_nets.py'
    path.write_text(FILE)
    return path


def test_functions_of_a_file(file, tmp_path):
    found = networks.load(f'{file}:net')
    assert found.layers == ['0', '2'] and not found.model.training and found.name == 'net'
    described = networks.load(f'{file}:described')
    assert described.mean == (0.5, 0.5, 0.5) and described.layers == ['2']
    torch.save(found.model.state_dict(), tmp_path / 'a.pth')
    again = networks.load(f'{file}:net', str(tmp_path / 'a.pth'))
    assert torch.equal(again.model[0].weight, found.model[0].weight)
    assert again.weights == str(tmp_path / 'a.pth')
    with pytest.raises(LayerError, match="no module '7'; its parts are 0, 1, 2"):
        networks.load(f'{file}:net', module='7')


@pytest.mark.parametrize(
    'function,match',
    [
        ('other', "no function 'other'; it has .*net"),
        ('number', 'gives a int; a torch.nn.Module is needed'),
        ('needs', 'could not be called without arguments'),
    ],
)
def test_functions_that_do_not_do(file, function, match):
    with pytest.raises(LayerError, match=match):
        networks.load(f'{file}:{function}')


def test_files_that_do_not_run(tmp_path):
    (tmp_path / 'x.py').write_text('import not_there')
    with pytest.raises(LayerError, match='x.py cannot be run: ModuleNotFoundError'):
        networks.load(f'{tmp_path}/x.py:net')
    with pytest.raises(LayerError, match='there is no file'):
        networks.load(f'{tmp_path}/y.py:net')


def test_functions_that_fail_say_where(tmp_path, monkeypatch):
    """A TypeError within is none of how the function was called."""
    (tmp_path / 'x.py').write_text(
        'from torch import nn\n'
        'def inner():\n'
        '    return nn.Linear(3, "a")\n'
        'def net():\n'
        '    return inner()\n'
        'def other():\n'
        '    raise RuntimeError("no such data")\n'
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LayerError, match=r'net\(\) fails, TypeError: .* \(x.py, line 3\)'):
        networks.load('x.py:net')
    with pytest.raises(LayerError, match=r'fails, RuntimeError: no such data \(x.py, line 7\)'):
        networks.load('x.py:other')
    (tmp_path / 'x.py').write_text('import math\n1 / 0\n')
    with pytest.raises(LayerError, match=r'x.py cannot be run: ZeroDiv.* \(x.py, line 2\)'):
        networks.load('x.py:net')


@pytest.mark.parametrize('wrapper', ['nn.DataParallel', 'torch.compile', 'AveragedModel'])
def test_wrapped_networks_have_the_layers_of_those_within(tmp_path, wrapper):
    (tmp_path / 'x.py').write_text(
        'import torch\n'
        'from torch import nn\n'
        'from torch.optim.swa_utils import AveragedModel\n'
        'def net():\n'
        f'    return {wrapper}(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)))\n'
    )
    found = networks.load(f'{tmp_path}/x.py:net')
    assert found.layers == ['0', '2'] and isinstance(found.model, nn.Sequential)
    assert networks.load(f'{tmp_path}/x.py:net', 'none').layers == ['0', '2']


def test_networks_without_stages_need_layers_by_name(tmp_path):
    (tmp_path / 'x.py').write_text(
        'from torch import nn\ndef net():\n    return nn.Sequential(nn.ReLU(), nn.AvgPool2d(4))\n'
    )
    found = networks.load(f'{tmp_path}/x.py:net')
    assert found.layers == []
    with pytest.raises(LayerError, match='net has no stages that can be guessed; name layers .--l'):
        found.layers_for(None)


@pytest.mark.parametrize('name', ['net.onnx', 'weights.safetensors', 'notes.txt'])
def test_files_of_another_kind_are_no_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(LayerError, match='files are no networks.*TorchScript') as error:
        networks.load(name)
    assert 'resnet' not in str(error.value)
    with pytest.raises(LayerError, match="unknown model 'zzz.zzz'. Or give"):
        networks.load('zzz.zzz')  # not a list of all there are


def test_hub(tmp_path):
    (tmp_path / 'hubconf.py').write_text(HUB)
    assert networks.load(f'hub:{tmp_path}:small', 'none').layers == ['0']
    with pytest.raises(LayerError, match='cannot be downloaded .no net.*TORCH_HOME'):
        networks.load(f'hub:{tmp_path}:small')
    with pytest.raises(LayerError, match="no 'big'; it has .*small"):
        networks.load(f'hub:{tmp_path}:big', 'none')
    with pytest.raises(LayerError, match='must hold hubconf.py'):
        networks.load(f'hub:{tmp_path}/nowhere:small')


@pytest.mark.parametrize('kind', ['function', 'hub', 'script'])
def test_none_means_random_weights_whoever_brings_others(kind, file, tmp_path):
    (tmp_path / 'hubconf.py').write_text(HUB)
    name = {'function': f'{file}:trained', 'hub': f'hub:{tmp_path}:always'}.get(kind)
    if name is None:
        name = str(tmp_path / 'net.pt')
        model = networks.load(f'{file}:trained').model
        torch.jit.save(torch.jit.trace(model, torch.zeros(1, 3, 4, 4)), name)
    trained, random = networks.load(name), networks.load(name, 'none')
    values = [dict(found.model.named_parameters())['0.weight'] for found in (trained, random)]
    assert (values[0] == 7).all() and len(values[1].unique()) > 4
    assert random.weights == 'none' != trained.weights


def test_timm():
    pytest.importorskip('timm', reason='timm is not installed')
    found = networks.load('timm:vit_tiny_patch16_224', 'none')
    assert found.mean == (0.5, 0.5, 0.5) and 'blocks.3' in found.layers and found.side is None
    images = torch.randn(2, 3, 224, 224)
    recorder = FeatureRecorder(found.model, ['blocks.3'], pool='cls')
    assert recorder.record_images(images)['blocks.3'].shape == (2, 192)
    with pytest.raises(LayerError, match="timm has no model 'resnet81'"):
        networks.load('timm:resnet81', 'none')


def test_torchvision_names_the_file_and_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def no_net(*args, **kwargs):
        raise OSError('no net')

    monkeypatch.setattr('torchvision.models.get_model', no_net)
    with pytest.raises(LayerError, match=f'Put squeezenet1_0-.*pth into {tmp_path}.*checkpoints'):
        networks.load('squeezenet1_0')


class TestListing:
    @pytest.fixture
    def model(self):
        act = nn.ReLU(inplace=True)
        return nn.Sequential(nn.Conv2d(3, 4, 3), act, nn.Conv2d(4, 2, 1), act, nn.Dropout(0.5))

    def test_names_shapes_and_sizes(self, model):
        found = list_layers(model.train(), torch.zeros(1, 3, 8, 8))
        assert [layer.name for layer in found] == ['0', '1#1', '1#2', '2', '4']
        assert found[0].shapes == ((4, 6, 6),) and found[0].units == 144
        assert found[0].parameters == 4 * 27 + 4 and found[2].units == 72
        assert model.training and not any(m._forward_hooks for m in model.modules())

    def test_every_name_can_be_recorded(self, model):
        names = [layer.name for layer in list_layers(model, torch.zeros(1, 3, 8, 8))]
        got = FeatureRecorder(model, names).record_images(torch.zeros(2, 3, 8, 8))
        assert list(got) == names

    def test_table(self, model):
        table = layer_table(list_layers(model, torch.zeros(1, 3, 8, 8)))
        assert '| 0 | Conv2d | 4 x 6 x 6 | 144 | 112 |' in table
