from . import attention, backbones, datasets, evaluation, roi_heads

__all__ = ['attention', 'backbones', 'datasets', 'evaluation', 'roi_heads']
