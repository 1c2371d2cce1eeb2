"""mmclarity: OpenMMLab extension for images that are hard to see.

Importing this package is light: no torch, mmdet, mmagic or matplotlib. What has to happen before
the frozen OpenMMLab releases are imported is in :mod:`mmclarity.compat`.
"""

__version__ = '0.1.0'
__all__ = ['__version__']
