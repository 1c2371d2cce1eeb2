"""mmagic's models of one channel, and what every one of them can do: restore a batch."""

from __future__ import annotations

import torch
from mmagic.models.base_models import BaseEditModel
from mmagic.models.editors.pix2pix import Pix2Pix
from mmagic.models.utils import generation_init_weights
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from torch import Tensor, nn

from .unet import pad_to_multiple


@MODELS.register_module()
class SEMPix2Pix(Pix2Pix):
    """mmagic's Pix2Pix (Isola et al., CVPR 2017) that validates on the pairs the U-nets do.

    Trained as it is: its pipeline packs ``img_low`` and ``img_high``. In validation mmagic's own
    wants the size of training and yields an image without its reference; here images of any size
    are mirrored up to the generator's stride, and results are packed as those of
    ``BaseEditModel``, so that the same metrics apply.
    """

    def init_weights(self) -> None:
        """Normal weights for all convolutions, as published.

        mmagic's own reports every change to mmengine and fails there for any norm but batch norm
        (UnboundLocalError).
        """
        networks = [self.generators, self.discriminators]
        for network in (n for n in networks if n is not None):
            for part in self.get_module(network).values():
                generation_init_weights(part, init_type=part.init_type, init_gain=part.init_gain)
        self._is_init = True

    def test_step(self, data: dict) -> list[DataSample]:
        """Restore a batch of ``inputs['img']``: samples with ``output.pred_img`` (0..255)."""
        data = self.data_preprocessor(data, False)
        inputs, samples = data['inputs'], data['data_samples']
        low = inputs['img'] if isinstance(inputs, dict) else inputs
        high = run_generator(self, low).float()
        high = self.data_preprocessor.destruct(high, samples, 'img')
        samples = samples.split() if isinstance(samples, DataSample) else samples
        for sample, image in zip(samples, high):
            sample.output = DataSample(pred_img=image.cpu())
        return samples

    val_step = test_step


def generator_of(model: nn.Module) -> nn.Module:
    """The network of an mmagic model that turns an image into an image.

    Raises:
        TypeError: If the model has none.
    """
    if isinstance(model, Pix2Pix):
        return model.get_module(model.generators)[model._default_domain]
    if isinstance(model, BaseEditModel):
        return model.generator
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
        model (nn.Module): mmagic's BaseEditModel or Pix2Pix, in evaluation mode.
        images (Tensor): (N, 1, H, W) in [0, 1], on the model's device.

    Returns:
        Tensor: (N, 1, H, W) float32 in [0, 1].

    Raises:
        TypeError: If the model is no restorer.
        ValueError: If the images have another shape.
    """
    if images.dim() != 4 or images.shape[1] != 1:
        raise ValueError(f'images must be (N, 1, H, W), got {tuple(images.shape)}')
    mean, std = normalisation(model)
    restored = run_generator(model, (images * 255 - mean) / std).float()
    return ((restored * std + mean) / 255).clamp(0, 1)
