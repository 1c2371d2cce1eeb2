"""The general network on pictures unlike its training, and beside plain filters.

    python benchmarks/restore_strange.py --results NOW.json
    python benchmarks/restore_strange.py --results NOW.json --former THEN.json \\
        --page docs/benchmarks/restoration_unlike.md

Photographs (of scikit-image), fine patterns, small print, sharp edges, clean pictures, enlarged and
JPEG-coded noise, scans from top to bottom, single electrons, single white pixels, pictures of
nothing: noise is added here, so that the truth is known; stored in 8 bits. With ``--former`` the
table has columns of what an earlier state of the package gave (run this file there with
``--results``).
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter, median_filter
from skimage import data
from skimage.restoration import denoise_nl_means

from mmclarity.restoration import Restorer
from mmclarity.restoration.evaluation.fabrication import count_fabrications
from mmclarity.restoration.general.appraising import appraise
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from mmclarity.utils.json_files import write_json
from mmclarity.utils.tables import markdown_table, replace_part

SIDE = 256
SEED = 5
PHOTOGRAPHS = ('camera', 'coins', 'page', 'text', 'brick', 'grass', 'gravel', 'moon')
HEAD = ['picture', 'noise, %', 'said, %', 'raw', 'median 3 x 3', 'non-local means', 'before', 'now']
HEAD += ['fabricated, before', 'now', 'missed, before', 'now', 'brightness, %', 'warned']
WORDS = {
    'fine structure for noise': 'structure put back',
    'lines share': 'lines share',
    'training went': 'smeared far',
    'nothing is seen': 'nothing seen',
    'far off their neighbours': 'single pixels',
    'flickers': 'flicker',
    'hardly any noise': 'hardly any',
    'most of training': 'strong',
}

Pictures = Iterator[tuple[str, np.ndarray, np.ndarray]]


def smeared(clean: np.ndarray, sigma: float, axis: int = 1) -> np.ndarray:
    """Noise whose neighbours share 0.67 along an axis."""
    white = np.random.default_rng(SEED).standard_normal(clean.shape)
    noise = convolve1d(white, [1, 2, 1], axis=axis, mode='wrap')
    return clean + sigma * noise / noise.std()


def white(clean: np.ndarray, sigma: float) -> np.ndarray:
    """Independent noise."""
    return clean + sigma * np.random.default_rng(SEED).standard_normal(clean.shape)


def grating(period: float, angle: float = 0.0) -> np.ndarray:
    """Lines of half the period, at 0.2 and 0.8."""
    place = np.arange(4 * SIDE) / 4
    along = place[:, None] * np.sin(angle) + place * np.cos(angle)
    lines = np.where(along / period % 1 < 0.5, 0.8, 0.2)
    return gaussian_filter(cv2.resize(lines, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 0.5)


def lattice(period: float) -> np.ndarray:
    """Three waves, as of columns of atoms."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = (columns, columns / 2 + rows * 0.866, rows * 0.866 - columns / 2)
    return 0.5 + 0.12 * sum(np.cos(2 * np.pi * wave / period) for wave in waves)


