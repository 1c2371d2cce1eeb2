"""From an expensive image to a cheap one: the map that restoration learns to undo."""

from .calibration import Calibration, calibrate
from .simulate import SimulateLowCostSEM

__all__ = ['Calibration', 'SimulateLowCostSEM', 'calibrate']
