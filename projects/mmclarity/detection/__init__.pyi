from . import (
    attention,
    backbones,
    datasets,
    dense_heads,
    evaluation,
    inference,
    roi_heads,
    shipped,
    task_modules,
    trunk_cache,
    viewer,
)
from .inference import Detector

__all__ = [
    'Detector',
    'attention',
    'backbones',
    'datasets',
    'dense_heads',
    'evaluation',
    'inference',
    'roi_heads',
    'shipped',
    'task_modules',
    'trunk_cache',
    'viewer',
]
