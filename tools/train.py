"""Train a model: python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] ..."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from mmclarity.engine import cli

if __name__ == '__main__':
    sys.exit(cli.run(cli.train, cli.train_parser()))
