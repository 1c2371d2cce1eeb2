from .augmentation import RandomBlankFrame, SidedRandomFlip
from .bdd100k import BDD100KDataset
from .black_bars import RandomBlackBars
from .camera import RandomCamera, RandomLight
from .recordings import BDD100KFold
from .transforms import LoadUprightImage
from .weather import RandomWeather

__all__ = [
    'BDD100KDataset',
    'BDD100KFold',
    'LoadUprightImage',
    'RandomBlackBars',
    'RandomBlankFrame',
    'RandomCamera',
    'RandomLight',
    'RandomWeather',
    'SidedRandomFlip',
]
