"""What lets the frozen OpenMMLab releases run on today's torch, without a compiler.

:func:`install` must be called before mmdet is imported; see :mod:`mmclarity.compat.openmmlab`.
"""

from .openmmlab import (
    EXT_NAME,
    MissingOperatorError,
    install,
    nms,
    operators,
    roi_align_backward,
    roi_align_forward,
)

__all__ = [
    'EXT_NAME',
    'MissingOperatorError',
    'install',
    'nms',
    'operators',
    'roi_align_backward',
    'roi_align_forward',
]
