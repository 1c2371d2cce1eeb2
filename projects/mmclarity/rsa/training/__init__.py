"""What mmengine configs need: ``custom_imports=dict(imports=['mmclarity.rsa.training'])``."""

from mmclarity import compat

compat.install()

from .classification import (  # noqa: E402
    ImageFolderDataset,
    RGBPreprocessor,
    SmallAlexNet,
    TopKAccuracy,
    TorchvisionClassifier,
)
from .hook import RSAHook  # noqa: E402

__all__ = [
    'ImageFolderDataset',
    'RGBPreprocessor',
    'RSAHook',
    'SmallAlexNet',
    'TopKAccuracy',
    'TorchvisionClassifier',
]
