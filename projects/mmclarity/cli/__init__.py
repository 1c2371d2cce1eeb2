"""The command lines of the tools: parsing, checking, running, and one way to end."""

import os
import sys

try:
    os.getcwd()
except FileNotFoundError:  # torch's libraries would end the process, and name themselves
    # print, unlike write, does without a stream that is closed
    print('mmclarity: error: the folder that you are in is gone; choose another', file=sys.stderr)
    raise SystemExit(2) from None
