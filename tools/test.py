"""Test a model: python tools/test.py CONFIG CHECKPOINT [--out FILE.pkl] [--show-dir NAME] ..."""

import sys

try:
    from mmclarity.cli.test import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[all]'")

if __name__ == '__main__':
    sys.exit(main())
