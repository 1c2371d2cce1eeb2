"""Networks, their untrained twins, a Gabor model of V1, and the recorder of their layers."""

from .gabor import GaborV1
from .recorder import FeatureRecorder
from .untrained import random_twin

__all__ = ['FeatureRecorder', 'GaborV1', 'random_twin']
