"""Road data sets for mmdet."""

from .bdd100k import BDD100KDataset

__all__ = ['BDD100KDataset']
