from .detector import Detections, Detector
from .sources import Picture, pictures, read_image

__all__ = ['Detections', 'Detector', 'Picture', 'pictures', 'read_image']
