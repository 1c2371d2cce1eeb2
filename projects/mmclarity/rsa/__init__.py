"""Representational similarity: how alike a network's layers and brain areas see the world.

Needs torch, numpy and scipy only; the training hook lives in :mod:`mmclarity.rsa.training`.
"""

from .analysis import RSAResult, RSASettings, analyse, network_rdms
from .ceiling import NoiseCeiling, noise_ceiling
from .compare import compare_rdms
from .gabor import GaborV1
from .inference import bootstrap, fdr, permutation_test
from .neural import NeuralArea, align, load_neural
from .rdm import RDMAccumulator, compute_rdm
from .recorder import FeatureRecorder
from .stimuli import StimulusSet
from .twin import random_twin
from .validation import as_condensed, to_square

__all__ = [
    'FeatureRecorder',
    'GaborV1',
    'NeuralArea',
    'NoiseCeiling',
    'RDMAccumulator',
    'RSAResult',
    'RSASettings',
    'StimulusSet',
    'align',
    'analyse',
    'as_condensed',
    'bootstrap',
    'compare_rdms',
    'compute_rdm',
    'fdr',
    'load_neural',
    'network_rdms',
    'noise_ceiling',
    'permutation_test',
    'random_twin',
    'to_square',
]
