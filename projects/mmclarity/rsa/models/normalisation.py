"""What images a network was trained on: their mean and deviation, colours and size."""

from __future__ import annotations

from typing import Any

# Of RGB images in [0, 1]; what torchvision's ImageNet networks were trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What says whether a preprocessor turns blue first into red first: mmengine and mmdet; mmseg;
# mmpretrain and mmaction.
CONVERSIONS = ('_channel_conversion', 'channel_conversion', 'to_rgb')


def of_torchvision(transforms: Any) -> dict[str, Any]:
    """What the transforms of torchvision's weights do, as arguments of a ``Network``."""
    found: dict[str, Any] = {}
    if hasattr(transforms, 'mean'):
        found = dict(mean=tuple(transforms.mean), std=tuple(transforms.std))
    size = getattr(transforms, 'crop_size', None)
    return dict(found, side=size[0]) if size else found


def of_processor(processor: Any) -> dict[str, Any]:
    """What an image processor of transformers does, as arguments of a ``Network``.

    Pixels p of 0 to 255 become (p f - o - m) / s; those of [0, 1] do by (m + o) / 255 f and
    s / 255 f in the places of mean and deviation.
    """
    mean, std = (_three(getattr(processor, f'image_{of}', None)) for of in ('mean', 'std'))
    if mean is None or std is None or not getattr(processor, 'do_normalize', True):
        mean, std = (0.0,) * 3, (1.0,) * 3
    scaled = getattr(processor, 'do_rescale', True)
    factor = 255 * (getattr(processor, 'rescale_factor', 1 / 255) if scaled else 1.0)
    offset = float(bool(scaled and getattr(processor, 'rescale_offset', False)))
    found: dict[str, Any] = dict(
        mean=tuple((m + offset) / factor for m in mean),
        std=tuple(s / factor for s in std),
        bgr=bool(getattr(processor, 'do_flip_channel_order', False)),
    )
    crop = getattr(processor, 'crop_size', None)
    crops = getattr(processor, 'do_center_crop', False)
    size: Any = crop if crop and crops else getattr(processor, 'size', None)
    side = size.get('height', size.get('shortest_edge')) if hasattr(size, 'get') else size
    return dict(found, side=side) if isinstance(side, int) else found


def _three(values: Any) -> tuple[float, ...] | None:
    """A value for each colour."""
    if values is None:
        return None
    values = (values,) if isinstance(values, int | float) else tuple(values)
    return values * 3 if len(values) == 1 else values


def is_known(preprocessor: Any) -> bool:
    """Whether an OpenMMLab data preprocessor says what it does to images."""
    preprocessor = _inner(preprocessor)
    return any(hasattr(preprocessor, name) for name in ('output_channel_order', *CONVERSIONS))


def _inner(preprocessor: Any) -> Any:
    """That of one branch, where there are several (mmdet's semi-supervised training)."""
    return getattr(preprocessor, 'data_preprocessor', preprocessor)


def preprocessing(
    preprocessor: Any,
) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """What an OpenMMLab data preprocessor does to images, for RGB in [0, 1].

    OpenMMLab reads images blue first, 0 to 255; a preprocessor that does not convert hands them
    on so, and its mean and deviation are in the order that the network gets. One that only moves
    data to the device leaves all that to the data set: ImageNet's values are assumed then.

    Returns:
        Mean and standard deviation (red first), and whether the network expects blue
            first. Where images are converted but not normalised: mean 0 and deviation 1 / 255,
            which restores 0 to 255.
    """
    preprocessor = _inner(preprocessor)
    if not is_known(preprocessor):
        return IMAGENET_MEAN, IMAGENET_STD, False
    if hasattr(preprocessor, 'output_channel_order'):  # mmagic
        bgr = (preprocessor.output_channel_order or 'BGR').upper() == 'BGR'
    else:
        bgr = not next(getattr(preprocessor, n) for n in CONVERSIONS if hasattr(preprocessor, n))
    if not getattr(preprocessor, '_enable_normalize', False):
        return (0.0,) * 3, (1 / 255,) * 3, bgr
    values = []
    for tensor in (preprocessor.mean, preprocessor.std):
        channels = (tensor.flatten() / 255).tolist()
        channels = channels * 3 if len(channels) == 1 else channels
        values.append(tuple(channels[::-1] if bgr else channels))
    return values[0], values[1], bgr
