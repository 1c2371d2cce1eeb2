"""Objects in poor visibility: heads, data and metrics, registered in mmdet's registries."""

from mmclarity import compat

compat.install()

from . import attention, backbones, datasets, evaluation, roi_heads  # noqa: E402

__all__ = ['attention', 'backbones', 'datasets', 'evaluation', 'roi_heads']
