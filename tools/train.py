"""Train a model: python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] ..."""

import sys

from mmclarity.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
