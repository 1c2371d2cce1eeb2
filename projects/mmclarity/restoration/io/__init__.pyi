from .files import SEMImageError
from .micrograph import (
    SEMImage,
    from_array,
    list_images,
    read_sem,
)
from .pairs import shared_parts
from .stack import SEMStack, open_stack, rewriting_stack
from .writing import check_writable, write_map, write_sem

__all__ = [
    'SEMImage',
    'SEMImageError',
    'SEMStack',
    'check_writable',
    'from_array',
    'list_images',
    'open_stack',
    'read_sem',
    'rewriting_stack',
    'shared_parts',
    'write_map',
    'write_sem',
]
