"""Restoration of scanning electron microscope images; its parts go into mmagic's registries."""

from .. import compat

compat.install()

from . import datasets, degradation, evaluation, losses, models  # noqa: E402
from .inferencer import Restorer  # noqa: E402
from .io import SEMImage, list_images, read_sem, write_sem  # noqa: E402
from .registration import register  # noqa: E402

__all__ = [
    'Restorer',
    'SEMImage',
    'datasets',
    'degradation',
    'evaluation',
    'list_images',
    'losses',
    'models',
    'read_sem',
    'register',
    'write_sem',
]
