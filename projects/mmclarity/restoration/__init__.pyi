from . import datasets, degradation, evaluation, inference, io, losses, models, ops
from .inference.restorer import Restorer
from .io.micrograph import SEMImage, list_images, read_sem
from .io.writing import write_sem
from .ops.registration import register

__all__ = [
    'Restorer',
    'SEMImage',
    'datasets',
    'degradation',
    'evaluation',
    'inference',
    'io',
    'list_images',
    'losses',
    'models',
    'ops',
    'read_sem',
    'register',
    'write_sem',
]
