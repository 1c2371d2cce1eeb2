"""Restoration of scanning electron microscope images; its parts go into mmagic's registries."""

from mmclarity import compat

compat.install()

from . import datasets, degradation, evaluation, losses, models  # noqa: E402
from .inference.restorer import Restorer  # noqa: E402
from .io.micrograph import SEMImage, list_images, read_sem, write_sem  # noqa: E402
from .ops.registration import register  # noqa: E402

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
