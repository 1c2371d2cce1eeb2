"""Noise ceilings, intervals and tests (Nili et al., PLoS Comput. Biol. 2014)."""

from .noise_ceiling import NoiseCeiling, noise_ceiling
from .significance import BootstrapResult, PairedDifferences, bootstrap, fdr, permutation_test

__all__ = [
    'BootstrapResult',
    'NoiseCeiling',
    'PairedDifferences',
    'bootstrap',
    'fdr',
    'noise_ceiling',
    'permutation_test',
]
