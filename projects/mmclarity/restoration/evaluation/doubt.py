"""Whether the doubted particles of a restored image are the wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fabrication import HYSTERESIS, inside
from .particles import detect_particles, match_particles, standing_out

__all__ = ['judge_doubt', 'wrong_particles']


def wrong_particles(
    particles: np.ndarray, restored: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Particles that one sees in the restored image and not in the reference.

    Each by the rule of :func:`.fabrication.count_fabrications`, with its own strength as threshold:
    there is no partner of half of it in the reference, and it stands out in the difference of the
    two by half of it.

    Args:
        particles: (K, 4), of the restored image.
        restored: (H, W) in [0, 1].
        reference: (H, W) in [0, 1].

    Returns:
        (K,) bool.
    """
    real = detect_particles(reference)
    excess = detect_particles(np.asarray(restored, np.float64) - reference)
    wrong = np.zeros(len(particles), bool)
    for index, particle in enumerate(particles):
        least = HYSTERESIS * particle[3]
        alone = len(match_particles(particle[None], real[real[:, 3] >= least])[1]) > 0
        wrong[index] = alone and bool(standing_out(particle[None], excess, least).any())
    return wrong


def judge_doubt(
    restored: np.ndarray, reference: np.ndarray, doubt: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, int, int]:
    """Counts doubted particles, wrong ones, and those that are both.

    Args:
        restored: (H, W) in [0, 1].
        reference: (H, W) in [0, 1].
        doubt: gets (K, 4) particles of the restored image, says (K,) which are doubtful.

    Returns:
        Three numbers; particles cut off by the border are left out.
    """
    particles = detect_particles(restored)
    particles = particles[inside(particles, restored.shape)]
    wrong = wrong_particles(particles, restored, reference)
    doubted = np.asarray(doubt(particles), bool)
    return int(doubted.sum()), int(wrong.sum()), int((doubted & wrong).sum())
