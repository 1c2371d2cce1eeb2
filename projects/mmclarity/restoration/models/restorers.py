"""What every restorer trained in mmagic can do: restore a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .unet import pad_to_multiple


def generator_of(model: nn.Module) -> nn.Module:
    """The network of an mmagic model that turns an image into an image.

    Raises:
        TypeError: If the model has none.

    Examples:
        >>> from torch import nn
        >>> from mmclarity.restoration.models import generator_of
        >>> model = nn.Module()
        >>> model.generator = nn.Conv2d(1, 1, 3, padding=1)
        >>> generator_of(model)
        Conv2d(1, 1, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    # by what they have, not by their classes: asking for those would import all of mmagic
    if isinstance(generators := getattr(model, 'generators', None), nn.Module):
        return model.get_module(generators)[model._default_domain]
    if isinstance(generator := getattr(model, 'generator', None), nn.Module):
        return generator
    raise TypeError(
        f'{type(model).__name__} is no restorer: a BaseEditModel with a generator or '
        'a Pix2Pix is wanted'
    )


def network_stride(model: nn.Module) -> int:
    """Pixels of the image per pixel of the network's coarsest level."""
    generator = generator_of(model)
    stride = getattr(generator, 'stride', None)
    if isinstance(stride, int):
        return stride
    # A U-net of mmagic halves the image once in each of its nested blocks.
    return 2 ** sum(type(m).__name__ == 'UnetSkipConnectionBlock' for m in generator.modules())


def normalisation(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation that the model takes off grey levels 0..255."""
    preprocessor = model.data_preprocessor
    if not preprocessor._enable_normalize:
        return torch.tensor(0.0), torch.tensor(1.0)
    return preprocessor.mean, preprocessor.std


def run_generator(model: nn.Module, images: Tensor) -> Tensor:
    """The generator on normalised images of any size."""
    height, width = images.shape[2:]
    padded = pad_to_multiple(images, network_stride(model))
    return generator_of(model)(padded)[..., :height, :width]


@torch.no_grad()
def restore_batch(model: nn.Module, images: Tensor) -> Tensor:
    """Restore images with a trained model.

    Args:
        model: mmagic's BaseEditModel or Pix2Pix, in evaluation mode.
        images: (N, 1, H, W) in [0, 1], on the model's device.

    Returns:
        (N, 1, H, W) float32 in [0, 1].

    Raises:
        TypeError: If the model is no restorer.
        ValueError: If the images have another shape.

    Examples:
        >>> import torch
        >>> from mmagic.registry import MODELS
        >>> from mmclarity.engine.config import load_config
        >>> from mmclarity.restoration.models import restore_batch
        >>> cfg = load_config('mse_unet_sem.py')
        >>> model = MODELS.build(dict(cfg.model, _scope_='mmagic')).eval()
        >>> restore_batch(model, torch.rand(1, 1, 64, 64)).shape
        torch.Size([1, 1, 64, 64])
    """
    if images.dim() != 4 or images.shape[1] != 1:
        raise ValueError(f'images must be (N, 1, H, W), got {tuple(images.shape)}')
    mean, std = normalisation(model)
    restored = run_generator(model, (images * 255 - mean) / std).float()
    return ((restored * std + mean) / 255).clamp(0, 1)
