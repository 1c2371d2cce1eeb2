"""How few particles could be missed at all? What an ideal observer finds in real quick scans.

    python benchmarks/particle_limit.py --data ../shared/data --pairs 36-50

For each particle of a slow scan the quick scan has a signal-to-noise ratio that no program can
raise: d^2 = t' C^-1 t, with t what vanishes with the particle from the quick scan, blurred as that
is, and C the covariance of its noise (the detectability of the ideal observer: Barrett and Myers,
Foundations of Image Science, 2004, ch. 13). The observer knows each particle's place, shape and
strength, all that is around it, and the noise; it has to tell whether the particle is there or
not, as at all the places of that size that are empty. No restoration knows so much.

Two kinds of it: one that shows a particle as strong as it is, or not at all; and one that shows it
as strong as is to be expected, strength times chance, which is less than half of it where nothing
is certain. The latter uses a gap of the measure (a particle that is shown half as strong as the
threshold is neither missed nor invented). `doubt` is taken off the log odds of all particles: the
more, the less is invented.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from mmclarity.restoration.degradation.calibration import measured_pair
from mmclarity.restoration.degradation.measure import measure_noise
from mmclarity.restoration.evaluation.fabrication import HYSTERESIS, THRESHOLDS, inside
from mmclarity.restoration.evaluation.particles import detect_particles
from mmclarity.restoration.io import read_sem
from mmclarity.restoration.io.pairs import shared_parts
from mmclarity.utils.tables import markdown_table

# Of the quick scans' noise along the line, and of their beam in pixels, as calibrated on 001-035.
LAGS, BLUR = (0.48, 0.09, 0.02), 0.52
# What is taken for a particle, in its radius, and what around it says how it would look without.
OWN, AROUND = 1.3, 2.5
# Inventions a picture at the lowest threshold for which misses are told, and doubts.
INVENTED, DOUBTS = (0.5, 1.0, 2.0, 4.0, 6.0), (0.0, 1.0, 2.0, 3.0)


class Scan(NamedTuple):
    """Particles of one slow scan.

    Attributes:
        strength: (K,) in units of white.
        detectability: (K,) d.
        empty: places of their size that are empty.
    """

    strength: np.ndarray
    detectability: np.ndarray
    empty: float


def detectability(
    image: np.ndarray, particle: np.ndarray, variance: np.ndarray, lags: tuple[float, ...] = LAGS
) -> float:
    """The ideal observer's d of one particle.

    Args:
        image: (H, W) without noise, any units.
        particle: y, x, radius in pixels.
        variance: (2,) of the noise, slope and intercept against the level of ``image``.
        lags: correlation of the noise along the line.
    """
    y, x, radius = particle[:3]
    reach = int(np.ceil(AROUND * radius + 4))
    rows, columns = (
        slice(max(0, round(at) - reach), round(at) + reach + 1) for at in (float(y), float(x))
    )
    patch = np.ascontiguousarray(image[rows, columns], np.float32)
    grid = np.ogrid[
        rows.start : rows.start + len(patch), columns.start : columns.start + len(patch[0])
    ]
    own = np.hypot(grid[0] - y, grid[1] - x) <= OWN * radius + 1
    without = cv2.inpaint(patch, own.astype(np.uint8), 3, cv2.INPAINT_NS)
    signal = gaussian_filter1d(np.where(own, patch - without, 0), BLUR, axis=1)
    signal = signal / np.sqrt(np.maximum(np.polyval(variance, patch), 1e-12))
    shared = np.zeros(signal.shape[1])
    shared[: 1 + len(lags)] = (1.0, *lags)[: len(shared)]
    return float(np.sqrt(sum(row @ solve_toeplitz(shared, row) for row in signal if row.any())))


def scan(low: Path, high: Path) -> Scan:
    """Particles of a slow scan, as the quick one of the field could show them."""
    parts = shared_parts(read_sem(low), read_sem(high))
    quick, slow = (part.unit * 255 for part in parts)
    found = measured_pair(quick, slow, low, high)
    seen = found.place.region(quick.shape, margin=4)
    truth = found.place.move(slow)[seen] * found.gain + found.offset
    noise = measure_noise(quick)
    known = np.isfinite(noise.level) & np.isfinite(noise.variance)
    variance = np.polyfit(noise.level[known], noise.variance[known], 1)
    particles = detect_particles(truth / 255)
    particles = particles[inside(particles, truth.shape) & (particles[:, 3] >= min(THRESHOLDS))]
    d = np.array([detectability(truth, one, variance) for one in particles])
    # no more than lie side by side: the fewer, the more is found
    places = truth.size / (2 * np.median(particles[:, 2])) ** 2
    return Scan(particles[:, 3], d, places - len(d))


def decided(one: Scan, invented: float, least: float) -> float:
    """Missed at the threshold ``least`` by who shows a particle as it is or not at all.

    Both kinds of mistake are weighed alike for all particles: the ratio of likelihoods decides.
    """
    d = one.detectability

    def too_many(log_ratio: float) -> float:
        return one.empty * norm.sf(log_ratio / d + d / 2).mean() - invented

    log_ratio = brentq(too_many, -50, 100)
    return float(norm.cdf(log_ratio / d - d / 2)[one.strength >= least].sum())


def expected(one: Scan, doubt: float) -> tuple[np.ndarray, np.ndarray]:
    """Invented and missed at each threshold by who shows strength times chance."""
    draws = np.linspace(-8, 8, 1601)
    weight = norm.pdf(draws) * (draws[1] - draws[0])
    strength, d = one.strength[:, None], one.detectability[:, None]
    odds = np.log(len(one.strength) / one.empty) - doubt
    there, empty = (
        strength * expit(odds + d * (draws + here * d) - d * d / 2) for here in (True, False)
    )
    invented = [one.empty * ((empty >= t) @ weight).mean() for t in THRESHOLDS]
    missed = [((there < HYSTERESIS * t) @ weight)[one.strength >= t].sum() for t in THRESHOLDS]
    return np.array(invented), np.array(missed)


def main() -> None:
    """Prints two tables, means over the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='holds sem_pairs')
    parser.add_argument('--pairs', default='36-50', help='first and last number')
    args = parser.parse_args()
    first, last = map(int, args.pairs.split('-'))
    sides = [args.data / 'sem_pairs' / side for side in ('low', 'high')]
    scans = [scan(*(side / f'{i:03d}.tif' for side in sides)) for i in range(first, last + 1)]
    d = np.concatenate([one.detectability for one in scans])
    quantiles = ', '.join(f'{value:.1f}' for value in np.quantile(d, (0.05, 0.25, 0.5)))
    empty = np.mean([one.empty for one in scans])
    print(f'{len(d) / len(scans):.0f} particles a picture, {empty:.0f} empty places')
    print(f'd of 5, 25 and 50 % of them: {quantiles}\n')
    head = [f'missed @{t:g}' for t in THRESHOLDS]
    rows = []
    for invented in INVENTED:
        missed = [np.mean([decided(one, invented, t) for one in scans]) for t in THRESHOLDS]
        rows.append([f'{invented:g}', *(f'{m:.1f}' for m in missed), f'{np.mean(missed):.1f}'])
    print(markdown_table(['invented @0.03', *head, 'mean'], rows))
    rows = []
    for doubt in DOUBTS:
        both = np.mean([expected(one, doubt) for one in scans], 0)
        cells = [f'{value:.1f}' for value in both[1]]
        rows.append([f'{doubt:g}', f'{both[0, 0]:.2f}', *cells, f'{both[1].mean():.1f}'])
    print('\n' + markdown_table(['doubt', 'invented @0.03', *head, 'mean'], rows))


if __name__ == '__main__':
    main()
