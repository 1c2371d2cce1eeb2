"""Networks that restore, and the mmagic models they are trained in."""

from .restorers import SEMPix2Pix, generator_of, restore_batch
from .unet import SEMUNet

__all__ = ['SEMPix2Pix', 'SEMUNet', 'generator_of', 'restore_batch']
