"""Test a model: python tools/test.py CONFIG CHECKPOINT [--out FILE.pkl] [--show-dir DIR] ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from mmclarity.engine import cli

if __name__ == '__main__':
    sys.exit(cli.run(cli.test, cli.test_parser()))
