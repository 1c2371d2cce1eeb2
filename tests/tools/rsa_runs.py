"""Runs of tools/rsa.py on a few pictures and a small network."""

import csv

import numpy as np
from PIL import Image

from mmclarity.cli import rsa

COUNT = 18


def make_pictures(folder):
    """Pictures im0.png to im17.png, and a network, nets.py:net."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir()
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / 'images' / f'im{i}.png')
    (folder / 'nets.py').write_text(
        'from torch import nn\n'
        'def net():\n'
        '    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))\n'
    )


def run(folder, *more):
    return rsa.main(
        [
            *('--model', f'{folder}/nets.py:net', '--stimuli', f'{folder}/images'),
            *('--size', '32', '--bootstraps', '8', '--permutations', '50'),
            *('--overwrite', '--out', f'{folder}/out', *map(str, more)),
        ]
    )


def rows(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))
