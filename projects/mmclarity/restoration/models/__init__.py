"""Networks that restore, and the mmagic models they are trained in."""

from typing import Any

from mmengine.registry import MODELS

from .restorers import generator_of, restore_batch
from .unet import SEMUNet

__all__ = ['SEMPix2Pix', 'SEMUNet', 'generator_of', 'restore_batch']


@MODELS.register_module(name='SEMPix2Pix')
def build_pix2pix(**options: Any) -> Any:
    """Builds a :class:`.pix2pix.SEMPix2Pix`, and imports mmagic only then."""
    from .pix2pix import SEMPix2Pix

    return SEMPix2Pix(**options)


def __getattr__(name: str) -> Any:
    if name == 'SEMPix2Pix':
        from .pix2pix import SEMPix2Pix

        return SEMPix2Pix
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
