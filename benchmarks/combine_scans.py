"""What several quick scans of one field are worth, as they are and restored.

    python benchmarks/combine_scans.py

Scans of a phantom that moved by up to 8 pixels between and 2 during them, with noise of 40 of 255
grey levels, are combined as ``mmclarity-restore --combine`` does and judged against the truth.
"""

from __future__ import annotations

import argparse
import sys
import warnings

import numpy as np

from mmclarity.restoration import Restorer
from mmclarity.restoration.inference.combine import combine
from mmclarity.restoration.io import SEMImage, from_array
from mmclarity.restoration.ops.registration import move
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

COUNTS = (1, 4, 8)
NOISE, SHIFT, DRIFT = 40.0, 8.0, 2.0
RIM = 16  # pixels that a moved scan may not show


def scans(field: np.ndarray, count: int, rng: np.random.Generator) -> list[SEMImage]:
    """Quick scans of a field; the first one lies where the field lies."""
    found = []
    for number in range(count):
        shift, drift = (tuple(rng.uniform(-most, most, 2)) for most in (SHIFT, DRIFT))
        moved = move(field, shift, drift) if number else field
        noisy = moved + rng.normal(0, NOISE, field.shape)
        found.append(from_array(noisy.clip(0, 255).astype(np.uint8)))
    return found


def psnr(levels: np.ndarray, field: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of levels in [0, 1], without the rim."""
    error = (255 * levels - field)[RIM:-RIM, RIM:-RIM]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def main() -> int:
    """Prints a table: scans, decibels of their mean, and of it restored."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--fields', type=int, default=3, help='phantoms (default 3)')
    parser.add_argument('--size', type=int, default=384, help='pixels a side (default 384)')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    restorer = Restorer()
    rows = []
    for seed in range(args.fields):
        settings = PhantomSettings(args.size, median_radius=7)
        field = 40 + 170 * make_phantom(settings, seed).image
        taken = scans(field, max(COUNTS), np.random.default_rng(seed))
        means = [combine(taken[:n]).image if n > 1 else taken[0] for n in COUNTS]
        rows.append([(psnr(m.unit, field), psnr(restorer(m), field)) for m in means])
    values = np.array(rows)
    print('| scans | their mean, dB | restored, dB |\n|---|---|---|')
    for i, count in enumerate(COUNTS):
        cells = [f'{v.mean():.1f} ± {v.std(ddof=1):.1f}' for v in values[:, i].T]
        print(f'| {count} | {cells[0]} | {cells[1]} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
