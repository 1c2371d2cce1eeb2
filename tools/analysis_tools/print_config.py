"""Print a config with its bases and options merged, or what differs from another one.

python tools/analysis_tools/print_config.py CONFIG [--cfg-options KEY=VALUE ...]
python tools/analysis_tools/print_config.py CONFIG --diff OTHER
"""

import argparse
import difflib
import sys
from collections.abc import Sequence

from mmclarity.cli.main import finish
from mmclarity.cli.options import ConfigOptions
from mmclarity.engine.config import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='print_config.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='also looked for in the repository')
    parser.add_argument('--diff', metavar='OTHER', help='print what differs from this config')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE')
    return parser.parse_args(argv)


def show(args: argparse.Namespace) -> None:
    """Print it; what is printed is a config itself."""
    text = load_config(args.config, args.cfg_options).pretty_text
    if args.diff is None:
        print(text)
        return
    other = load_config(args.diff).pretty_text
    lines = difflib.unified_diff(
        other.splitlines(), text.splitlines(), args.diff, args.config, lineterm='', n=2
    )
    print('\n'.join(lines) or 'the two say the same')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(show, parse_args(argv), 'print_config.py')


if __name__ == '__main__':
    sys.exit(main())
