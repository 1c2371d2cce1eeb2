"""``mmclarity-restore`` from a clone: see :mod:`mmclarity.cli.restore`.

python tools/restore.py noisy.tif
python tools/restore.py NOISY RESTORED --uncertainty
python tools/restore.py --help
"""

import sys

try:
    from mmclarity.cli.restore import main, parse_args
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[restoration]'")

__all__ = ['main', 'parse_args']

if __name__ == '__main__':
    sys.exit(main())
