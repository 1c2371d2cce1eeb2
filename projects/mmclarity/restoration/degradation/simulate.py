"""The degradation as a transform of a training pipeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from scipy.ndimage import gaussian_filter1d

from .physics import beam_blur, detector_noise, displace_lines, line_filter, stretch_lines

Range = Sequence[float] | float | None
NOT_NEGATIVE = {
    'blur',
    'astigmatism',
    'line_blur',
    'slope',
    'intercept',
    'jitter',
    'drift',
    'gain',
    'strength',
}


@TRANSFORMS.register_module()
class SimulateLowCostSEM(BaseTransform):
    """Makes a clean SEM image look as if a cheap microscope had taken it in a hurry.

    In the order of the instrument: blur by an astigmatic beam, drift and jitter of the lines it
    writes and, along the line only, blur by the detector's bandwidth, coarser sampling, gain and
    offset, shot and electronic noise correlated along the line, and the analogue-digital
    converter.
    ``tools/calibrate_degradation.py`` measures the ranges on images of a microscope at hand and
    writes them as a config. The defaults are those of an FEI Quanta at a dwell time of 100 ns.

    Drift is off by default: from a single image nobody can tell where a particle lay before it
    moved, and a network that is asked to learns to blur.

    Every range is a number, a pair that is drawn from uniformly for each image, or None: without
    that step. Units are grey levels of an 8-bit image and pixels.

    Required key: the one named by ``source``, (H, W) or (H, W, 1), in grey levels 0..255 (an
    image of 16 bits is scaled to that range first, not cut off). Added key: ``target``, of the
    same shape, float32.

    Args:
        blur: Standard deviation of the beam in pixels, beyond that of the clean image.
        astigmatism: log ratio of its long to its short axis; the angle is random.
        line_blur: Standard deviation in pixels of the blur along the scan line alone.
        slope, intercept: Noise variance is ``slope * I + intercept``, the first part
            shot noise.
        variance: Pairs (grey level, variance) between which the
            variance is interpolated, instead of slope and intercept, for detectors that are not
            linear. Beyond them it goes on as between the last two, down to zero. What it has
            beyond its least value counts as shot noise.
        correlation: Of the noise at lags 1, 2, ... along the line.
        correlation_spread: Standard deviation of a factor on them, image by image.
        drift: Length in pixels of the sample's motion during a frame of the image's
            height; the direction is random.
        jitter: Standard deviation in pixels of the lines' own displacements.
        gain, offset: I becomes gain * I + offset, before the noise.
        downsample: Factor >= 1 by which the cheap microscope samples more coarsely; the
            image is brought back to its size by cubic interpolation.
        quantise: Round to whole grey levels and cut to 0..255. Without it values may lie
            outside.
        poisson: Counts of electrons instead of Gaussian noise of their variance.
        strength: Factor on the noise's standard deviation, e.g. (0.7, 1.4) for a network
            that should cope with several dwell times. Defaults to None: 1.
        seed: Makes the result a function of (seed, ``results['sample_idx']``), as
            validation wants it. Defaults to None: numpy's global random state, which mmengine
            seeds in every worker.
        source, target: Keys. Default to 'gt' and 'img'.

    Raises:
        ValueError: If a range is reversed, negative where it cannot be, or not finite.
        TypeError: If the image is none of (H, W) or (H, W, 1).

    Examples:
        >>> import numpy as np
        >>> from mmclarity.restoration.degradation import SimulateLowCostSEM
        >>> simulate = SimulateLowCostSEM(seed=0)
        >>> pair = simulate(dict(gt=np.full((64, 64), 120, np.float32), sample_idx=0))
        >>> pair['img'].shape, bool(pair['img'].std() > 10)
        ((64, 64), True)
    """

    def __init__(
        self,
        blur: Range = (0.2, 0.5),
        astigmatism: Range = (0.0, 0.3),
        line_blur: Range = (0.4, 0.6),
        slope: Range = (3.4, 3.56),
        intercept: Range = (0.0, 5.0),
        variance: Sequence[tuple[float, float]] | None = None,
        correlation: Sequence[float] = (0.48, 0.09, 0.02),
        correlation_spread: float = 0.05,
        drift: Range = None,
        jitter: Range = (0.0, 0.1),
        gain: Range = (0.96, 0.98),
        offset: Range = (3.4, 7.8),
        downsample: Range = None,
        quantise: bool = True,
        poisson: bool = True,
        strength: Range = None,
        seed: int | None = None,
        source: str = 'gt',
        target: str = 'img',
    ) -> None:
        given = dict(
            blur=blur,
            astigmatism=astigmatism,
            line_blur=line_blur,
            slope=slope,
            intercept=intercept,
            drift=drift,
            jitter=jitter,
            gain=gain,
            offset=offset,
            downsample=downsample,
            strength=strength,
        )
        self.ranges = {name: _check_range(name, value) for name, value in given.items()}
        low = self.ranges['downsample']
        if low is not None and low[0] < 1:
            raise ValueError(f'downsample is a factor of at least 1, got {downsample}')
        line_filter(correlation)
        self.variance = None if variance is None else _check_curve(variance)
        self.correlation = tuple(float(c) for c in correlation)
        self.correlation_spread = correlation_spread
        self.quantise, self.poisson, self.seed = quantise, poisson, seed
        self.source, self.target = source, target

    def transform(self, results: dict) -> dict:
        """Add the degraded image."""
        image = results[self.source]
        if (
            not isinstance(image, np.ndarray)
            or image.ndim not in (2, 3)
            or (image.ndim == 3 and image.shape[2] != 1)
        ):
            shape = getattr(image, 'shape', type(image).__name__)
            raise TypeError(
                f'results[{self.source!r}] must be an (H, W) or (H, W, 1) array of '
                f'one channel, got {shape}'
            )
        if self.seed is None:
            rng = np.random.default_rng(np.random.randint(2**31, size=4))
        else:
            rng = np.random.default_rng([self.seed, int(results.get('sample_idx', 0))])
        low = self.degrade(image.reshape(image.shape[:2]), rng)
        results[self.target] = low.reshape(image.shape)
        return results

    def degrade(
        self, image: np.ndarray, rng: np.random.Generator, strength: float = 1.0
    ) -> np.ndarray:
        """(H, W) grey levels 0..255 to the same, degraded, float32.

        Args:
            image: (H, W).
            rng: where all of it comes from.
            strength: factor on the noise's standard deviation, on top of what is drawn.
        """
        draw = {name: _draw(limits, rng) for name, limits in self.ranges.items()}
        draw['strength'] = strength * (1.0 if draw['strength'] is None else draw['strength'])
        out = np.asarray(image, np.float32)
        if draw['blur']:
            out = beam_blur(out, draw['blur'], draw['astigmatism'] or 0.0, rng.uniform(0, math.pi))
        if draw['drift']:
            angle = rng.uniform(0, 2 * math.pi)
            out = stretch_lines(
                out, draw['drift'] * math.sin(angle), draw['drift'] * math.cos(angle)
            )
        if draw['jitter']:
            out = displace_lines(out, draw['jitter'] * rng.standard_normal(len(out)))
        if draw['line_blur']:
            out = gaussian_filter1d(out, draw['line_blur'], axis=1, mode='reflect')
        size = out.shape
        if draw['downsample']:
            coarse = [max(1, round(length / draw['downsample'])) for length in size]
            out = cv2.resize(out, coarse[::-1], interpolation=cv2.INTER_AREA)
        out = out * (1.0 if draw['gain'] is None else draw['gain']) + (draw['offset'] or 0.0)
        out = self._noise(out, draw, rng)
        if self.quantise:
            out = np.clip(np.rint(out), 0, 255)
        if out.shape != size:
            out = cv2.resize(out, size[::-1], interpolation=cv2.INTER_CUBIC)
            if self.quantise:
                out = np.clip(out, 0, 255)
        return np.ascontiguousarray(out, np.float32)

    def _noise(self, image: np.ndarray, draw: dict, rng: np.random.Generator) -> np.ndarray:
        slope, intercept = draw['slope'] or 0.0, draw['intercept'] or 0.0
        if self.variance is None and not (slope or intercept):
            return image
        power = draw['strength'] ** 2
        if self.variance is None:
            shot = slope * np.maximum(image, 0)
            variance = shot + intercept
        else:
            variance = _extrapolated(image, *self.variance)
            shot = np.maximum(variance - self.variance[1].min(), 0)
        rho = np.asarray(self.correlation) * (1 + self.correlation_spread * rng.standard_normal())
        return detector_noise(
            image,
            variance * power,
            line_filter(np.clip(rho, -0.95, 0.95)),
            rng,
            shot * power if self.poisson else None,
        )

    def __repr__(self) -> str:
        ranges = ', '.join(f'{name}={value}' for name, value in self.ranges.items())
        curve = None if self.variance is None else np.stack(self.variance, 1).tolist()
        return (
            f'{type(self).__name__}({ranges}, variance={curve}, '
            f'correlation={self.correlation}, '
            f'quantise={self.quantise}, poisson={self.poisson}, seed={self.seed})'
        )


def _check_range(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if (
        len(pair) != 2
        or not all(isinstance(v, int | float) and math.isfinite(v) for v in pair)
        or pair[0] > pair[1]
    ):
        raise ValueError(f'{name} must be a number, a pair (least, most) or None, got {value!r}')
    if name in NOT_NEGATIVE and pair[0] < 0:
        raise ValueError(f'{name} cannot be negative, got {value!r}')
    return float(pair[0]), float(pair[1])


def _check_curve(curve: Any) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels and variances of the curve, for numpy.interp."""
    points = np.asarray(curve, np.float32)
    if (
        points.ndim != 2
        or points.shape[1] != 2
        or not np.isfinite(points).all()
        or (np.diff(points[:, 0]) <= 0).any()
        or (points[:, 1] < 0).any()
    ):
        raise ValueError(
            f'variance must be pairs (grey level, variance) of rising level, got {curve!r}'
        )
    return points[:, 0], points[:, 1]


def _extrapolated(image: np.ndarray, levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The curve at every pixel, float32."""
    out = np.interp(image, levels, values)
    if len(levels) > 1:
        for end, before, outside in ((0, 1, image < levels[0]), (-1, -2, image > levels[-1])):
            rise = (values[end] - values[before]) / (levels[end] - levels[before])
            out = np.where(outside, values[end] + rise * (image - levels[end]), out)
    return np.maximum(out, 0).astype(np.float32)


def _draw(limits: tuple[float, float] | None, rng: np.random.Generator) -> float | None:
    return None if limits is None else float(rng.uniform(*limits))
