from .calibration import Calibration, calibrate
from .simulate import SimulateLowCostSEM

__all__ = ['Calibration', 'SimulateLowCostSEM', 'calibrate']
