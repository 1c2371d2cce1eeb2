from .gabor import GaborV1
from .recorder import FeatureRecorder
from .untrained import random_twin, untrained_copy

__all__ = ['FeatureRecorder', 'GaborV1', 'random_twin', 'untrained_copy']
