"""What the caches of the tests are made of."""

from mmengine.registry import DefaultScope

CONFIG = 'configs/frcnn_murky.py'
COUNT = 5


def scope():
    """Name of the default scope, which another test may have set; mmengine gives back a copy."""
    current = DefaultScope.get_current_instance()
    return current and current.scope_name


def options(folder):
    return {
        'data_root': f'{folder}/scenes/',
        'train_dataloader.dataset.pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomResize', scale=(320, 192), ratio_range=(0.8, 1.2), keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    }
