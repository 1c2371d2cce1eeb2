"""Started by torchrun: gradients of two processes against one process with the doubled batch.

Writes JSON to the path given: for each config the largest difference of a parameter's gradient,
relative to that gradient's norm, and how many parameters had a gradient.
"""

import copy
import json
import sys

import torch
import torch.distributed as dist
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.registry import MODEL_WRAPPERS

from mmclarity.engine.config import load_config
from mmclarity.engine.distributed import close_cpu_processes, setup_cpu_processes

# Batch statistics are those of a process, so batch norm is kept out of the comparison.
CONFIGS = {
    'frcnn_murky.py': {},
    'sa_frcnn_t032_murky.py': {},
    'sta_frcnn_t32_murky.py': {},
    'lambda_frcnn_murky.py': {'model.roi_head.bbox_head.attention.norm': 'LN'},
}


def gradients(model, inner, inputs, samples):
    losses = model(inputs, copy.deepcopy(samples), mode='loss')
    inner.parse_losses(losses)[0].backward()
    return {
        name: value.grad.clone()
        for name, value in inner.named_parameters()
        if value.grad is not None
    }


def compare(name, options):
    cfg = load_config(name, {'model.backbone.norm_eval': True, **options})
    cfg.launcher = 'pytorch'
    setup_cpu_processes(cfg)
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train().double()
    model.init_weights()
    for key, value in model.named_parameters():
        if 'attention' in key:  # zero-initialised layers would hide the others' gradients
            torch.nn.init.normal_(value, std=0.05)
    data = demo_mm_inputs(4, [[3, 96, 160]] * 4, num_items=[1, 5, 3, 2], num_classes=10)
    for sample in data['data_samples']:
        # Every image needs an anchor that matches: mmdet counts an image without one as having
        # one sample more, and the two averages then differ by design.
        corner = torch.tensor(
            [[8.0 + 12 * i, 10.0 + 11 * i] for i in range(len(sample.gt_instances))]
        )
        sample.gt_instances.bboxes = torch.cat([corner, corner + 21], dim=1)
    data = model.data_preprocessor(data, True)
    inputs, samples = data['inputs'].double(), data['data_samples']
    alone = gradients(model, model, inputs, samples)
    model.zero_grad()
    wrapped = MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=dict(module=model))
    part = slice(rank * 4 // world, (rank + 1) * 4 // world)
    together = gradients(wrapped, model, inputs[part], samples[part])
    if set(alone) != set(together):
        raise AssertionError(f'{name}: {set(alone) ^ set(together)}')
    worst = max(
        ((together[key] - value).norm() / value.norm().clamp(min=1e-6)).item()
        for key, value in alone.items()
    )
    return dict(worst=worst, count=len(alone), attention=sum('attention' in key for key in alone))


def main():
    register_all_modules()
    RandomSampler.random_choice = lambda self, gallery, num: gallery[:num]
    results = {name: compare(name, options) for name, options in CONFIGS.items()}
    if dist.get_rank() == 0:
        with open(sys.argv[1], 'w') as file:
            json.dump(results, file)
    close_cpu_processes()


main()
