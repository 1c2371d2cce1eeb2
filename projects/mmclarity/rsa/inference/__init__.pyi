from .dual import DualBootstrap, dual_bootstrap, dual_variance
from .encoding import EncodingScores, encoding_scores
from .meta import MetaAnalysis, combine, combine_results
from .noise_ceiling import NoiseCeiling, noise_ceiling
from .profiles import Order, Profile, layer_profiles, order
from .reliability import Reliability, spearman_brown, split_half
from .searchlight import searchlight_scores, spheres
from .significance import BootstrapResult, PairedDifferences, bootstrap, fdr, permutation_test
from .timecourse import Cluster, cluster_test, time_courses, time_rdms
from .variance import VariancePartition, partition_variance
from .weighted import CrossValidated, cross_validate, feature_rdms, fit_weights, folds

__all__ = [
    'DualBootstrap',
    'dual_bootstrap',
    'dual_variance',
    'searchlight_scores',
    'spheres',
    'time_rdms',
    'time_courses',
    'encoding_scores',
    'cluster_test',
    'EncodingScores',
    'Cluster',
    'BootstrapResult',
    'CrossValidated',
    'MetaAnalysis',
    'NoiseCeiling',
    'Order',
    'PairedDifferences',
    'Profile',
    'Reliability',
    'VariancePartition',
    'bootstrap',
    'combine',
    'combine_results',
    'cross_validate',
    'fdr',
    'feature_rdms',
    'fit_weights',
    'folds',
    'layer_profiles',
    'noise_ceiling',
    'order',
    'partition_variance',
    'permutation_test',
    'spearman_brown',
    'split_half',
]
