"""The general network on a material and on noise that it was not trained on.

    python benchmarks/restore_superalloy.py --data ../shared/data/sem_superalloy \\
        --weights '11,500 steps=OLD.safetensors' --weights 'as it ships='

The last five images of the folder, which training leaves out, are made worse in three ways, stored
in 8 bits, and judged by PSNR.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import median_filter

from mmclarity.restoration import Restorer
from mmclarity.restoration.degradation.physics import line_filter
from mmclarity.restoration.general.examples import ALLOY_JUDGES
from mmclarity.restoration.io import list_images, read_sem

Rng = np.random.Generator


def impulses(image: np.ndarray, rng: Rng) -> np.ndarray:
    """4 % of the pixels black or white, and a deviation of 0.04."""
    noisy = image + 0.04 * rng.standard_normal(image.shape)
    hit = rng.random(image.shape) < 0.04
    return np.where(hit, rng.integers(2, size=image.shape), noisy)


def heavy_tails(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Noise of a t distribution of three degrees of freedom, deviation 0.1."""
    return image + 0.1 / np.sqrt(3) * rng.standard_t(3, image.shape)


def speckle(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Multiplied by a gamma distribution of mean 1: ten looks."""
    return image * rng.gamma(10, 0.1, image.shape)


def smeared(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Deviation 0.1, correlation 0.9 with the next pixel of the line (autoregressive)."""
    taps = line_filter(0.9 ** np.arange(1, 40))
    half = len(taps) // 2
    white = rng.standard_normal((len(image), image.shape[1] + 2 * half))
    lines = np.stack([np.convolve(line, taps, 'valid') for line in white])
    return image + 0.1 * lines


KINDS: dict[str, Callable[[np.ndarray, Rng], np.ndarray]] = {
    'impulses': impulses,
    'heavy tails': heavy_tails,
    'speckle': speckle,
    'smeared': smeared,
}


def psnr(levels: np.ndarray, clean: np.ndarray) -> float:
    """Peak signal-to-noise ratio of levels in [0, 1], in decibels."""
    return float(-10 * np.log10(np.mean(np.square(levels - clean))))


def main() -> int:
    """Prints a table: kinds of noise, PSNR of each restorer (means over the images)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder of the images')
    parser.add_argument('--weights', action='append', default=[], metavar='NAME=[FILE]')
    parser.add_argument('--sharpen', action='store_true', help='narrower edges, all networks')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    images = [read_sem(path).unit for path in list_images(args.data)[-ALLOY_JUDGES:]]
    restorers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        'raw': lambda image: image / np.float32(255),
        'median 3 x 3': lambda image: median_filter(image, 3) / np.float32(255),
    }
    for text in args.weights or ['network, as it ships=']:
        name, _, path = text.partition('=')
        restorers[name] = Restorer(checkpoint=path or None, sharpen=float(args.sharpen))
    print('| noise | ' + ' | '.join(restorers) + ' |\n|---|' + '---:|' * len(restorers))
    for kind, spoil in KINDS.items():
        noisy = [
            np.rint(255 * spoil(image, np.random.default_rng(number)).clip(0, 1)).astype(np.uint8)
            for number, image in enumerate(images)
        ]
        cells = [
            np.mean([psnr(restore(low), clean) for low, clean in zip(noisy, images)])
            for restore in restorers.values()
        ]
        row = ' | '.join(f'{cell:.2f}' for cell in cells)
        print(f'| {kind} | {row} |', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
