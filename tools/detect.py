"""Find objects in images, folders, videos or a camera with a trained detector.

    python tools/detect.py IN --out OUT
    python tools/detect.py IN --out OUT --config CONFIG --checkpoint FILE.pth

The first line takes the detector of road scenes that ships with the package.

`python tools/detect.py --help` lists the options.
"""

import sys

from mmclarity.cli.detect import main

if __name__ == '__main__':
    sys.exit(main())
