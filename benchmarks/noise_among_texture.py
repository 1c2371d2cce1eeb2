"""How much noise is measured on pictures that are fine texture all over, and what is restored.

    python benchmarks/noise_among_texture.py --page docs/benchmarks/restoration_unlike.md

Photographs of grass and gravel (scikit-image's, their four quarters) and simulated fractures get
noise of known strength: independent, smeared along the line, or shot noise. Its deviation is
measured by scikit-image's ``estimate_sigma`` (wavelets: Donoho and Johnstone 1994), by lines and
spectrum alone, and with the kurtosis of texture
(``general/texture_noise.py``). Then the general network restores, told the last two. Other pictures
get noise that was smoothed in all directions, which must not pass for texture.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import skimage.data
from restore_strange import smeared, white
from scipy.ndimage import gaussian_filter
from skimage.restoration import estimate_sigma

from mmclarity.restoration import Restorer
from mmclarity.restoration.general import appraising
from mmclarity.restoration.general.content import KINDS, make_structure
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from mmclarity.utils.tables import markdown_table, replace_part

SIDE, FRACTURES = 256, 12
HEAD = ['texture', 'noise', 'deviation, %', 'wavelets', 'lines and spectrum', 'now']
HEAD += ['told from texture', 'recorded, dB', 'restored by lines and spectrum', 'now']
Noise = Callable[[np.ndarray], np.ndarray]


def shot(clean: np.ndarray) -> np.ndarray:
    """Noise whose variance is 0.002 of the grey level."""
    return clean + np.sqrt(0.002 * clean) * white(0 * clean, 1.0)


NOISES: dict[str, Noise] = {
    'white': lambda clean: white(clean, 0.02),
    'white, more': lambda clean: white(clean, 0.05),
    'smeared': lambda clean: smeared(clean, 0.02),
    'smeared, more': lambda clean: smeared(clean, 0.05),
    'shot': shot,
}


def textures() -> Iterator[tuple[str, list[np.ndarray]]]:
    """Names, and pictures (SIDE, SIDE) in [0, 1]."""
    for name in ('grass', 'gravel'):
        whole = getattr(skimage.data, name)() / 255
        starts = range(0, whole.shape[0] - SIDE + 1, SIDE)
        yield name, [whole[y : y + SIDE, x : x + SIDE] for y in starts for x in starts]
    surfaces = [make_structure('surface', SIDE, seed) for seed in range(FRACTURES)]
    yield 'fractures', [np.asarray(one, np.float64) for one in surfaces]


def others() -> Iterator[np.ndarray]:
    """Pictures that are no texture."""
    for seed, radius in enumerate((4, 6, 9, 14)):
        yield 0.1 + 0.8 * make_phantom(PhantomSettings(SIDE, median_radius=radius), seed).image
    for kind in sorted(set(KINDS) - {'surface'}):
        for seed in range(4):
            yield np.asarray(make_structure(kind, SIDE, seed), np.float64)


def in_8_bits(levels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of levels from 0 to 1."""
    return np.rint(255 * levels.clip(0, 1)).astype(np.uint8)


def without_kurtosis() -> mock._patch:
    """A context in which texture is not told from noise, as before."""
    return mock.patch.object(appraising, 'noise_among_texture', lambda *_: None)


def decibels(levels: np.ndarray, clean: np.ndarray) -> float:
    """PSNR of the contrast."""
    contrast = np.ptp(np.quantile(clean, (0.001, 0.999)))
    return float(-10 * np.log10(np.mean(((levels - clean) / contrast) ** 2)))


def judged(clean: np.ndarray, image: np.ndarray) -> list[float]:
    """Deviations (there is, wavelets, before, now; % of white), told or not, three PSNR in dB."""
    levels = image / 255
    with without_kurtosis():
        before, restored_before = appraising.appraise(image, 255), Restorer()(image)
    now, restored = appraising.appraise(image, 255), Restorer()(image)
    said = [one.sigma * (one.high - one.low) for one in (before, now)]
    deviations = [(levels - clean).std(), estimate_sigma(levels), *said]
    told = now != before
    answers = (levels, restored_before, restored)
    return [*(100 * v for v in deviations), told, *(decibels(x, clean) for x in answers)]


def rows() -> Iterator[list[str]]:
    """Of the table: means over the pictures."""
    for name, pictures in textures():
        for kind, worse in NOISES.items():
            found = np.array([judged(clean, in_8_bits(worse(clean))) for clean in pictures])
            mean = found.mean(0)
            cells = [f'{value:.1f}' for value in (*mean[:4], *mean[5:])]
            told = f'{found[:, 4].sum():.0f} of {len(found)}'
            print(name, kind, cells, told, file=sys.stderr, flush=True)
            yield [name, kind, *cells[:4], told, *cells[4:]]


def mistaken() -> tuple[int, int]:
    """Of pictures without texture whose noise was smoothed: taken for texture, and all."""
    wrong = number = 0
    for clean in others():
        for width in (0.5, 0.7, 1.0):
            noise = gaussian_filter(white(0 * clean, 1.0), width)
            for sigma in (0.03, 0.06):
                image = in_8_bits(clean + sigma * noise / noise.std())
                with without_kurtosis():
                    before = appraising.appraise(image, 255)
                wrong += appraising.appraise(image, 255) != before
                number += 1
    return wrong, number


def main() -> int:
    """Prints the table, and writes it into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--page', type=Path, help='Markdown page: its table is replaced')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    text = markdown_table(HEAD, list(rows()))
    wrong, number = mistaken()
    text += (
        f'\n\nOf {number} pictures of spheres, grains, pores, fibres and patterns whose noise was '
    )
    text += f'smoothed in all directions, {wrong} passed for texture.'
    print(text)
    if args.page:
        replace_part(args.page, 'noise among texture', text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
