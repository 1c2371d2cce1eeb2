"""Train a model: python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] ..."""

import sys

from mmclarity.cli import main as cli

if __name__ == '__main__':
    sys.exit(cli.run(cli.train, cli.train_parser()))
