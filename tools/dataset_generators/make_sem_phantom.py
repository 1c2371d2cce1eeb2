"""Make the embedded SEM data: spheres on a dark substrate, every one of them known.

    python tools/dataset_generators/make_sem_phantom.py data/sem_phantom

Writes train/high/*.tif (clean, for training), val/high and val/low (degraded as a quick scan is),
val/particles/*.csv (y, x, radius in pixels, visible fraction) and phantom.json, which says how it
was made. The same options and seed give the same files. A folder that holds the data of these
options already is left as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mmclarity.cli.main import finish
from mmclarity.synthetic.made import is_made
from mmclarity.utils.files import making_folder, replacing, write_text
from mmclarity.utils.tables import write_csv

STATE = 'phantom.json'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, nargs='?', default=Path('data/sem_phantom'))
    parser.add_argument('--train', type=int, default=40, help='images (default 40)')
    parser.add_argument('--val', type=int, default=8, help='images (default 8)')
    parser.add_argument('--size', type=int, default=384, help='side in pixels (default 384)')
    parser.add_argument('--bits', type=int, choices=[8, 16], default=8)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--overwrite', action='store_true', help='replace what OUT holds')
    args = parser.parse_args(argv)
    if min(args.train, args.val) < 1 or args.size < 64:
        parser.error('--train and --val must be at least 1 and --size at least 64')
    return args


def write(folder: Path, args: argparse.Namespace) -> None:
    """All files of the data set, into an empty folder."""
    import tifffile

    from mmclarity.restoration.degradation import SimulateLowCostSEM
    from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

    settings = PhantomSettings(size=args.size)
    white, kind = (255, np.uint8) if args.bits == 8 else (65535, np.uint16)
    degrade = SimulateLowCostSEM(seed=args.seed)
    for split, count, first in (('train', args.train, 0), ('val', args.val, 10**6)):
        for name in ('high', *(('low', 'particles') if split == 'val' else ())):
            (folder / split / name).mkdir(parents=True)
        for index in range(count):
            phantom = make_phantom(settings, seed=args.seed * 10**7 + first + index)
            stem = f'{index:04d}'
            with replacing(folder / split / 'high' / f'{stem}.tif') as part:
                tifffile.imwrite(part, np.rint(phantom.image * white).astype(kind))
            if split == 'train':
                continue
            low = degrade.transform(dict(gt=phantom.image * 255, sample_idx=index))['img']
            with replacing(folder / split / 'low' / f'{stem}.tif') as part:
                tifffile.imwrite(part, np.rint(low / 255 * white).astype(kind))
            rows = [[f'{value:.4f}' for value in row] for row in phantom.particles]
            columns = ('y', 'x', 'radius', 'visible')
            write_csv(folder / split / 'particles' / f'{stem}.csv', columns, rows)
    made = wanted(args) | dict(settings=asdict(settings))
    write_text(folder / STATE, json.dumps(made, indent=1))


def wanted(args: argparse.Namespace) -> dict:
    """What tells one data set from another."""
    return {key: getattr(args, key) for key in ('train', 'val', 'size', 'bits', 'seed')}


def make(args: argparse.Namespace) -> None:
    """Makes the data set, unless it is there.

    Raises:
        DataError: As :func:`mmclarity.synthetic.made.is_made`.
    """
    if is_made(args.out, STATE, wanted(args), args.overwrite):
        print(f'{args.out} is there already')
        return
    with making_folder(args.out, overwrite=True) as part:
        write(part, args)
    print(f'{args.train} training and {args.val} validation images in {args.out}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(make, parse_args(argv), 'make_sem_phantom.py')


if __name__ == '__main__':
    sys.exit(main())
