"""How near a restored image is to its reference, pixel by pixel and in structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from .perceptual import lpips_distance


def to_grey(image: Any) -> np.ndarray:
    """An (H, W) float64 array of an image tensor (1, H, W) or array (H, W[, 1])."""
    image = image.detach().cpu().numpy() if hasattr(image, 'detach') else np.asarray(image)
    if image.ndim == 3 and 1 in (image.shape[0], image.shape[-1]):
        image = image[0] if image.shape[0] == 1 else image[..., 0]
    if image.ndim != 2:
        raise ValueError(f'an image of one channel is wanted, got the shape {image.shape}')
    return image.astype(np.float64)


def fidelity(
    restored: np.ndarray, reference: np.ndarray, data_range: float = 1.0
) -> dict[str, float]:
    """PSNR (dB), SSIM (Wang et al. 2004: Gaussian window, population covariance), and LPIPS.

    Args:
        restored: (H, W), at least 11 x 11.
        reference: Of the same shape.
        data_range: Value of white less that of black. Defaults to 1.

    Returns:
        'psnr' (infinite for equal images), 'ssim', and 'lpips' where its weights
        are at hand (:func:`lpips_distance`) and the images are 32 x 32 or more.

    Raises:
        ValueError: If shapes differ or are too small.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.evaluation import fidelity
        >>> image = np.full((64, 64), 0.5)
        >>> scores = fidelity(image + 0.1, image)
        >>> round(scores['psnr'], 2)
        20.0
    """
    if restored.shape != reference.shape or min(restored.shape) < 11:
        raise ValueError(
            'restored and reference must be of one shape of at least 11 x 11, got '
            f'{restored.shape} and {reference.shape}'
        )
    with np.errstate(divide='ignore'):
        psnr = peak_signal_noise_ratio(reference, restored, data_range=data_range)
    ssim = structural_similarity(
        reference,
        restored,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    found = dict(psnr=float(psnr), ssim=float(ssim))
    if min(restored.shape) >= 32:
        distance = lpips_distance(restored / data_range, reference / data_range)
        found |= {} if distance is None else dict(lpips=distance)
    return found


@METRICS.register_module()
class FidelityMetric(BaseMetric):
    """PSNR, SSIM and LPIPS, means over the images; see :func:`fidelity`. Images are 0..255.

    Args:
        collect_device: 'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix: Of the names. Defaults to None: 'sem'.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> from mmclarity.restoration.evaluation import FidelityMetric
        >>> metric = FidelityMetric()
        >>> image = torch.full((1, 64, 64), 100.0)
        >>> sample = dict(gt_img=image, output=dict(pred_img=image + 25.5))
        >>> metric.process(None, [sample])
        >>> round(metric.compute_metrics(metric.results)['psnr'], 2)
        20.0
    """

    default_prefix = 'sem'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def metric_names(self) -> list[str]:
        """What :meth:`compute_metrics` gives, without prefix; LPIPS if its weights are there."""
        return ['psnr', 'ssim', 'lpips']

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take in ``output.pred_img`` and ``gt_img`` of every sample."""
        for sample in data_samples:
            self.results.append(
                fidelity(to_grey(sample['output']['pred_img']), to_grey(sample['gt_img']), 255.0)
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means."""
        keys = set.intersection(*map(set, results))
        return {
            key: float(np.mean([result[key] for result in results]))
            for key in results[0]
            if key in keys
        }
