"""mmagic's Pix2Pix of one channel; importing this imports all of mmagic."""

from __future__ import annotations

from mmagic.models.editors.pix2pix import Pix2Pix
from mmagic.models.utils import generation_init_weights
from mmagic.structures import DataSample

from .restorers import run_generator


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
