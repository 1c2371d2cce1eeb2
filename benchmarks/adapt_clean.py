"""What slow scans of one's own teach the general network: samples that its training did not have.

    taskset -c 0 python benchmarks/adapt_clean.py --steps 800

Photographs of brick, grass and gravel (scikit-image's, 512 x 512) stand for samples. The left half
of each is two fields of 256 x 256 that a slow scan and a quick one show, which `mmclarity-adapt
QUICK/ --clean SLOW/` learns from; the right half is two more, of which only quick scans are
restored, by the network as it ships and by the adapted one. A quick scan is what
`SimulateLowCostSEM` makes of a slow one: shot noise of `--noise` of the contrast at half of it,
smeared along the line, and blur. So the noise is of a kind that is measured rightly; how it is at a
real microscope stands in docs/benchmarks/restoration_pairs.md. Means over the two fields.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch

from mmclarity.cli.adapt import adapt_files
from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation import SimulateLowCostSEM
from mmclarity.restoration.evaluation import count_fabrications
from mmclarity.utils.files import replacing
from mmclarity.utils.tables import markdown_table
from timing import machine_line

SAMPLES, SIDE = ('brick', 'grass', 'gravel'), 256
# Of particles that are counted, in units of white.
STRENGTH = 0.03


def quickly(slow: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """(H, W) uint8 of a quick scan."""
    contrast = np.ptp(np.quantile(slow, (0.001, 0.999)))
    slope = (noise * contrast) ** 2 / np.median(slow)
    worse = SimulateLowCostSEM(slope=float(slope), intercept=None, gain=None, offset=None)
    return worse.degrade(slow, np.random.default_rng(seed)).astype(np.uint8)


def scores(restorer: Restorer, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """PSNR in dB, particles invented and missed; means."""
    found = []
    for slow, quick in pairs:
        truth, restored = slow / 255, restorer(quick)
        error = np.mean((restored - truth) ** 2)
        (count,) = count_fabrications(restored, truth, [STRENGTH])
        found.append((-10 * np.log10(error), count['fabricated'], count['missed']))
    return np.mean(found, 0)


def row(name: str, steps: int, noise: float, seed: int, folder: Path) -> list[str]:
    """One sample: scores before and after."""
    picture = getattr(skimage.data, name)()
    parts = [picture[i : i + SIDE, j : j + SIDE] for j in (0, SIDE) for i in (0, SIDE)]
    pairs = [(part, quickly(part, noise, 10 * seed + i)) for i, part in enumerate(parts)]
    for index, pair in enumerate(pairs[:2]):
        for side, image in zip(('slow', 'quick'), pair):
            (folder / side).mkdir(exist_ok=True)
            with replacing(folder / side / f'{index}.png') as part:
                part.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    weights, said = folder / 'own.safetensors', []
    quick = [folder / 'quick']
    adapt_files(quick, weights, clean=folder / 'slow', steps=steps, seed=seed, say=said.append)
    before, after = (scores(Restorer(checkpoint=w), pairs[2:]) for w in (None, weights))
    cells = [f'{old:.{p}f} -> {new:.{p}f}' for old, new, p in zip(before, after, (2, 1, 0))]
    print(name, seed, *cells, said[-2], flush=True)
    return [name, *cells]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--steps', type=int, default=800)
    parser.add_argument('--noise', type=float, default=0.1)
    parser.add_argument('--seeds', type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    rows = []
    for seed in range(args.seeds):
        for name in SAMPLES:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(row(name, args.steps, args.noise, seed, Path(folder)))
    print(markdown_table(['sample', 'PSNR, dB', 'invented', 'missed'], rows))
    print(machine_line(torch.device('cpu')))


if __name__ == '__main__':
    main()
