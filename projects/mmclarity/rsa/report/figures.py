"""Figures of a representational similarity analysis.

Every function takes a result and the file to write. The untrained network, if there is one, is in
every figure: without training a network can be as much like early visual cortex as a trained one.
"""

from .arrangement import mds
from .curves import layer_curves
from .heat_map import heat_map
from .matrices import rdm_grid
from .training_curves import epoch_curves

__all__ = ['epoch_curves', 'heat_map', 'layer_curves', 'mds', 'rdm_grid']
