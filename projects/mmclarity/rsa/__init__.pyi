from . import data, inference, models, rdms, report, similarity
from .analysis import RSAResult, RSASettings, analyse, network_rdms
from .data.average import average_populations
from .data.neural import NeuralArea, align, load_neural
from .data.stimuli import StimulusSet
from .inference.noise_ceiling import NoiseCeiling, noise_ceiling
from .inference.significance import bootstrap, fdr, permutation_test
from .models.gabor import GaborV1
from .models.recorder import FeatureRecorder
from .models.untrained import random_twin, untrained_copy
from .rdms.accumulator import RDMAccumulator
from .rdms.compute import compute_rdm
from .rdms.pairs import to_square
from .rdms.rdms import RDMs, as_condensed
from .similarity.compare import compare_rdms

__all__ = [
    'FeatureRecorder',
    'GaborV1',
    'NeuralArea',
    'NoiseCeiling',
    'RDMAccumulator',
    'RDMs',
    'RSAResult',
    'RSASettings',
    'StimulusSet',
    'align',
    'analyse',
    'as_condensed',
    'average_populations',
    'bootstrap',
    'compare_rdms',
    'compute_rdm',
    'data',
    'fdr',
    'inference',
    'load_neural',
    'models',
    'network_rdms',
    'noise_ceiling',
    'permutation_test',
    'random_twin',
    'rdms',
    'report',
    'similarity',
    'to_square',
    'untrained_copy',
]
