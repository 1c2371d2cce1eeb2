"""What tiles of the general network compute, and how far they have to overlap.

    python benchmarks/restore_overlap.py --data DATA

Two tables. Multiplications of an image in tiles, of those of the image at once, where a tile is
restored as a whole and where it is restored as far as it has weight; they are counted, not run. And
the largest difference between four tiles and the whole image in grey levels of 8 bits, in float32,
where neighbours share so many pixels: discs, a phantom and, with --data, quick scans of DATA/low.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mmclarity.restoration.general import GeneralUNet, appraise, load_general, weights
from mmclarity.restoration.general.appraisal import Appraisal
from mmclarity.restoration.inference.planning import GENERAL_OVERLAP
from mmclarity.restoration.inference.tiling import restore_tiled, tile_weights
from mmclarity.restoration.io import read_sem
from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
from mmclarity.utils.tables import markdown_table

SIDE, ALIGN = 800, 16
OVERLAPS = (128, 144, 160)
CUTS = ((1024, 512), (2048, 1024), (3000, 2048), (4096, 1024), (4096, 2048), (8192, 2048))
SCANS = ('001', '014', '027', '040')


def multiplications(net: GeneralUNet, shape: tuple[int, int], spare: tuple[int, ...]) -> int:
    """Of one tile, counted on tensors without values."""
    like = Appraisal(0.0, 0.01, 0.0, 0.0, 0.0, 1.0)
    tile = torch.empty(1, 1, *shape, device='meta')
    # its filter is a thousandth, and torch has no autocast without values
    with (
        mock.patch.object(weights, 'agreement', lambda first, second: first),
        FlopCounterMode(display=False) as counter,
        torch.inference_mode(),
    ):
        weights.restore_general(net, tile, like, spare=spare)
    return counter.get_total_flops()


def shares() -> Iterator[list[str]]:
    """One row for each of :data:`CUTS`."""
    net = GeneralUNet().eval().to('meta')
    for side, tile in CUTS:
        cut = tile_weights(side, tile, GENERAL_OVERLAP, ALIGN)
        tiles = [(row, column) for row in cut for column in cut]
        shapes = [(r.stop - r.start, c.stop - c.start) for r, c in tiles]
        whole = multiplications(net, (side, side), (0, 0, 0, 0))
        full = sum(multiplications(net, shape, (0, 0, 0, 0)) for shape in shapes)
        part = sum(
            multiplications(net, shape, (*r.spare, *c.spare))
            for shape, (r, c) in zip(shapes, tiles)
        )
        yield [str(side), str(tile), f'{full / whole:.2f}', f'{part / whole:.2f}']


def pictures(data: Path | None) -> Iterator[tuple[str, np.ndarray, Appraisal]]:
    """Names, levels and what they are like."""
    random = np.random.default_rng(11)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    discs = ((rows % 90 - 45) ** 2 + (columns % 70 - 35) ** 2 < 24**2) * 0.6 + 0.2
    for sigma in (0.02, 0.1, 0.2, 0.3, 0.5):
        noisy = discs + sigma * random.standard_normal(discs.shape)
        yield 'discs', noisy.astype(np.float32), Appraisal(0.0, sigma**2, 0.0, 0.0, 0.0, 1.0)
    phantom = 0.1 + 0.8 * make_phantom(PhantomSettings(SIDE, median_radius=7), 3).image
    for sigma in (0.1, 0.3, 0.5):
        noisy = (phantom + sigma * random.standard_normal(phantom.shape)).astype(np.float32)
        yield 'phantom', noisy, appraise(noisy)
    for name in SCANS if data else ():
        scan = read_sem(data / 'low' / f'{name}.tif').image
        yield f'quick scan {name}', (scan / 255).astype(np.float32), appraise(scan, 255.0)


def differences(name: str, levels: np.ndarray, like: Appraisal) -> list[str]:
    """One row: a picture at each of :data:`OVERLAPS`."""
    net = load_general()

    def function(batch: Tensor, spare: tuple[int, ...] = (0, 0, 0, 0)) -> Tensor:
        with torch.inference_mode():
            return weights.restore_general(net, batch, like, spare=spare)

    whole = restore_tiled(function, levels, tile=max(levels.shape), align=ALIGN)
    found = [name, f'{100 * like.sigma:.0f} %']
    for overlap in OVERLAPS:
        tile = -(-(max(levels.shape) - overlap) // (2 * ALIGN)) * ALIGN
        cut = dict(tile=tile, overlap=overlap, align=ALIGN, trims=True)
        tiled = restore_tiled(function, levels, **cut)
        found.append(f'{255 * np.abs(tiled - whole).max():.2f}')
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, help='folder of the pairs')
    args = parser.parse_args()
    head = ['image', 'tiles', 'read and restored', 'restored where it is used']
    print(markdown_table(head, list(shares())))
    rows = []
    for picture in pictures(args.data):
        rows.append(differences(*picture))
        print(*rows[-1], flush=True)
    print(markdown_table(['picture', 'noise', *map(str, OVERLAPS)], rows))


if __name__ == '__main__':
    main()
