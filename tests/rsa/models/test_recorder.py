"""The recorder of layers' answers: which layers, modes, wrappers and parts."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from mmclarity.rsa import FeatureRecorder
from mmclarity.rsa.models.script import opened


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.5)
        self.heads = nn.ModuleDict(dict(a=nn.Linear(4, 5), b=nn.Linear(4, 2)))
        self.unused = nn.Linear(1, 1)

    def forward(self, x):
        x = self.drop(self.stem(x).mean((2, 3)))
        return self.heads['a'](x), [self.heads['b'](x)]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().train()


def test_answers_are_those_of_the_layers(net):
    images = torch.randn(5, 3, 8, 8)
    recorder = FeatureRecorder(net, ['stem.0', r'heads\.\w'])
    assert recorder.names == ['stem.0', 'heads.a', 'heads.b']
    got = recorder.record_images(images)
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(got['stem.0'], net.stem[0](images).flatten(1))
        torch.testing.assert_close(got['heads.a'], net(images)[0])
    assert got['stem.0'].shape == (5, 4 * 6 * 6)


def test_layers_before_one_that_works_in_place_keep_their_values(net):
    images = torch.randn(2, 3, 8, 8)
    assert FeatureRecorder(net, ['stem.1']).record_images(images)['stem.1'].min() < 0


def test_several_tensors_are_joined_and_positions_pooled(net):
    class Pyramid(nn.Module):
        def forward(self, x):
            return dict(p2=x, rest=(x[..., ::2, ::2],))

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Pyramid())
    images = torch.randn(2, 3, 6, 6)
    assert FeatureRecorder(model, ['1']).record_images(images)['1'].shape == (2, 4 * 36 + 4 * 9)
    got = FeatureRecorder(model, ['1'], pool='mean').record_images(images)['1']
    torch.testing.assert_close(got[:, :4], model[0](images).mean((2, 3)))
    assert got.shape == (2, 8)


def test_the_network_is_left_as_it_was(net):
    net.heads.eval()  # a part that was in evaluation mode stays so
    before = {k: v.clone() for k, v in net.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()

    def forward(images):
        random.random(), np.random.rand(), torch.rand(1)
        return net(images)

    list(FeatureRecorder(net, ['stem.2']).record(forward, [torch.randn(3, 3, 8, 8)] * 2))
    # The images themselves were drawn before recording began.
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert net.training and net.drop.training and not net.heads.training
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(m._forward_hooks for m in net.modules())


def test_hooks_and_modes_are_restored_after_an_error(net):
    def forward(images):
        raise RuntimeError('out of memory')

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match='out of memory'):
        list(FeatureRecorder(net, ['stem.0']).record(forward, [torch.zeros(1, 3, 8, 8)]))
    assert net.training and not any(m._forward_hooks for m in net.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_dropout_is_off_and_no_graph_is_kept(net):
    images = torch.randn(4, 3, 8, 8)
    recorder = FeatureRecorder(net, ['drop'])
    first, second = (recorder.record_images(images)['drop'] for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad


def test_whoever_takes_the_answers_keeps_gradients(net):
    weight = torch.ones(1, requires_grad=True)
    for answers in FeatureRecorder(net, ['stem.0']).record(net, [torch.zeros(1, 3, 8, 8)] * 2):
        assert not answers['stem.0'].requires_grad
        (weight * answers['stem.0'].sum()).backward()
    assert torch.is_grad_enabled() and weight.grad is not None


def test_wrapped_models():
    model = nn.DataParallel(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    assert FeatureRecorder(model, ['0']).names == ['0']


@pytest.mark.parametrize(
    'layers,error,match',
    [
        (['stem.3'], KeyError, 'nearest names are.*stem.0'),
        (['steam'], KeyError, 'nearest names are stem'),
        (['('], ValueError, 'no regular expression'),
        ([], ValueError, 'empty'),
        ('stem', TypeError, r"\['stem'\]"),
    ],
)
def test_unknown_layers(net, layers, error, match):
    with pytest.raises(error, match=match):
        FeatureRecorder(net, layers)


def test_layers_that_do_not_answer(net):
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(RuntimeError, match="did not pass through 'unused'"):
        FeatureRecorder(net, ['unused']).record_images(images)

    class Sum(nn.Module):
        def forward(self, x):
            return x.sum(0, keepdim=True)

    with pytest.raises(RuntimeError, match='1 rows for 2 images'):
        FeatureRecorder(nn.Sequential(Sum()), ['0']).record_images(torch.zeros(2, 3))
    with pytest.raises(ValueError, match='pool'):
        FeatureRecorder(net, ['stem'], pool='max')


class TestRuns:
    """A module that is run several times in one pass."""

    @pytest.fixture
    def twice(self):
        return nn.Sequential(nn.Linear(3, 3))

    def record(self, model, layers):
        images = torch.randn(2, 3)
        recorder = FeatureRecorder(model, layers)
        return images, next(recorder.record(lambda x: model(model(x)), [images]))

    def test_each_run_has_a_name(self, twice):
        images, got = self.record(twice, ['0#2', '0#1'])
        assert list(got) == ['0#1', '0#2']
        torch.testing.assert_close(got['0#1'], twice(images))
        torch.testing.assert_close(got['0#2'], twice(twice(images)))

    def test_without_a_number_the_names_are_told(self, twice):
        with pytest.raises(RuntimeError, match="'0' is run several times.*0#1 to 0#2"):
            self.record(twice, ['0'])
        with pytest.raises(RuntimeError, match="did not pass through '0#3'"):
            self.record(twice, ['0#3'])


def test_functional_in_place_changes_come_after_the_recording():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            y = self.conv(x)
            return y.mul_(0)

    model, images = InPlace(), torch.randn(2, 3, 4, 4)
    got = FeatureRecorder(model, ['conv']).record_images(images)['conv']
    torch.testing.assert_close(got, model.conv(images).flatten(1))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(net, dtype):
    images = torch.randn(2, 3, 8, 8)
    expected = FeatureRecorder(net, ['stem.0']).record_images(images)['stem.0']
    got = FeatureRecorder(net.to(dtype), ['stem.0']).record_images(images)['stem.0']
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0.05, atol=0.05)


class MyParallel(nn.DataParallel):
    pass


class AveragedGradients(nn.Module):
    """As the engine's."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args):
        return self.module(*args)


