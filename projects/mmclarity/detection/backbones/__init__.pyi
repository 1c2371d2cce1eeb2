from .efficientnet_lite import EfficientNetLite0
from .timm_backbone import TimmBackbone

__all__ = ['EfficientNetLite0', 'TimmBackbone']
