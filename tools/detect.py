"""Find objects in images, folders, videos or a camera with a trained detector.

    python tools/detect.py IN --out OUT
    python tools/detect.py IN --out OUT --config CONFIG --checkpoint FILE.pth

The first line takes the detector of road scenes that ships with the package.

`python tools/detect.py --help` lists the options.
"""

import sys

try:
    from mmclarity.cli.detect import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: make env && . .venv/bin/activate; or pip install -e '.[detection]'")

if __name__ == '__main__':
    sys.exit(main())
