from .registration import Registration, move, register, valid_region

__all__ = ['Registration', 'move', 'register', 'valid_region']
