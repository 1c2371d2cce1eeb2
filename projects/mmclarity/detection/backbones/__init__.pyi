from .efficientnet_lite import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2
from .timm_backbone import TimmBackbone

__all__ = ['EfficientNetLite0', 'EfficientNetLite1', 'EfficientNetLite2', 'TimmBackbone']
