"""``mmclarity-adapt`` from a clone: see :mod:`mmclarity.cli.adapt`.

python tools/adapt.py NOISY/
python tools/adapt.py FIELD_1/ FIELD_2/ --scans --out mine.safetensors
"""

import sys

try:
    from mmclarity.cli.adapt import main, parse_args
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[restoration]'")

__all__ = ['main', 'parse_args']

if __name__ == '__main__':
    sys.exit(main())
