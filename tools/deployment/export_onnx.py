"""The former place of tools/export_onnx.py; the command goes on working."""

import sys

from mmclarity.cli.export import main

if __name__ == '__main__':
    sys.exit(main())
