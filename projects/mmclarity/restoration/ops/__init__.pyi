from .edges import narrow_edges
from .registration import Registration, move, register, valid_region

__all__ = ['Registration', 'move', 'narrow_edges', 'register', 'valid_region']
