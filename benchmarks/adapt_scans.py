"""What adapting gains: noisy images alone, and two scans of each field.

    taskset -c 0 python benchmarks/adapt_scans.py --steps 200

Four phantoms of 256 x 256, noise of three kinds: that of training (white), heavy tails (Student's t
of three degrees of freedom, scaled to the same deviation) and impulses (one pixel in 25 black or
white). Two scans of each field, without drift. PSNR in dB against the truth, means over the
phantoms: of the first scan as the network ships, adapted to the first scans by blind spots, and
adapted with both scans; in brackets the share of the new weights that the estimate of the error
without clean images lets through, and `all of it`: what the new weights would give by themselves.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mmclarity.restoration import Restorer
from mmclarity.restoration.general import adaptation
from mmclarity.restoration.general.blind_spot import noisy_field
from mmclarity.restoration.io import from_array
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from mmclarity.utils.tables import markdown_table
from timing import machine_line

SIGMA, FIELDS = 0.1, 4
KINDS = ('white', 'heavy tails', 'impulses')


def noisy(clean: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint16 of one scan."""
    levels = 0.1 + 0.8 * clean
    if kind == 'heavy tails':
        levels = levels + SIGMA / np.sqrt(3) * rng.standard_t(3, clean.shape)
    else:
        levels = levels + SIGMA * rng.standard_normal(clean.shape)
    if kind == 'impulses':
        hit = rng.random(clean.shape)
        levels = np.where(hit < 0.02, 0.0, np.where(hit > 0.98, 1.0, levels))
    return np.rint(levels.clip(0, 1) * 65535).astype(np.uint16)


def score(restorer: Restorer, scans: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """Mean PSNR of restored scans."""
    errors = [np.mean((restorer(s) - 0.1 - 0.8 * t) ** 2) for s, t in zip(scans, truth)]
    return float(np.mean([-10 * np.log10(error) for error in errors]))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--kinds', nargs='+', default=KINDS, choices=KINDS)
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    truth = [make_phantom(PhantomSettings(256, median_radius=7), i).image for i in range(FIELDS)]
    settings, rows = adaptation.AdaptSettings(steps=args.steps), []
    for kind in args.kinds:
        rng = np.random.default_rng(0)
        first, second = ([noisy(t, kind, rng) for t in truth] for _ in range(2))
        single, other = ([noisy_field(from_array(s)) for s in scans] for scans in (first, second))
        both = [adaptation.join_scans(pair) for pair in zip(single, other)]
        cells = [kind, f'{score(Restorer(), first, truth):.2f}']
        for fields in (single, both):
            found, new = adapted(fields, settings)
            cells.append(f'{scored(found, first, truth):.2f} ({found.verdict.share:g})')
            cells.append(f'{scored(replace(found, state=new), first, truth):.2f}')
        rows.append(cells)
        print(*cells, flush=True)
    head = ['noise', 'as it ships', 'adapted', 'all of it', 'adapted, two scans', 'all of it']
    print(machine_line(torch.device('cpu')))
    print(markdown_table(head, rows))


def adapted(fields: list, settings: adaptation.AdaptSettings) -> tuple[adaptation.Adaptation, dict]:
    """The adaptation, and its new weights before any of them were rejected."""
    new, judge = {}, adaptation.judge

    def watched(net, before, after, *rest):
        new.update(after)
        return judge(net, before, after, *rest)

    adaptation.judge = watched
    try:
        return adaptation.adapt(fields, settings), new
    finally:
        adaptation.judge = judge


def scored(found: adaptation.Adaptation, scans: list, truth: list) -> float:
    """PSNR with adapted weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'weights.safetensors'
        found.save(path)
        return score(Restorer(checkpoint=path), scans, truth)


if __name__ == '__main__':
    main()
