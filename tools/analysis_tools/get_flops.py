"""Parameters and multiply-adds of a model, part by part, by mmengine's counter.

    python tools/analysis_tools/get_flops.py CONFIG --shape 360 640

Counted are multiply-adds of convolutions, linear layers and matrix products (attention's too), and
the little that norms and resizing take, of one image; other tools call two times this number FLOPs.
Of a two-stage detector the part after the RPN depends on the number of proposals, that of masks on
the number of detections: as many as the test settings allow are taken.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence

from mmclarity import compat

compat.install()

from mmclarity.cli.main import finish  # noqa: E402
from mmclarity.engine.complexity import complexity_of  # noqa: E402
from mmclarity.engine.config import load_config  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='get_flops.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='also looked for in the repository')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(360, 640), metavar=('HEIGHT', 'WIDTH')
    )
    args = parser.parse_args(argv)
    if min(args.shape) < 16:
        parser.error('--shape: at least 16 pixels each')
    return args


def count(args: argparse.Namespace) -> None:
    """Count and print."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = complexity_of(load_config(args.config), tuple(args.shape))
    height, width = args.shape
    print(f'{args.config}, one image of {width} x {height}')
    print(f'  {"":12s}{"parameters":>14s}{"multiply-adds":>16s}')
    for name, (parameters, operations) in found.items():
        print(f'  {name:12s}{parameters / 1e6:12.3f} M{operations / 1e9:14.3f} G')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(count, parse_args(argv), 'get_flops.py')


if __name__ == '__main__':
    sys.exit(main())