def test_wrappers_within_wrappers(net):
    images = torch.randn(2, 3, 8, 8)
    expected = FeatureRecorder(net, ['stem.0']).record_images(images)['stem.0']
    net.stem = MyParallel(net.stem)
    for layer in ('stem.0', 'stem.module.0'):
        recorder = FeatureRecorder(AveragedGradients(net), [layer])
        assert recorder.names == ['stem.0']
        torch.testing.assert_close(recorder.record_images(images)['stem.0'], expected)


def test_a_network_with_a_part_called_module_is_no_wrapper():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    assert FeatureRecorder(Net(), ['module']).names == ['module']


def test_compiled_models(net):
    images = torch.randn(2, 3, 8, 8)
    expected = FeatureRecorder(net, ['stem.0']).record_images(images)['stem.0']
    whole = torch.compile(net, backend='eager')
    net.eval()
    with torch.no_grad():
        whole(images)  # compiled before there are hooks
    got = list(FeatureRecorder(whole, ['stem.0']).record(whole, [images]))[0]['stem.0']
    torch.testing.assert_close(got, expected)
    net.stem = torch.compile(net.stem, backend='eager')
    torch.testing.assert_close(
        FeatureRecorder(net, ['stem.0']).record_images(images)['stem.0'], expected
    )


