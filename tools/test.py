"""Test a model: python tools/test.py CONFIG CHECKPOINT [--out FILE.pkl] [--show-dir NAME] ..."""

import sys

from mmclarity.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
