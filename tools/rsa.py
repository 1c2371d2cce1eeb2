"""``mmclarity-rsa`` from a clone: see :mod:`mmclarity.cli.rsa`.

python tools/rsa.py --model efficientnet_lite0 --stimuli IMAGES --neural IT=file.npz:it --out OUT
python tools/rsa.py --help
"""

import sys

try:
    from mmclarity.cli.rsa import main
except ModuleNotFoundError as error:
    sys.exit(f'{error}: make env && . .venv/bin/activate; or pip install -e .')

if __name__ == '__main__':
    sys.exit(main())
