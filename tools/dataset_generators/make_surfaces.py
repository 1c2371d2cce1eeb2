"""Make the embedded surfaces: crops of photographs that scikit-image ships, stimuli, a model V1.

    python tools/dataset_generators/make_surfaces.py data/surfaces

The same settings give the same files. A run with the settings of a finished data set does nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

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


def is_made(out: Path, settings: dict) -> bool:
    """Whether the data set is there with these settings.

    Raises:
        SystemExit: If the folder holds something else: nothing is overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        raise SystemExit(
            f'{out} holds no finished data set of this tool; choose another folder, or delete it'
        ) from None
    if found != settings:
        raise SystemExit(
            f'{out} was made with other settings ({found}, now {settings}); choose '
            'another folder, or delete it'
        )
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the data set, unless it is there."""
    args = parse_args(argv)
    settings = dict(train=args.train, val=args.val, stimuli=args.stimuli, seed=args.seed)
    if is_made(args.out, settings):
        print(f'{args.out} is already made with these settings')
        return
    make_surfaces(args.out, **settings, progress=lambda name: print(f'{name}: done', flush=True))
    print(f'{args.out}: {len(SURFACES)} surfaces, {len(SURFACES) * args.stimuli} stimuli')


if __name__ == '__main__':
    main()