def small_print() -> np.ndarray:
    """Letters of four to twelve pixels."""
    picture = np.full((2 * SIDE, 2 * SIDE), 51, np.uint8)
    for line in range(10):
        size = 0.5 + 0.1 * line
        cv2.putText(picture, 'SEM 12.5kV 0.2um', (4, 40 + 50 * line), 0, size, 204, 1 + line // 3)
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return gaussian_filter(small / 255, 0.5)


def cracks() -> np.ndarray:
    """Dark lines of one to two pixels on even grey."""
    rng, picture = np.random.default_rng(0), np.full((4 * SIDE, 4 * SIDE), 153, np.uint8)
    for _ in range(12):
        at, angle, points = rng.uniform(0, 4 * SIDE, 2), rng.uniform(0, 2 * np.pi), []
        for _ in range(40):
            angle += 0.5 * rng.standard_normal()
            at = at + 20 * np.array([np.cos(angle), np.sin(angle)])
            points.append(at)
        cv2.polylines(picture, [np.int32(points)], False, 38, int(rng.uniform(3, 9)))
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return gaussian_filter(small / 255, 0.6)


def wires() -> np.ndarray:
    """Bright lines of one to three pixels across one another."""
    rng, picture = np.random.default_rng(0), np.full((4 * SIDE, 4 * SIDE), 64, np.uint8)
    for _ in range(40):
        ends = rng.integers(0, 4 * SIDE, 4).tolist()
        cv2.line(picture, ends[:2], ends[2:], int(rng.uniform(128, 230)), int(rng.uniform(4, 13)))
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return gaussian_filter(small / 255, 0.4)


def texture(width: float = 1.0) -> np.ndarray:
    """Random grain, a Gaussian of ``width`` pixels wide, all over."""
    grain = gaussian_filter(np.random.default_rng(4).standard_normal((SIDE, SIDE)), width)
    return 0.5 + 0.12 * grain / grain.std()


def rectangles() -> np.ndarray:
    """A few of them, with edges of one pixel."""
    rng, picture = np.random.default_rng(7), np.full((SIDE, SIDE), 60, np.uint8)
    for _ in range(12):
        left, top, wide, high = rng.integers((0, 0, 10, 5), (SIDE, SIDE, 90, 60)).tolist()
        picture[top : top + high, left : left + wide] = rng.integers(80, 230)
    return picture / 255


def pores() -> np.ndarray:
    """Dark round ones of one to four pixels' radius, with edges of one pixel."""
    rng, picture = np.random.default_rng(8), np.full((SIDE, SIDE), 170, np.uint8)
    for _ in range(200):
        centre, radius = rng.integers(0, SIDE, 2).tolist(), int(rng.integers(1, 5))
        cv2.circle(picture, centre, radius, int(rng.integers(20, 90)), -1)
    return picture / 255


def photographs() -> Pictures:
    """Nothing of a microscope, but textures and edges of all kinds."""
    for name in PHOTOGRAPHS:
        clean = getattr(data, name)()[:SIDE, :SIDE] / 255
        for percent in (2, 5):
            yield f'photograph, {name}, {percent} %', clean, white(clean, percent / 100)


def patterns() -> Pictures:
    """What the picture shows is strange."""
    for period in (3, 4, 6, 10, 20):
        for name, angle in (('upright', 0.0), ('lying', np.pi / 2)):
            clean = grating(period, angle)
            yield f'{name} lines of period {period}', clean, smeared(clean, 0.05)
    for name, clean in (
        ('lattice of period 5', lattice(5)),
        ('lattice of period 8', lattice(8)),
        ('small print', small_print()),
        ('cracks', cracks()),
        ('wires', wires()),
        ('fine grain', texture()),
    ):
        yield name, clean, smeared(clean, 0.05)
        yield f'{name}, clean', clean, clean
    yield 'small print, independent noise', small_print(), white(small_print(), 0.05)
    yield 'wires, independent noise', wires(), white(wires(), 0.05)
    for name, clean in (('rectangles', rectangles()), ('pores', pores())):
        for percent in (2, 5):
            yield f'{name}, independent noise, {percent} %', clean, white(clean, percent / 100)
    yield 'lying lines of period 4, clean', grating(4, np.pi / 2), grating(4, np.pi / 2)


def noises(clean: np.ndarray) -> Pictures:
    """Spheres, and the noise is strange."""
    rng = np.random.default_rng(SEED)
    yield 'spheres, smeared upright', clean, smeared(clean, 0.05, 0)
    yield 'spheres, the same, more', clean, smeared(clean, 0.1, 0)
    yield 'spheres, smeared in all directions', clean, clean + texture() / 2 - 0.25
    half = cv2.resize(clean, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    whole, noisy = (cv2.resize(x, (SIDE, SIDE), None, 0, 0, 2) for x in (half, white(half, 0.08)))
    yield 'spheres, enlarged twice', whole, noisy
    for quality in (20, 50, 85):
        noisy = np.rint(255 * smeared(clean, 0.05).clip(0, 1)).astype(np.uint8)
        coded = cv2.imencode('.jpg', noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        yield f'spheres, JPEG of quality {quality}', clean, cv2.imdecode(coded, 0) / 255
    for counts in (1, 4, 16):
        yield f'spheres, {counts} electrons at white', clean, rng.poisson(counts * clean) / counts
    hit = rng.random(clean.shape) < 0.05
    yield 'spheres, 5 % white pixels', clean, np.where(hit, 1.0, clean)
    flicker = 0.06 * rng.standard_normal((SIDE, 1))
    yield 'spheres, flickering lines', clean, smeared(clean, 0.05) + flicker
    sigma = 0.02 * (1 + 6 * np.arange(SIDE) / SIDE)
    yield 'spheres, noise from left to right', clean, clean + white(0 * clean, 1.0) * sigma
    yield 'spheres, clean', clean, clean
    even = np.full_like(clean, 0.5)
    yield 'nothing', even, white(even, 0.05)
    yield 'nothing, smeared', even, smeared(even, 0.05)


def judged(restorer: Restorer, clean: np.ndarray, levels: np.ndarray) -> dict:
    """What one picture gives; PSNR in dB, of the contrast (at least a twentieth of white)."""
    image = np.rint(255 * levels.clip(0, 1)).astype(np.uint8)
    noisy = image / 255
    low, high = np.quantile(clean, (0.001, 0.999))
    contrast = max(high - low, 0.05)
    sigma = max(float((noisy - clean).std()), 1e-3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        restored = restorer(image)
    said = ' '.join(str(one.message) for one in said)
    patches = dict(patch_size=5, patch_distance=6, fast_mode=True)
    others = [
        noisy,
        median_filter(noisy, 3),
        denoise_nl_means(noisy, h=0.8 * sigma, sigma=sigma, **patches),
        restored,
    ]
    counts = count_fabrications((restored - low) / contrast, (clean - low) / contrast)
    like = appraise(image, 255)
    return dict(
        noise=100 * sigma / contrast,
        said=100 * like.sigma * (like.high - like.low) / contrast,
        psnr=[-10 * np.log10(np.mean(((x - clean) / contrast) ** 2) + 1e-10) for x in others],
        fabricated=float(np.mean([one['fabricated'] for one in counts])),
        missed=float(np.mean([one['missed'] for one in counts])),
        shift=100 * float(restored.mean() - noisy.mean()) / contrast,
        warned=', '.join(word for key, word in WORDS.items() if key in said),
    )


def table(rows: dict[str, dict], former: dict[str, dict]) -> str:
    """Markdown."""
    cells = []
    for name, row in rows.items():
        then = former.get(name)
        psnr = [f'{value:.1f}' for value in row['psnr']]
        before = [f'{then["psnr"][-1]:.1f}'] if then else ['']
        pairs = [
            text
            for key in ('fabricated', 'missed')
            for text in (f'{then[key]:.1f}' if then else '', f'{row[key]:.1f}')
        ]
        noise = [f'{row[key]:.1f}' for key in ('noise', 'said')]
        end = [f'{row["shift"]:.1f}', row['warned']]
        cells.append([name, *noise, *psnr[:3], *before, psnr[3], *pairs, *end])
    return markdown_table(HEAD, cells)


def main() -> int:
    """Judges all pictures and writes what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--results', type=Path, help='JSON file to write')
    parser.add_argument('--former', type=Path, help='JSON file of an earlier state')
    parser.add_argument('--page', type=Path, help='Markdown page: its table is replaced')
    args = parser.parse_args()
    clean = 0.1 + 0.8 * make_phantom(PhantomSettings(SIDE, median_radius=6), 3).image
    rows = {}
    for make in (photographs(), patterns(), noises(np.asarray(clean, np.float64))):
        for name, truth, noisy in make:
            rows[name] = judged(Restorer(), truth, noisy)  # a new one warns anew
            print(name, rows[name], file=sys.stderr, flush=True)
    former = json.loads(args.former.read_text(encoding='utf-8')) if args.former else {}
    if args.results:
        write_json(args.results, rows)
    text = table(rows, former)
    print(text)
    if args.page:
        replace_part(args.page, 'strange', text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
