from .detections import Detections
from .detector import Detector
from .onnx_detector import OnnxDetector
from .sources import Picture, pictures, read_image

__all__ = ['Detections', 'Detector', 'OnnxDetector', 'Picture', 'pictures', 'read_image']
