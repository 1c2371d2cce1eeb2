from .build import build_pix2pix
from .pix2pix import SEMPix2Pix
from .restorers import generator_of, restore_batch
from .unet import SEMUNet

__all__ = ['SEMPix2Pix', 'SEMUNet', 'build_pix2pix', 'generator_of', 'restore_batch']
