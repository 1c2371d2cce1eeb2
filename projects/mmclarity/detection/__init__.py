"""Objects in poor visibility: heads, data and metrics, registered in mmdet's registries."""

import lazy_loader

from mmclarity.compat import register_on_demand

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_on_demand('mmclarity.detection.registered', 'mmdet.registry')
