from .quick_max_iou_assigner import QuickMaxIoUAssigner
from .quick_random_sampler import QuickRandomSampler

__all__ = ['QuickMaxIoUAssigner', 'QuickRandomSampler']
