"""Imports all that registers a class for restoration; registries do so when looked into.

The classes stand in mmengine's root registries, which mmagic's scope sees as well, so that they
need none of mmagic; ``SEMPix2Pix``, which is one of its models, is imported when it is built.
"""

from .datasets import sem_folder, transforms
from .degradation import simulate
from .evaluation import fabrication, fidelity, sharpness
from .losses import composite, excess_structure, ssim_loss
from .models import build, unet

__all__ = [
    'build',
    'composite',
    'excess_structure',
    'fabrication',
    'fidelity',
    'sem_folder',
    'sharpness',
    'simulate',
    'ssim_loss',
    'transforms',
    'unet',
]
