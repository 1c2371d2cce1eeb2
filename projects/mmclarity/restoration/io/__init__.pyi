from .files import SEMImageError
from .micrograph import (
    SEMImage,
    check_writable,
    from_array,
    list_images,
    read_sem,
    write_map,
    write_sem,
)

__all__ = [
    'SEMImage',
    'SEMImageError',
    'check_writable',
    'from_array',
    'list_images',
    'read_sem',
    'write_map',
    'write_sem',
]
