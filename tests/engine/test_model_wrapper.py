"""Wrappers for several processes, here with one: buffers and gradients take the same way."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import nn

from mmclarity.engine.distributed import setup_cpu_processes
from mmclarity.engine.model_wrapper import wrap_anew
from tests.engine.toy_parts import write_config


@pytest.fixture
def group(monkeypatch):
    """A gloo group of this process alone, with the variables that torchrun sets."""
    variables = dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=1)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr('mmclarity.engine.distributed.get_device', lambda: 'cpu')
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Deep(nn.Sequential):
    """A convolution whose weights lie otherwise when channels come last."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 6, 1), nn.Conv2d(6, 4, 3, padding=1))


def trained(folder, name, hooks, **settings):
    cfg = Config.fromfile(write_config(folder))
    cfg.merge_from_dict(
        dict(
            custom_hooks=hooks,
            model=dict(type='ToyModel', noise=False),
            train_cfg=dict(max_epochs=1, val_interval=9),
            train_dataloader=dict(dataset=dict(augment=False)),
            optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', lr=0.5), clip_grad=None),
            work_dir=str(folder / name),
            experiment_name=f'{folder.name}{name}',
            **settings,
        )
    )
    setup_cpu_processes(cfg)
    torch.manual_seed(0)
    runner = Runner.from_cfg(cfg)
    model = getattr(runner.model, 'module', runner.model)
    model.conv = Deep()
    if runner.model is not model:
        runner.model = runner.wrap_model(cfg.model_wrapper_cfg, model)
    runner.train()
    return model.state_dict(), runner.model


@pytest.mark.parametrize('unused', [False, True])
def test_gradients_of_channels_last_are_those_without_a_wrapper(tmp_path, group, unused):
    """DistributedDataParallel gave the elements of each kernel back in another order."""
    hooks = [dict(type='MixedPrecisionHook', float32=[])]
    alone, bare = trained(tmp_path, 'alone', hooks)
    wrapped, wrapper = trained(
        tmp_path, 'wrapped', hooks, launcher='pytorch', find_unused_parameters=unused
    )
    assert type(bare).__name__ == 'ToyModel'
    assert type(wrapper).__name__ == 'MMDistributedDataParallel'
    assert wrapper.find_unused_parameters is unused and wrapper.device_ids is None
    for name, value in alone.items():
        torch.testing.assert_close(wrapped[name], value, msg=lambda text, n=name: f'{n}: {text}')


class TwoNetworks(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator, self.discriminator = Deep(), Deep()

    def forward(self, images):
        return self.generator(images).square().mean() + self.discriminator(images).abs().mean()


def test_networks_that_are_wrapped_one_by_one(group):
    """As mmengine does it for GANs."""
    alone, model, images = TwoNetworks(), TwoNetworks(), torch.randn(2, 1, 9, 9)
    config = dict(type='MMSeparateDistributedDataParallel', device_ids=None)

    def wrap(_, module):
        return MODEL_WRAPPERS.build(config, default_args=dict(module=module))

    runner = SimpleNamespace(model=wrap(None, model), wrap_model=wrap, cfg={})
    model.to(memory_format=torch.channels_last)
    wrap_anew(runner)
    assert isinstance(model.generator, MMDistributedDataParallel)
    assert runner.model.module is model and isinstance(model.generator.module, Deep)
    for network in (alone, model):
        network(images).backward()
    expected = dict(alone.named_parameters())
    for name, parameter in model.named_parameters():
        same = expected[name.replace('.module', '')].grad
        torch.testing.assert_close(parameter.grad, same, msg=lambda text, n=name: f'{n}: {text}')


def test_what_is_frozen_is_neither_waited_for_nor_sent_around(tmp_path, group):
    hooks = [dict(type='TrainOnlyHook', parts=['fc_cls'])]
    alone, _ = trained(tmp_path, 'alone', hooks)
    wrapped, wrapper = trained(tmp_path, 'wrapped', hooks, launcher='pytorch')
    assert not wrapper.find_unused_parameters
    size = sum(4 * value.numel() for value in wrapper.module.fc_cls.parameters())
    assert wrapper._get_ddp_logging_data()['total_parameter_size_bytes'] == size
    for name, value in alone.items():
        torch.testing.assert_close(wrapped[name], value, msg=lambda text, n=name: f'{n}: {text}')
