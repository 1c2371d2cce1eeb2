"""``mmclarity-check`` from a clone: see :mod:`mmclarity.cli.check`.

python tools/check.py QUICK.tif SLOW.tif
python tools/check.py QUICK/ SLOW/ --out CHECKED
"""

import sys

try:
    from mmclarity.cli.check import main, parse_args
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[restoration]'")

__all__ = ['main', 'parse_args']

if __name__ == '__main__':
    sys.exit(main())
