from .bdd100k import BDD100KDataset
from .transforms import LoadUprightImage

__all__ = ['BDD100KDataset', 'LoadUprightImage']
