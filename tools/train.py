"""Train a model: python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] ..."""

import sys

try:
    from mmclarity.cli.train import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[all]'")

if __name__ == '__main__':
    sys.exit(main())
