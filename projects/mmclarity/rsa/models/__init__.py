"""Networks, their untrained copies, a Gabor model of V1, and the recorder of their layers."""

from .gabor import GaborV1
from .recorder import FeatureRecorder
from .untrained import random_twin, untrained_copy

__all__ = ['FeatureRecorder', 'GaborV1', 'random_twin', 'untrained_copy']
