"""The name ``SEMPix2Pix`` in configs, without mmagic until it is built."""

from typing import Any

from mmengine.registry import MODELS

__all__ = ['build_pix2pix']


@MODELS.register_module(name='SEMPix2Pix')
def build_pix2pix(**options: Any) -> Any:
    """Builds a :class:`.pix2pix.SEMPix2Pix`, and imports mmagic only then."""
    from .pix2pix import SEMPix2Pix

    return SEMPix2Pix(**options)
