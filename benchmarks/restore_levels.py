"""The general network on other contents and other levels of noise: what it invents and marks.

    python benchmarks/restore_levels.py --data ../shared/data --weights 'as it ships=' \\
        --weights 'another=OTHER.safetensors'

Clean pictures that training did not have (spheres 031-035, the last five of the superalloy,
simulated spheres and structures of other seeds) get noise of four levels, half of it shot noise,
independent or smeared along the line, and are stored in 8 bits. Particles are counted in the
restored picture as everywhere (``fabricated`` and ``missed``: means over four thresholds), and the
marks of doubt are judged: which particles above the lowest strength are wrong, and which marked.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np

from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.evaluation.doubt import wrong_particles
from mmclarity.restoration.evaluation.fabrication import count_fabrications, inside
from mmclarity.restoration.general.appraising import appraise
from mmclarity.restoration.general.content import KINDS, make_structure
from mmclarity.restoration.general.examples import ALLOY_JUDGES
from mmclarity.restoration.general.patches import stretched
from mmclarity.restoration.io import list_images, read_sem
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from mmclarity.utils.tables import markdown_table

LEVELS = (0.03, 0.08, 0.15, 0.3)  # of the noise, in units of the contrast
LAGS = ((), (0.5, 0.1))  # correlations along the line, of every second picture
SIDE = 320
SEED = 9400  # far from those of training
HEAD = ['noise', 'network', 'PSNR dB', 'fabricated', 'missed', 'wrong', 'marked']
HEAD += ['of the marked, wrong', 'of the wrong, marked', 'wrong, not marked']


def clean_images(data: Path) -> list[np.ndarray]:
    """(H, W) each, in [0, 1]: real ones are cut to ``SIDE``."""
    spheres = [p for p in list_images(data / 'sem_pairs/high') if p.stem in '031 032 033 034 035']
    real = [*spheres, *list_images(data / 'sem_superalloy')[-ALLOY_JUDGES:]]
    cut = [stretched(read_sem(path).unit)[:SIDE, :SIDE] for path in real]
    settings = [PhantomSettings(SIDE, median_radius=radius) for radius in (4, 6, 9, 14)]
    phantoms = [make_phantom(one, SEED + i).image for i, one in enumerate(settings)]
    structures = [make_structure(kind, SIDE, SEED) for kind in sorted(KINDS)]
    return [np.asarray(image, np.float32) for image in (*cut, *phantoms, *structures)]


def made_worse(clean: np.ndarray, sigma: float, number: int) -> np.ndarray:
    """A noisy picture in 8 bits; ``sigma`` is the deviation in the middle of the contrast."""
    rng = np.random.default_rng((SEED, number, round(1000 * sigma)))
    shot = (sigma**2 * clean).astype(np.float32)
    variance = shot + np.float32(sigma**2 / 2)
    noisy = detector_noise(0.15 + 0.7 * clean, 0.49 * variance, line_filter(LAGS[number % 2]), rng)
    return np.rint(255 * noisy.clip(0, 1)).astype(np.uint8)


def judged(restorer: Restorer, noisy: np.ndarray, clean: np.ndarray) -> list[float]:
    """PSNR, fabricated, missed; particles that are wrong, marked, both."""
    like, found = appraise(noisy, 255), restorer.with_doubts(noisy)
    gain, offset = np.float32(like.gain), np.float32(like.offset)
    restored, reference = (gain * i + offset for i in (found.restored, 0.15 + 0.7 * clean))
    counts = count_fabrications(restored, reference)
    kept = inside(found.particles, noisy.shape)
    wrong = wrong_particles(found.particles[kept], restored, reference)
    marked = found.doubtful[kept]
    error = np.mean(((found.restored - 0.15) / 0.7 - clean) ** 2)
    return [
        -10 * np.log10(error),
        np.mean([one['fabricated'] for one in counts]),
        np.mean([one['missed'] for one in counts]),
        *(np.sum(which) for which in (wrong, marked, wrong & marked)),
    ]


def main() -> int:
    """Prints a table, means over the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='holds sem_pairs, sem_superalloy')
    parser.add_argument('--weights', action='append', default=[], metavar='NAME=[FILE]')
    parser.add_argument('--sharpen', action='store_true', help='narrower edges, all networks')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    images, rows = clean_images(args.data), []
    named = [text.partition('=')[::2] for text in args.weights or ['as it ships=']]
    sharpen = float(args.sharpen)
    restorers = {name: Restorer(checkpoint=path or None, sharpen=sharpen) for name, path in named}
    for sigma in LEVELS:
        noisy = [made_worse(image, sigma, number) for number, image in enumerate(images)]
        for name, restorer in restorers.items():
            found = [judged(restorer, low, clean) for low, clean in zip(noisy, images)]
            decibels, invented, lost, wrong, marked, both = np.mean(found, 0)
            cells = [f'{decibels:.2f}', f'{invented:.2f}', f'{lost:.1f}', f'{wrong:.1f}']
            cells += [f'{marked:.1f}', f'{100 * both / max(marked, 1e-9):.0f} %']
            cells += [f'{100 * both / max(wrong, 1e-9):.0f} %', f'{wrong - both:.1f}']
            rows.append([f'{100 * sigma:.0f} %', name, *cells])
            print(' | '.join(rows[-1]), file=sys.stderr, flush=True)
    print(markdown_table(HEAD, rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
