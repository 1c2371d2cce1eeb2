"""Micrographs as files: read with what the vendor wrote, written back with nothing else changed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
