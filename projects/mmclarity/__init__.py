"""mmclarity: OpenMMLab extension for images that are hard to see.

Importing this package is light: no torch, mmdet, mmagic or matplotlib. It puts the finder in place
that lets the frozen OpenMMLab releases run on today's libraries, :mod:`mmclarity.compat`.
"""

from .compat import install as _install

__version__ = '0.1.0'
__all__ = ['__version__']

_install()
