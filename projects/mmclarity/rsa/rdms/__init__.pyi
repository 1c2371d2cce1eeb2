from .accumulator import RDMAccumulator
from .compute import METRICS, compute_rdm
from .noise import noise_precision, precision_from_residuals
from .pairs import between_groups, num_stimuli, to_square
from .rdms import RDMs, as_condensed

__all__ = [
    'METRICS',
    'RDMAccumulator',
    'RDMs',
    'as_condensed',
    'between_groups',
    'compute_rdm',
    'noise_precision',
    'num_stimuli',
    'precision_from_residuals',
    'to_square',
]
