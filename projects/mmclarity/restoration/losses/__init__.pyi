from .composite import CompositeLoss, EdgeLoss
from .excess_structure import ExcessStructureLoss
from .ssim import mean_ssim, ssim_map
from .ssim_loss import MSSSIMLoss, SSIMLoss

__all__ = [
    'CompositeLoss',
    'EdgeLoss',
    'ExcessStructureLoss',
    'MSSSIMLoss',
    'SSIMLoss',
    'mean_ssim',
    'ssim_map',
]
