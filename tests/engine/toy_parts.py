"""A small model, data set and metric that draw random numbers from every generator there is."""

import os
import random
import signal

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn


@DATASETS.register_module()
class ToyImages(torch.utils.data.Dataset):
    """``length`` noise images (1, 8, 8) of 3 classes, augmented with numpy's and python's draws."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __init__(self, length=12, augment=True, data_root=None, ann_file=''):
        self.length, self.augment = length, augment

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(1, 8, 8, generator=generator)
        if self.augment:
            image = image * np.random.uniform(0.5, 1.5) + random.gauss(0.0, 0.1)
        return dict(inputs=image.float(), label=index % 3)


@MODELS.register_module()
class ToyModel(BaseModel):
    """Convolution, optional batch norm and dropout, linear classifier; ``TOY_KILL_AT=N`` in the
    environment kills the process with SIGKILL in its N-th training step."""

    def __init__(self, noise=True, **kwargs):
        super().__init__(**kwargs)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if noise else nn.Identity()
        self.drop = nn.Dropout(0.3) if noise else nn.Identity()
        self.fc_cls = nn.Linear(256, 3)
        self.steps = 0

    def forward(self, inputs, label, mode='tensor'):
        inputs = torch.stack(list(inputs)) if isinstance(inputs, list | tuple) else inputs
        features = self.norm(self.conv(inputs)).relu()
        logits = self.fc_cls(self.drop(features.flatten(1)))
        if mode != 'loss':
            torch.rand(3)  # a test that draws, as some do
            return [dict(score=row) for row in logits]
        self.steps += 1
        if self.steps == int(os.environ.get('TOY_KILL_AT', '0')):
            os.kill(os.getpid(), signal.SIGKILL)
        return dict(
            loss=nn.functional.cross_entropy(logits, torch.as_tensor(label, device=logits.device))
        )


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Mean of all scores, and how many there were and of which type."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results += [sample['score'].float().mean().item() for sample in data_samples]

    def compute_metrics(self, results):
        return dict(mean=float(np.mean(results)), count=len(results))


TOY_CONFIG = """
custom_imports = dict(imports=['tests.engine.toy_parts'], allow_failed_imports=False)
default_scope = 'mmengine'
model = dict(type='ToyModel')
data_root = {data_root!r}
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ToyImages', data_root=data_root))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyImages', data_root=data_root, augment=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='ToyMetric')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=1.0))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=4, by_epoch=True)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2))
randomness = dict(seed=3)
log_level = 'WARNING'
"""


def write_config(folder, extra=''):
    """Write the toy config into ``folder``; returns its path as a string."""
    path = folder / 'toy.py'
    path.write_text(TOY_CONFIG.format(data_root=str(folder)) + extra)
    return str(path)
