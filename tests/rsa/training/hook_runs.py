"""Small trainings with the RSA hook."""

import json
import uuid

from mmengine.config import Config
from mmengine.runner import Runner

import mmclarity.rsa.training  # noqa: F401  (registers)
from tests.running import REPO

LAYERS = ['network.features.1', r'network\.classifier\.\d']


def config(data, work_dir, hooks=(), epochs=2):
    cfg = Config.fromfile(REPO / 'configs' / 'alexnet_surfaces_rsa.py')
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            log_level='WARNING',
            train_cfg=dict(max_epochs=epochs),
            model=dict(network=dict(width=0.1, hidden=16)),
            train_dataloader=dict(batch_size=8, dataset=dict(data_root=str(data))),
            val_dataloader=dict(dataset=dict(data_root=str(data))),
            # Not numpy's random numbers: a runner seeds them, and names would repeat.
            experiment_name=f'{work_dir.name}_{uuid.uuid4().hex}',
        )
    )
    # mmengine keeps one visualiser a name in a process.
    cfg.visualizer.name = cfg.experiment_name
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.custom_hooks = [dict(type='RandomStateHook'), *hooks]
    return cfg


def hook(data, **kwargs):
    return dict(
        dict(
            type='RSAHook',
            stimuli=dict(folder=str(data / 'stimuli'), manifest=str(data / 'stimuli/manifest.csv')),
            areas=dict(V1=f'{data}/v1.npz:complex'),
            layers=LAYERS,
            output=dict(figures='none'),
        ),
        **kwargs,
    )


def losses(work_dir):
    lines = [
        json.loads(line)
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [line['loss'] for line in lines if 'loss' in line], lines


def train(cfg, resume=False):
    cfg.default_hooks.logger.interval = 1
    cfg.resume = resume
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner
