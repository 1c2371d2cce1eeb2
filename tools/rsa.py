"""``mmclarity-rsa`` from a clone: see :mod:`mmclarity.cli.rsa`.

python tools/rsa.py --model efficientnet_lite0 --stimuli IMAGES --neural IT=file.npz:it --out OUT
python tools/rsa.py --help
"""

import sys

from mmclarity.cli.rsa import main

if __name__ == '__main__':
    sys.exit(main())
