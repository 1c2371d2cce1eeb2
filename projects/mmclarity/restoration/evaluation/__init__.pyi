from .fabrication import FabricationMetric, count_fabrications
from .fidelity import FidelityMetric, fidelity
from .particles import DetectionSettings, detect_particles, match_particles, standing_out
from .perceptual import lpips_distance, lpips_weights
from .sharpness import (
    SharpnessMetric,
    edge_width,
    find_edges,
    fourier_ring_correlation,
    frc_resolution,
    sharpness,
)

__all__ = [
    'DetectionSettings',
    'FabricationMetric',
    'FidelityMetric',
    'SharpnessMetric',
    'count_fabrications',
    'detect_particles',
    'edge_width',
    'fidelity',
    'find_edges',
    'fourier_ring_correlation',
    'frc_resolution',
    'lpips_distance',
    'lpips_weights',
    'match_particles',
    'sharpness',
    'standing_out',
]
