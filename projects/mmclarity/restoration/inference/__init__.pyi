from .check import FieldCheck, check_field
from .restorer import FolderReport, Restorer, build_restorer
from .tiling import restore_tiled

__all__ = [
    'FieldCheck',
    'FolderReport',
    'Restorer',
    'build_restorer',
    'check_field',
    'restore_tiled',
]
