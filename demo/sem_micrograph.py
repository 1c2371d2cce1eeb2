"""A quick scan as a microscope stores it, with data bar and tags, and what was under the beam."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

from mmclarity.restoration.degradation.physics import beam_blur, detector_noise, line_filter
from mmclarity.restoration.io import read_sem
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from mmclarity.utils.figures import new_figure, save
from mmclarity.utils.files import replacing

__all__ = ['draw', 'make_micrograph']

PIXEL = 5.8e-9  # metres
BAR = 44  # rows
# Variance of a scan of 100 ns a pixel, of 255 grey levels: slope and intercept as measured on a
# real microscope, and what neighbouring pixels of a line share of it.
NOISE, SHARED = (2.7, 90.0), (0.5, 0.1)


def make_micrograph(path: Path, size: tuple[int, int] = (884, 1024), seed: int = 3) -> np.ndarray:
    """Writes a TIFF file of spheres on a dark ground, quickly scanned.

    Args:
        path: of the file.
        size: rows and columns of the picture.
        seed: of spheres and noise.

    Returns:
        The picture without noise, (H, W) in [0, 1].
    """
    rng = np.random.default_rng(seed)
    settings = PhantomSettings(max(size), median_radius=9, spread=0.8, most_radius=110)
    clean = make_phantom(settings, seed).image[: size[0], : size[1]].astype(np.float64)
    clean = 0.08 + 0.8 * clean / clean.max()
    seen = beam_blur(clean, 0.7)
    variance = (NOISE[0] * 255 * seen + NOISE[1]) / 255**2
    noisy = detector_noise(seen, variance, line_filter(SHARED), rng)
    picture = np.rint(255 * noisy.clip(0, 1)).astype(np.uint8)
    tags = (
        '[User]\r\nUserText=simulated\r\n[Beam]\r\nHV=10000\r\nScan=EScan\r\nBeam=EBeam\r\n'
        f'[Scan]\r\nPixelWidth={PIXEL}\r\nPixelHeight={PIXEL}\r\nDwelltime=1e-07\r\n'
        f'[Image]\r\nResolutionX={size[1]}\r\nResolutionY={size[0]}\r\n'
        f'[PrivateFei]\r\nDatabarHeight={BAR}\r\n\0'
    )
    shown = np.concatenate([picture, _data_bar(size[1])])
    with replacing(path) as part:
        tifffile.imwrite(part, shown, extratags=[(34682, 2, 0, tags.encode(), True)])
    return clean


def _data_bar(width: int) -> np.ndarray:
    bar = np.zeros((BAR, width), np.uint8)
    text = f'10.0 kV   x 50 000   100 ns   {PIXEL * width * 1e6:.2f} um wide   simulated'
    cv2.putText(bar, text, (8, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    cv2.line(bar, (8, 38), (8 + round(5e-7 / PIXEL), 38), 255, 2)
    return bar


def draw(path: Path, noisy: Path, restored: Path, clean: np.ndarray) -> None:
    """Quick scan, restored file and truth, a quarter of the picture each."""
    rows, columns = (slice(0, length // 2) for length in clean.shape)
    pictures = {
        'quick scan': read_sem(noisy).unit,
        'restored': read_sem(restored).unit,
        'what was under the beam': clean,
    }
    height = 4.2 * (rows.stop / columns.stop) + 0.4
    figure = new_figure(3 * 4.2, height)
    for axis, (title, picture) in zip(figure.subplots(1, 3), pictures.items()):
        axis.imshow(picture[rows, columns], cmap='gray', vmin=0, vmax=1, interpolation='nearest')
        axis.set_title(title)
        axis.set_axis_off()
    save(figure, path)
