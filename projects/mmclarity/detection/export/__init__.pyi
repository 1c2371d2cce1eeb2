from .check import check_detector
from .detector import export_detector

__all__ = ['check_detector', 'export_detector']
