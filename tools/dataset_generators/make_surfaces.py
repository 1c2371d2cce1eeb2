"""Make the embedded surfaces: crops of photographs that scikit-image ships, stimuli, a model V1.

    python tools/dataset_generators/make_surfaces.py data/surfaces

The same settings give the same files. A run with the settings of a finished data set does nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmclarity.cli.main import finish
from mmclarity.synthetic.made import is_made
from mmclarity.synthetic.surfaces import MANIFEST, SURFACES, make_surfaces


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='folder to write, e.g. data/surfaces')
    parser.add_argument('--train', type=int, default=200, help='crops a surface (default 200)')
    parser.add_argument('--val', type=int, default=25, help='crops a surface (default 25)')
    parser.add_argument('--stimuli', type=int, default=8, help='a surface (default 8)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same files (default 0)')
    args = parser.parse_args(argv)
    if min(args.train, args.val, args.stimuli) < 1 or args.seed < 0:
        parser.error('--train, --val and --stimuli must be at least 1, --seed at least 0')
    return args


def make(args: argparse.Namespace) -> None:
    """Makes the data set, unless it is there.

    Raises:
        DataError: As :func:`mmclarity.synthetic.made.is_made`.
    """
    settings = dict(train=args.train, val=args.val, stimuli=args.stimuli, seed=args.seed)
    if is_made(args.out, MANIFEST, settings):
        print(f'{args.out} is already made with these settings')
        return
    make_surfaces(args.out, **settings, progress=lambda name: print(f'{name}: done', flush=True))
    print(f'{args.out}: {len(SURFACES)} surfaces, {len(SURFACES) * args.stimuli} stimuli')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(make, parse_args(argv), 'make_surfaces.py')


if __name__ == '__main__':
    sys.exit(main())
