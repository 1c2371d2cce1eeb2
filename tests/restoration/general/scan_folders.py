"""Folders of quick and slow scans of one simulated microscope."""

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter1d

from mmclarity.restoration.degradation.physics import detector_noise, line_filter
from mmclarity.restoration.io import read_sem
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

LAGS, SLOPE, GAIN, OFFSET, BLUR = (0.45, 0.09), 3.0, 0.9, 12.0, 0.6


def quickly(clean, seed, lags=LAGS):
    """The scan of a clean image (grey levels 0..255) that a hurried microscope makes."""
    rng = np.random.default_rng(seed)
    levels = gaussian_filter1d(clean * GAIN + OFFSET, BLUR, axis=1).astype(np.float32)
    noisy = detector_noise(levels, SLOPE * levels, line_filter(lags), rng, None)
    return np.rint(noisy.clip(0, 255)).astype(np.uint8)


def clean_levels(seed, size=256):
    image = make_phantom(PhantomSettings(size, median_radius=6), seed).image
    return np.rint(25 + 190 * image).astype(np.float32)


def read(folder):
    return [read_sem(path) for path in sorted(folder.iterdir())]


def make_scans(folder):
    """Folders of quick and slow scans: 0 and 1 are pairs, slow 2 has no partner."""
    for side in ('quick', 'slow', 'others'):
        (folder / side).mkdir()
    for number in range(3):
        clean = clean_levels(9400 + number)
        tifffile.imwrite(folder / f'slow/{number}.tif', clean.astype(np.uint8))
        other = clean_levels(9500 + number).astype(np.uint8)
        tifffile.imwrite(folder / f'others/{number}.tif', other)
        if number < 2:
            tifffile.imwrite(folder / f'quick/{number}.tif', quickly(clean, number))
