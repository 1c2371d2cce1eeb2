"""Noise ceilings, intervals and tests (Nili et al., PLoS Comput. Biol. 2014), and what follows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
