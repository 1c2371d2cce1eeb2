"""What an analysis starts from: pictures that were shown, and answers that were recorded."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
