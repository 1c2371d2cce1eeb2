"""Crops of real surface photographs that scikit-image ships, and a model V1's answer to them.

Eight surfaces, by name: brick, grass, gravel, coins, moon (lunar soil), paper (printed), tissue
(stained), sky (stars). The published experiment used stone, bark, leaf, flower, fruit, butterfly
wing, feather and skin; those photographs are not public.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mmclarity.rsa.models.gabor import GaborV1
from mmclarity.utils.files import replacing, write_text
from mmclarity.utils.images import save_picture
from mmclarity.utils.tables import write_csv

SURFACES: dict[str, str] = dict(
    brick='brick',
    coins='coins',
    grass='grass',
    gravel='gravel',
    moon='moon',
    paper='page',
    sky='hubble_deep_field',
    tissue='immunohistochemistry',
)
SIZE = 64
# Columns of each photograph, as parts of its width: no pixel serves two purposes.
PARTS = dict(train=(0.0, 0.58), val=(0.58, 0.78), stimuli=(0.78, 1.0))
MANIFEST = 'made.json'


def photograph(surface: str) -> np.ndarray:
    """Grey levels (H, W) of one surface, 8-bit.

    Its contrast is stretched to the 1st and 99th percentile.
    """
    from skimage import color, data

    image = getattr(data, SURFACES[surface])()
    grey = color.rgb2gray(image[..., :3]) if image.ndim == 3 else image / 255.0
    low, high = np.percentile(grey, [1, 99])
    return (255 * np.clip((grey - low) / (high - low), 0, 1)).round().astype(np.uint8)


def crops(
    surface: str, part: str, count: int, rng: np.random.Generator, turn: bool = True
) -> list[np.ndarray]:
    """Random squares (64, 64) out of one part of a photograph; halves mirrored.

    Every crop gets its own contrast and brightness, so that neither tells the surface.
    """
    image = photograph(surface)
    first, last = (round(share * image.shape[1]) for share in PARTS[part])
    region = image[:, first:last]
    found = []
    for _ in range(count):
        y = int(rng.integers(0, region.shape[0] - SIZE + 1))
        x = int(rng.integers(0, region.shape[1] - SIZE + 1))
        crop = region[y : y + SIZE, x : x + SIZE].astype(np.float64)
        if turn and rng.random() < 0.5:
            crop = crop[:, ::-1]
        spread = max(crop.std(), 1.0)
        crop = (crop - crop.mean()) / spread * rng.uniform(35, 55) + rng.uniform(100, 140)
        found.append(np.clip(crop, 0, 255).round().astype(np.uint8))
    return found


def make_surfaces(
    out: Path,
    train: int = 200,
    val: int = 25,
    stimuli: int = 8,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Write ``train/SURFACE/*.png``, ``val/SURFACE/*.png``, ``stimuli/*.png`` and ``v1.npz``.

    ``stimuli/manifest.csv`` has an id and a file a line; ``v1.npz`` the responses of the simple
    and complex cells of :class:`GaborV1` to the stimuli, (n, units), and their ids.

    Args:
        out: Folder; what is in it is overwritten.
        train: Crops a surface to train on. Defaults to 200.
        val: Crops a surface to validate with. Defaults to 25.
        stimuli: Stimuli a surface. Defaults to 8: 64 in all, as in the published work.
        seed: Defaults to 0.
        progress: Called with the name of each finished surface.
    """
    rng = np.random.default_rng(seed)
    counts = dict(train=train, val=val)
    shown: dict[str, np.ndarray] = {}
    for surface in SURFACES:
        for part, count in counts.items():
            folder = out / part / surface
            folder.mkdir(parents=True, exist_ok=True)
            for i, crop in enumerate(crops(surface, part, count, rng)):
                save_picture(Image.fromarray(crop), folder / f'{i:04d}.png')
        for i, crop in enumerate(crops(surface, 'stimuli', stimuli, rng)):
            shown[f'{surface}_{i}'] = crop
        progress(surface)
    folder = out / 'stimuli'
    folder.mkdir(parents=True, exist_ok=True)
    for stimulus, crop in shown.items():
        save_picture(Image.fromarray(crop), folder / f'{stimulus}.png')
    write_csv(folder / 'manifest.csv', ['id', 'file'], [[name, f'{name}.png'] for name in shown])
    responses = v1_responses(np.stack(list(shown.values())))
    with replacing(out / 'v1.npz') as part, part.open('wb') as file:
        np.savez_compressed(file, ids=np.array(list(shown)), **responses)
    # Last, so that it stands for a complete data set.
    settings = dict(train=train, val=val, stimuli=stimuli, seed=seed)
    write_text(out / MANIFEST, json.dumps(settings))


def v1_responses(images: np.ndarray) -> dict[str, np.ndarray]:
    """``simple`` and ``complex`` (n, units), float32, of 8-bit grey images (n, H, W)."""
    model, found = GaborV1(), {}
    handles = [
        getattr(model, name).register_forward_hook(
            lambda module, args, output, name=name: found.__setitem__(
                name, output.flatten(1).numpy()
            )
        )
        for name in ('simple', 'complex')
    ]
    with torch.no_grad():
        model(torch.from_numpy(images)[:, None].float() / 255)
    for handle in handles:
        handle.remove()
    return found
