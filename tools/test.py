"""Test a model: python tools/test.py CONFIG CHECKPOINT [--out FILE.pkl] [--show-dir DIR] ..."""

import sys

from mmclarity.cli import main as cli

if __name__ == '__main__':
    sys.exit(cli.run(cli.test, cli.test_parser()))
