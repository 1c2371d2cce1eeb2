"""Measure how a microscope's quick images are worse, and write it as a training config.

    python tools/calibrate_degradation.py LOW --out work_dirs/calibration
    python tools/calibrate_degradation.py LOW --high HIGH --out work_dirs/calibration

LOW is a folder of images as you have to restore. HIGH, if you have it, holds slow images of the
same fields under the same names; the pairs need not be aligned. Prints every parameter with its
uncertainty, and writes degradation.py (a config) and degradation.png (fit against data) to --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmclarity.cli.main import check_free, finish, mistakes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('low', type=Path, help='folder of low-quality images')
    parser.add_argument('--high', type=Path, help='folder of their high-quality partners')
    parser.add_argument(
        '--include', help='regular expression that file names (without ending) have to match'
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/calibration'))
    parser.add_argument(
        '--noise',
        choices=['auto', 'linear', 'curve'],
        default='auto',
        help='write slope and intercept of the noise, or its curve; auto: the line '
        'where it fits within 10 %% (default auto)',
    )
    parser.add_argument('--data-range', type=float, help='white, for images of floating point')
    parser.add_argument('--seed', type=int, default=0, help='of the bootstrap')
    parser.add_argument('--overwrite', action='store_true', help='replace what --out holds')
    return parser.parse_args(argv)


def calibrate(args: argparse.Namespace) -> None:
    """Measure, write, and say what was found."""
    from mmclarity.restoration.degradation import calibration

    config, figure = args.out / 'degradation.py', args.out / 'degradation.png'
    check_free(config, overwrite=args.overwrite)
    with mistakes(ValueError):
        found = calibration.calibrate(
            args.low, args.high, args.seed, args.data_range, include=args.include
        )
        calibration.write_config(
            config, found, dict(linear=True, curve=False).get(args.noise), overwrite=args.overwrite
        )
    calibration.plot(found, figure)
    print('noise variance = slope * I + intercept, in grey levels of 8 bits; blur in pixels')
    for name, estimate in found.estimates.items():
        print(f'  {name:12} {estimate}')
    print(
        f'  the linear law misses the measured variances by {found.misfit:.0%} (root mean square)'
    )
    for note in found.notes:
        print(f'note: {note}')
    print(f'wrote {config} and {figure}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(calibrate, parse_args(argv), 'calibrate_degradation.py')


if __name__ == '__main__':
    sys.exit(main())
