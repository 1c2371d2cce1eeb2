import copy
import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from mmclarity.cli.prepare import enable_amp
from mmclarity.engine import AutocastOptimWrapper, has_bfloat16_units, keep_float32
from mmclarity.engine.hooks.precision import keeps_float32
from tests.engine.toy_parts import ToyModel, write_config


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc_cls = nn.Linear(8, 4)

    def forward(self, images):
        self.features = self.conv(images)
        return self.fc_cls(self.features.relu().mean((2, 3)))


def wrapper(model, **kwargs):
    kwargs = {'device_type': 'cpu', 'dtype': 'bfloat16', **kwargs}
    return AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def gradients(optim, model, images):
    with optim.optim_context(model):
        loss = model(images).float().square().mean()
    optim.backward(loss)
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_computes_in_bfloat16_and_keeps_float32_parameters():
    torch.manual_seed(0)
    model, images = Net(), torch.randn(4, 3, 16, 16)
    exact = gradients(
        OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1)), model, images
    )
    assert model.features.dtype == torch.float32
    model.zero_grad()
    optim = wrapper(model)
    rounded = gradients(optim, model, images)
    assert model.features.dtype == torch.bfloat16
    assert optim.loss_scaler is None
    for true, got in zip(exact, rounded):
        assert got.dtype == torch.float32 and got.isfinite().all()
        # bfloat16 rounds to 2^-9 relative; a gradient passes a few such roundings.
        assert (got - true).norm() < 0.03 * true.norm()
        assert not torch.equal(got, true)
    before = model.conv.weight.clone()
    optim.step()
    assert model.conv.weight.dtype == torch.float32
    torch.testing.assert_close(model.conv.weight, before - 0.1 * rounded[0])
    assert not torch.is_autocast_enabled('cpu')


def test_gradients_are_accumulated_and_clipped():
    torch.manual_seed(0)
    model, images = Net(), torch.randn(4, 3, 16, 16)
    optim = wrapper(model, accumulative_counts=2, clip_grad=dict(max_norm=1e-3))
    optim.initialize_count_status(model, 0, 4)
    before = model.conv.weight.clone()
    for step in range(2):
        with optim.optim_context(model):
            loss = model(images).float().square().mean()
        optim.update_params(loss)
        assert torch.equal(model.conv.weight, before) == (step == 0)
    moved = (model.conv.weight - before).norm()
    assert moved <= 0.1 * 1e-3 * 1.001


def test_built_from_a_config_and_wrong_arguments():
    model = Net()
    built = OPTIM_WRAPPERS.build(
        dict(
            type='AutocastOptimWrapper',
            device_type='cpu',
            optimizer=torch.optim.SGD(model.parameters(), lr=1),
        )
    )
    assert built.cast_dtype == (torch.bfloat16 if has_bfloat16_units() else torch.float32)
    with pytest.raises(ValueError, match='float16 needs CUDA'):
        wrapper(model, dtype='float16')
    with pytest.raises(ValueError, match="'int8'"):
        wrapper(model, dtype='int8')
    with pytest.raises(TypeError, match='loss_scale'):
        wrapper(model, loss_scale='automatic')


