"""Networks, their untrained copies, a Gabor model of V1, and the recorder of their layers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
