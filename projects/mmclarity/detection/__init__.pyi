from . import attention, backbones, datasets, evaluation, inference, roi_heads
from .inference import Detector

__all__ = [
    'Detector',
    'attention',
    'backbones',
    'datasets',
    'evaluation',
    'inference',
    'roi_heads',
]
