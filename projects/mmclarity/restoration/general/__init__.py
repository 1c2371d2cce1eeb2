"""The general restorer: one small network for many microscopes, told how noisy the image is."""

from .appraisal import Appraisal
from .appraising import appraise
from .network import GeneralUNet
from .weights import load_general, restore_general

__all__ = ['Appraisal', 'GeneralUNet', 'appraise', 'load_general', 'restore_general']
