"""Bad weather, bad light and bad sensors at five severities, for measuring robustness.

The corruptions are those of ``imagecorruptions`` (Hendrycks and Dietterich, ICLR 2019;
Michaelis et al., 2019) and ``albumentations``; what they look like is theirs. Here every image gets
the same one whatever the detector, the order or the number of workers.
"""

import random
import sys
import types
import zlib
from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmclarity.errors import UsageError

#: Names of the corruptions; each has the severities 1 to 5.
CORRUPTIONS = ('fog', 'snow', 'rain', 'darkness', 'motion blur', 'noise', 'JPEG')
SEVERITIES = (1, 2, 3, 4, 5)

_BY_IMAGECORRUPTIONS = {
    'fog': 'fog',
    'snow': 'snow',
    'motion blur': 'motion_blur',
    'noise': 'gaussian_noise',
    'JPEG': 'jpeg_compression',
}
#: Of albumentations' RandomRain: length of the drops and blur in pixels, brightness left, kind.
_RAIN = (
    (8, 1, 0.95, 'drizzle'),
    (12, 3, 0.9, 'drizzle'),
    (20, 3, 0.8, None),
    (25, 5, 0.7, 'heavy'),
    (30, 7, 0.6, 'torrential'),
)
#: Sides in pixels that the libraries want; smaller images are enlarged at their edges meanwhile.
_LEAST = 64
#: Of albumentations' RandomGamma: exponent in per cent.
_DARKNESS = (150, 200, 275, 375, 500)


@TRANSFORMS.register_module()
class CorruptedImage(BaseTransform):
    """Corrupts ``img``, after it is loaded; boxes stay where they are.

    Args:
        corruption: One of :data:`CORRUPTIONS`.
        severity: 1 (mild) to 5.
        seed: Other seeds give other drops, flakes and noise.

    Raises:
        UsageError: If there is no such corruption or severity, or its library is not installed.
    """

    def __init__(self, corruption: str, severity: int, seed: int = 0) -> None:
        if corruption not in CORRUPTIONS or severity not in SEVERITIES:
            raise UsageError(
                f'no corruption {corruption!r} of severity {severity!r}; there are '
                f'{list(CORRUPTIONS)}, each from 1 to 5'
            )
        self.corruption, self.severity, self.seed = corruption, severity, seed
        self._apply = _function(corruption, severity)

    def transform(self, results: dict) -> dict:
        """Corrupts ``results['img']`` (height, width, 3; BGR; uint8)."""
        name = str(results.get('img_path', '')).replace('\\', '/').rsplit('/', 1)[-1]
        key = f'{name} {self.corruption} {self.severity} {self.seed}'
        results['img'] = self.corrupt(results['img'], zlib.crc32(key.encode()))
        return results

    def corrupt(self, image: np.ndarray, seed: int) -> np.ndarray:
        """A corrupted copy of a BGR image; the random state of the process is left alone."""
        height, width = image.shape[:2]
        missing = max(_LEAST - height, 0), max(_LEAST - width, 0)
        if any(missing):
            image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), 'edge')
        states = np.random.get_state(), random.getstate()
        try:
            np.random.seed(seed)
            random.seed(seed)
            rgb = self._apply(np.ascontiguousarray(image[..., ::-1]))
        finally:
            np.random.set_state(states[0])
            random.setstate(states[1])
        return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8)[:height, :width, ::-1])

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.corruption!r}, {self.severity}, seed={self.seed})'


def _function(corruption: str, severity: int) -> Callable[[np.ndarray], np.ndarray]:
    """The library's function of an RGB image."""
    if corruption in _BY_IMAGECORRUPTIONS:
        corrupt = _imagecorruptions()
        name = _BY_IMAGECORRUPTIONS[corruption]
        return lambda image: corrupt(image, severity=severity, corruption_name=name)
    try:
        import albumentations
    except ModuleNotFoundError as error:
        raise UsageError(f'{corruption} needs `pip install "albumentations<1.4"`') from error
    if corruption == 'rain':
        length, blur, brightness, kind = _RAIN[severity - 1]
        effect = albumentations.RandomRain(
            drop_length=length,
            drop_width=1,
            blur_value=blur,
            brightness_coefficient=brightness,
            rain_type=kind,
            p=1,
        )
    else:
        gamma = _DARKNESS[severity - 1]
        effect = albumentations.RandomGamma(gamma_limit=(gamma, gamma), p=1)
    return lambda image: effect(image=image)['image']


def _imagecorruptions() -> Callable:
    """``imagecorruptions.corrupt``, whose last release asks for names that are gone since."""
    if not hasattr(np, 'float_'):
        np.float_ = np.float64  # numpy 2
    stub = None
    try:
        import pkg_resources  # noqa: F401
    except ModuleNotFoundError:  # setuptools 81; needed for the pictures of frost only
        stub = types.ModuleType('pkg_resources')
        stub.resource_filename = lambda package, name: name
        sys.modules['pkg_resources'] = stub
    try:
        from imagecorruptions import corrupt
    except ModuleNotFoundError as error:
        raise UsageError(
            'fog, snow, motion blur, noise and JPEG need `pip install imagecorruptions`'
        ) from error
    finally:
        if stub is not None:
            sys.modules.pop('pkg_resources', None)
    return corrupt
