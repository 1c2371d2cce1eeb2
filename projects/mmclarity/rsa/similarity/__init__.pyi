from .compare import ALL_METHODS, METHODS, compare_rdms
from .representations import cka, procrustes_similarity

__all__ = ['ALL_METHODS', 'METHODS', 'cka', 'compare_rdms', 'procrustes_similarity']
