"""The command lines of the tools: parsing, checking, running, and one way to end."""

import os
import sys

try:
    os.getcwd()
except FileNotFoundError:  # torch's libraries would end the process, and name themselves
    sys.stderr.write('mmclarity: error: the folder that you are in is gone; cd to another one\n')
    raise SystemExit(2) from None