def test_keep_gets_values_in_one_order(net):
    """Maps that lie channels last come so, batch after batch."""
    images = torch.randn(5, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    expected = FeatureRecorder(net, ['stem.0']).record_images(images)['stem.0']
    kept = []
    recorder = FeatureRecorder(net, ['stem.0'])
    keep = lambda name, rows: kept.append(rows.clone())  # noqa: E731
    list(recorder.record(net, images.split(2), keep))
    maps = torch.cat(kept).reshape(5, 6, 6, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(maps.flatten(1), expected)


def test_parts_of_torchscript_are_refused_until_they_are_opened():
    script = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    model, images = nn.Sequential(script, nn.ReLU()), torch.randn(5, 3)
    for layer in ('0', '0.1'):
        with pytest.raises(ValueError, match='is TorchScript.*opened'):
            FeatureRecorder(model, [layer])
    (got,) = FeatureRecorder(model, ['1']).record_images(images).values()
    torch.testing.assert_close(got, script(images).relu())
    got = FeatureRecorder(opened(model), ['0', '0.1']).record_images(images)
    torch.testing.assert_close(got['0.1'], script(images))
    assert torch.equal(got['0'], got['0.1'])


def test_the_second_name_of_a_module_is_led_to_the_first():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    model.again = model[0]
    with pytest.raises(KeyError, match="'again' is the same module as '0'"):
        FeatureRecorder(model, ['again'])


def test_batch_norm_without_statistics_is_named():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)
    )
    with pytest.warns(UserWarning, match="'2' is batch norm without running statistics"):
        FeatureRecorder(model, ['0']).record_images(torch.randn(2, 3, 4, 4))


def test_weights_that_are_used_without_a_call():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attend(x[:, 0], x[:, 0], x[:, 0])

    images = torch.randn(3, 1, 5, 8)
    # Weights of attention (3, 5, 5) beside the answer (3, 5, 8).
    assert FeatureRecorder(Net(), ['attend']).record_images(images)['attend'].shape == (3, 65)
    with pytest.raises(RuntimeError, match='only the weights are used'):
        FeatureRecorder(Net(), ['attend.out_proj']).record_images(images)


@pytest.mark.parametrize('kind', ['norm', 'state'])
def test_a_state_that_changes_is_put_back_and_named(kind):
    """Else a training would go on with the statistics of the stimuli."""

    class Trains(nn.BatchNorm2d):
        def forward(self, x):
            self.train(kind == 'norm')
            return super().forward(x)

    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('mean', torch.full((4,), float('nan')))
            self.register_buffer('places', None)

        def forward(self, x):
            self.places = torch.arange(3)
            if kind == 'state':
                self.mean = x.mean((0, 2, 3))  # another tensor
            return x

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Trains(4), Remembers()).eval()
    tensors = dict(model.named_buffers())
    before = {name: value.clone() for name, value in tensors.items()}
    with pytest.warns(UserWarning, match='changed while the network was shown') as said:
        FeatureRecorder(model, ['2']).record_images(torch.randn(2, 3, 4, 4))
    assert ("'running_mean' of a Trains" if kind == 'norm' else "'mean'") in str(said[0].message)
    assert model[2].places is None and not model[1].training
    for name, value in model.named_buffers():
        assert value is tensors[name]
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_state_that_stays_is_not_named(net, recwarn):
    net.register_buffer('places', None)
    net.register_buffer('unknown', torch.tensor([float('nan')]))
    FeatureRecorder(net, ['stem.0']).record_images(torch.randn(2, 3, 8, 8))
    assert not [w for w in recwarn if 'changed' in str(w.message)]


@pytest.mark.parametrize('how', ['scripted', 'traced', 'frozen'])
def test_parts_of_torchscript_beside_the_layers_are_left_as_they_are(how):
    part = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).eval()
    script = {
        'scripted': lambda: torch.jit.script(part),
        'traced': lambda: torch.jit.trace(part, torch.randn(2, 4, 3, 3)),
        'frozen': lambda: torch.jit.freeze(torch.jit.script(part)),
    }[how]()
    model = nn.Sequential(nn.Conv2d(3, 4, 1), script, nn.Conv2d(4, 2, 1))
    images = torch.randn(2, 3, 4, 4)
    before = [buffer.clone() for buffer in model.buffers()]
    got = FeatureRecorder(model, ['2']).record_images(images)['2']
    torch.testing.assert_close(got, model.eval()(images).flatten(1))
    assert all(map(torch.equal, model.buffers(), before))
