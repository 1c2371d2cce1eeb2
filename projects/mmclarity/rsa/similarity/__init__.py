"""How alike two RDMs are."""

from .compare import METHODS, compare_rdms

__all__ = ['METHODS', 'compare_rdms']
