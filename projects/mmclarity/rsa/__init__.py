"""Representational similarity: how alike a network's layers and brain areas see the world.

Needs torch, numpy and scipy only; the training hook lives in :mod:`mmclarity.rsa.training`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
