from .augmentation import RandomBlankFrame, SidedRandomFlip
from .bdd100k import BDD100KDataset
from .recordings import BDD100KFold
from .transforms import LoadUprightImage

__all__ = [
    'BDD100KDataset',
    'BDD100KFold',
    'LoadUprightImage',
    'RandomBlankFrame',
    'SidedRandomFlip',
]
