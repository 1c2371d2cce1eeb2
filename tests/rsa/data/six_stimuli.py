"""Six stimuli of three subjects, for the tests of what reads recordings."""

import numpy as np
from scipy.spatial.distance import squareform

_RNG = np.random.default_rng(3)
N, P = 6, 15
ROWS = _RNG.random((3, P))
SQUARES = np.stack([squareform(row) for row in ROWS])
IDS = ['c', 'a', 'f', 'b', 'e', 'd']
RESPONSES = _RNG.random((N, 9))
