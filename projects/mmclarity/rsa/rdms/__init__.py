"""Representational dissimilarity matrices: computed, checked, condensed and squared."""

from .accumulator import RDMAccumulator
from .compute import METRICS, compute_rdm
from .rdms import as_condensed, num_stimuli, to_square

__all__ = ['METRICS', 'RDMAccumulator', 'as_condensed', 'compute_rdm', 'num_stimuli', 'to_square']
