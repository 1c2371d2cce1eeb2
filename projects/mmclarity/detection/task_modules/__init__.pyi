from .quick_max_iou_assigner import QuickMaxIoUAssigner

__all__ = ['QuickMaxIoUAssigner']
