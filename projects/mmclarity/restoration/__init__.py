"""Restoration of electron microscope images; mmengine and mmagic find its parts by name."""

import lazy_loader

from mmclarity.compat import register_on_demand

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_on_demand('mmclarity.restoration.registered', 'mmengine.registry', 'mmagic.registry')
