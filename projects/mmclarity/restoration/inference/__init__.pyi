from .restorer import FolderReport, Restorer, build_restorer
from .tiling import restore_tiled

__all__ = ['FolderReport', 'Restorer', 'build_restorer', 'restore_tiled']
