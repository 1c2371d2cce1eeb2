"""Started by torchrun: two steps of Pix2Pix in several processes, on parts of one batch.

Writes the weights of the first process to the path given, and how far those of the others differ.
"""

import sys

import torch
import torch.distributed as dist
from mmagic.registry import MODELS
from mmagic.utils import register_all_modules
from mmengine.logging import MessageHub
from mmengine.registry import MODEL_WRAPPERS, OPTIM_WRAPPER_CONSTRUCTORS

import mmclarity.restoration  # noqa: F401
from mmclarity.engine.config import load_config
from mmclarity.engine.distributed import close_cpu_processes, setup_cpu_processes


def main():
    register_all_modules()
    cfg = load_config(
        'pix2pix_phantom.py',
        {
            'model.generator.base_channels': 4,
            'model.discriminator.base_channels': 4,
            'model.generator.num_down': 5,
        },
    )
    cfg.launcher = 'pytorch'
    setup_cpu_processes(cfg)
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(rank)  # the processes start alike because the first one's weights are sent
    model = MODELS.build(cfg.model).train()
    model.init_weights()
    generator = torch.Generator().manual_seed(0)
    if rank == 0:
        for value in model.parameters():
            value.data.normal_(std=0.1, generator=generator)
    wrapped = MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=dict(module=model))
    plain = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3), accumulative_counts=2)
    optimisers = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='MultiOptimWrapperConstructor',
            optim_wrapper_cfg=dict(generators=plain, discriminators=plain),
        )
    )(wrapped)
    for wrapper in optimisers.values():
        wrapper.initialize_count_status(model, 0, 4)
    generator.manual_seed(1)
    for step in range(4):
        MessageHub.get_current_instance().update_info('iter', step)
        images = {
            f'img_{kind}': 255 * torch.rand(4, 1, 32, 32, generator=generator)
            for kind in ('low', 'high')
        }
        wrapped.train_step(
            dict(
                inputs={key: image[rank::world] for key, image in images.items()}, data_samples=None
            ),
            optimisers,
        )
    weights = torch.cat([value.detach().ravel() for value in model.parameters()])
    gathered = [torch.empty_like(weights) for _ in range(world)]
    dist.all_gather(gathered, weights)
    if rank == 0:
        torch.save(
            dict(
                weights=weights,
                apart=max((weights - other).abs().max().item() for other in gathered),
            ),
            sys.argv[1],
        )
    close_cpu_processes()


main()