def test_state_of_a_scaled_run_can_be_loaded():
    model = Net()
    optim = wrapper(model)
    state = optim.state_dict()
    assert 'loss_scaler' not in state
    optim.load_state_dict(dict(state, loss_scaler=dict(scale=2.0)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 and its scaler need CUDA')
def test_float16_uses_a_scaler_on_cuda():
    model, images = Net().cuda(), torch.randn(4, 3, 16, 16).cuda()
    optim = wrapper(model, device_type='cuda', dtype='float16', loss_scale=512.0)
    with optim.optim_context(model):
        loss = model(images).float().square().mean()
    assert model.features.dtype == torch.float16
    optim.update_params(loss)
    state = optim.state_dict()
    assert state['loss_scaler']['scale'] == 512.0
    optim.load_state_dict(state)


def test_layers_of_a_list_are_kept_too():
    """The stages of a cascade: bbox_roi_extractor.0; the list itself is no layer."""
    model = nn.Module()
    model.bbox_roi_extractor = nn.ModuleList([nn.Conv2d(1, 1, 1) for _ in range(2)])
    model.fc1 = nn.Linear(2, 2)
    kept = keep_float32(model)
    assert kept == ['bbox_roi_extractor.0', 'bbox_roi_extractor.1']
    assert keep_float32(model, ['fc1']) == ['fc1']
    with torch.autocast('cpu', torch.bfloat16):
        images = torch.zeros(1, 1, 2, 2)
        assert model.bbox_roi_extractor[1](images).dtype == torch.float32


def test_output_layers_stay_in_float32_also_in_copies():
    torch.manual_seed(0)
    model = Net()
    names, keys = keep_float32(model), list(model.state_dict())
    assert names == ['fc_cls'] and keep_float32(model) == names
    assert isinstance(model.fc_cls, nn.Linear)
    assert keys == list(model.state_dict())
    features = torch.randn(5, 8).bfloat16()
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin.fc_cls.weight)
    with torch.autocast('cpu', torch.bfloat16):
        scores = model.fc_cls(features)
        assert model.conv(torch.randn(1, 3, 4, 4)).dtype == torch.bfloat16
        torch.testing.assert_close(twin.fc_cls(features), twin.fc_cls.bias.expand(5, 4))
    assert scores.dtype == torch.float32
    expected = nn.functional.linear(features.float(), model.fc_cls.weight, model.fc_cls.bias)
    assert torch.equal(scores, expected)


def test_layers_in_float32_can_be_pickled():
    """A process that is spawned gets its model so, and torch.save writes whole ones."""
    model = Net()
    keep_float32(model)
    twin = pickle.loads(pickle.dumps(model))
    assert type(twin.fc_cls).__name__ == 'Float32Linear' and isinstance(twin.fc_cls, nn.Linear)
    assert keeps_float32(twin.fc_cls) and keep_float32(twin) == ['fc_cls']
    features = torch.randn(5, 8)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(twin.fc_cls(features), model.fc_cls(features))
    twin.fc_cls.weight.data.zero_()
    assert model.fc_cls.weight.abs().sum() > 0


@pytest.mark.parametrize(
    'line,expected',
    [
        ('flags\t\t: fpu avx512f avx512_bf16 sse', True),
        ('flags : avx2 amx_tile amx_bf16', True),
        ('Features\t: fp asimd i8mm bf16', True),
        ('flags\t: fpu avx2 avx512f avx512_vnni', False),
        ('model name : bf16 maker', False),
        ('', False),
    ],
)
def test_bfloat16_units_are_read_from_the_processors_flags(tmp_path, line, expected):
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text(f'processor : 0\n{line}\n\nprocessor : 1\n{line}\n')
    assert has_bfloat16_units(str(cpuinfo)) is expected
    assert has_bfloat16_units(str(tmp_path / 'missing')) is False


@pytest.mark.parametrize('units', [True, False])
def test_automatic_type_is_one_the_processor_computes_in(monkeypatch, units):
    monkeypatch.setattr('mmclarity.engine.optim_wrapper.has_bfloat16_units', lambda: units)
    model, images = Net(), torch.randn(4, 3, 16, 16)
    gradients(wrapper(model, dtype='auto'), model, images)
    assert model.features.dtype == (torch.bfloat16 if units else torch.float32)
    gradients(wrapper(model), model, images)  # who names a type gets it
    assert model.features.dtype == torch.bfloat16


@pytest.mark.parametrize(
    'capability,dtype',
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_automatic_type_on_a_gpu(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    assert wrapper(Net(), dtype='auto', device_type='cuda').cast_dtype == dtype


@pytest.mark.parametrize('units', [True, False])
def test_amp_flag_covers_training_and_validation(tmp_path, monkeypatch, units):
    monkeypatch.setattr('mmclarity.cli.prepare.get_device', lambda: 'cpu')
    for module in ('hooks.precision', 'optim_wrapper'):
        monkeypatch.setattr(f'mmclarity.engine.{module}.has_bfloat16_units', lambda: units)
    cfg = Config.fromfile(write_config(tmp_path))
    enable_amp(cfg)
    cfg.train_cfg.max_epochs = 1
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), str(tmp_path).replace('/', '-')
    seen, forward = {}, ToyModel.forward

    def spy(self, inputs, label, mode='tensor'):
        features = self.conv(torch.stack(list(inputs)))
        seen[mode] = (features.dtype, self.fc_cls(features.flatten(1)).dtype)
        return forward(self, inputs, label, mode)

    monkeypatch.setattr(ToyModel, 'forward', spy)
    runner = Runner.from_cfg(cfg)
    runner.train()
    low = torch.bfloat16 if units else torch.float32
    assert seen == dict(loss=(low, torch.float32), predict=(low, torch.float32))
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())


def test_weights_are_laid_out_channels_last(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.custom_hooks = [dict(type='MixedPrecisionHook')]
    cfg.model = dict(type='ToyModel')
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), str(tmp_path).replace('/', '-')
    runner = Runner.from_cfg(cfg)
    runner.model.conv = nn.Conv2d(3, 8, 3)
    runner.call_hook('before_run')
    assert runner.model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    output = runner.model.conv(torch.randn(2, 3, 9, 9))
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_roi_align_takes_bfloat16_features():
    from mmcv.ops import RoIAlign

    torch.manual_seed(0)
    features = torch.randn(1, 4, 16, 16).bfloat16().requires_grad_()
    rois = torch.tensor([[0, 3.3, 2.1, 40.7, 51.9]])
    pool = RoIAlign(7, spatial_scale=0.25, sampling_ratio=0)
    with torch.autocast('cpu', torch.bfloat16):
        pooled = pool(features, rois)
    pooled.float().sum().backward()
    exact = pool(features.detach().float(), rois)
    torch.testing.assert_close(pooled.float(), exact, rtol=0.01, atol=0.01)
    assert features.grad.isfinite().all() and features.grad.float().abs().sum() > 0
