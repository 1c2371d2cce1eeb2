"""What a user should know about an image before it is restored, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmclarity.utils.images import depth_held

from ..general.appraisal import LEAST_SIGMA, Appraisal
from ..io.micrograph import SEMImage

_MISTAKEN = 0.05  # share of a picture where structure was put back that is worth a word
_PIXEL_RATIO = 1.5  # larger or smaller pixels than in training by this factor are worth a word


def of_file(image: SEMImage) -> Iterator[str]:
    """What is special about the first picture of a file, in plain words."""
    if image.path is not None and image.origin():
        yield f'{image.path}: {image.origin()}'
    if image.pages > 1:
        yield f'{image.path}: {image.pages} pages, each measured and restored by itself'
    if image.measured_range:
        yield (
            f'{image.label}: {image.pixels.dtype} has no black and white of its own: its '
            f'darkest and brightest pixels, {image.black:g} and {image.data_range:g}, are '
            'taken (data_range, --data-range overrides)'
        )
    if image.annotations is not None:
        yield (
            f'{image.label}: {100 * image.annotations.mean():.2g} % of the picture is coloured '
            '(scale bar, text, arrows): these pixels stay as they are'
        )
    if image.channel is not None:
        yield (
            f'{image.label}: channel {image.channel} is taken, and stands for all colours in '
            'the restored image: what the others show is in the original only'
        )
    if image.lossy:
        yield (
            f'{image.label}: was stored as JPEG or WebP, which has changed grey values; the '
            'restoration is stored without loss. Take the original where there is one'
        )


def mistaken(share: float, like: Appraisal) -> Iterator[str]:
    """What the network took for noise though it is none; nothing of a clean picture.

    Args:
        share: of the picture, see :func:`..general.residual_structure.put_back`.
        like: of the noisy picture.
    """
    if share > _MISTAKEN and like.sigma >= LEAST_SIGMA:
        yield (
            f'in {100 * share:.0f} % of it the network took fine structure for noise; that was put '
            'back, as it was recorded or by non-local means, with some of its noise. Measure it in '
            'the original'
        )


def sharp_edges(share: float) -> Iterator[str]:
    """Where the network is not the best.

    Args:
        share: of the picture, see :func:`..general.sure_blend.blend_by_sure`.
    """
    if share > _MISTAKEN:
        yield (
            'beside sharp edges and patterns non-local means are closer to the truth than the '
            f'network; {100 * share:.0f} % of it come from them'
        )


def beside_training(image: SEMImage, trained_on: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the model has not learnt of such an image: a key for each kind, and the words.

    Args:
        image: What is to be restored.
        trained_on: ``bit_depth`` and ``pixel_size`` in metres, where they are known.
    """
    name, bits = image.label, 8 * image.pixels.dtype.itemsize
    trained = trained_on.get('bit_depth')
    if trained and bits != trained:
        yield (
            'bit_depth',
            f'{name}: has {bits} bits per pixel, the model was trained on '
            f'{trained}: grey values are divided by {image.data_range:g}, and '
            'brightness and contrast should be as in training',
        )
    by_type = image.pixels.dtype == np.uint16 and image.data_range == 65535
    held = depth_held(image.image.max()) if by_type else None
    if held is not None:
        yield (
            f'dark {name}',
            f'{name}: its brightest pixel is {image.image.max()} of '
            f'{image.data_range:g}; if it holds {held} bit data, give data_range={2**held - 1}',
        )
    size, wanted = image.pixel_size, trained_on.get('pixel_size')
    if size and wanted and not 1 / _PIXEL_RATIO < size / wanted < _PIXEL_RATIO:
        yield (
            'pixel_size',
            f'{name}: has pixels of {size * 1e9:.3g} nm, the model was '
            f'trained on {wanted * 1e9:.3g} nm: particles appear in other sizes than '
            'it has learnt',
        )
