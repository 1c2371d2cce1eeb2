"""Synthetic road-like scenes in which most objects cannot be named alone.

A controlled test of context: each scene holds one or two groups of objects of one class each. In a
group at least one object is clear, the others are degraded until their own pixels no longer tell
the class. A detector that lets its proposals look at each other can name them, one that does not
cannot. The objects are plates with real handwriting (scikit-learn's 8x8 digits, UCI Optical
Recognition of Handwritten Digits); digit k stands for class k of BDD100K's ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from mmclarity.utils.road_classes import ROAD_CLASSES

WIDTH, HEIGHT = 320, 192
CLASSES = ROAD_CLASSES
# What degrades a scene, with the weather and time of day it is recorded under.
CONDITIONS = {
    'fog': ('foggy', 'daytime'),
    'rain': ('rainy', 'daytime'),
    'snow': ('snowy', 'daytime'),
    'darkness': ('clear', 'night'),
    'blur': ('overcast', 'dawn/dusk'),
}
SPLITS = ('train', 'val')
# Handwriting of the two splits: no sample serves both.
TRAIN_FRACTION = 0.7
# Objects are at least this far apart (pixels), so that no crop holds a neighbour's ink.
GAP = 3


@dataclass
class Placed:
    """One object: its class, box (x, y, w, h in whole pixels) and whether it is degraded."""

    label: int
    x: int
    y: int
    w: int
    h: int
    degraded: bool


@lru_cache(maxsize=1)
def handwriting() -> dict[str, list[np.ndarray]]:
    """Digits in [0, 1], shape (n, 8, 8), by split and class; the same disjoint split always."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)
    order = np.random.default_rng(20).permutation(len(images))
    cut = int(TRAIN_FRACTION * len(images))
    parts = dict(train=order[:cut], val=order[cut:])
    return {
        split: [images[index[digits.target[index] == k]] for k in range(10)]
        for split, index in parts.items()
    }


def render_ink(digit: np.ndarray, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Ink coverage (height, width) in [0, 1], slightly turned and sheared, filling the middle."""
    angle, shear = np.deg2rad(rng.uniform(-10, 10)), rng.uniform(-0.15, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, 0], [shear, 1]]) @ np.diag([10.5 / height, 10.5 / width])
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    ink = ndimage.affine_transform(
        digit,
        matrix,
        np.array([3.5, 3.5]) - matrix @ centre,
        output_shape=(height, width),
        order=3,
        mode='constant',
    )
    # The bicubic surface of 8x8 samples has no edges; this gives the stroke some.
    return np.clip((ink - 0.25) / 0.4, 0, 1)


def road(rng: np.random.Generator) -> np.ndarray:
    """An empty scene (HEIGHT, WIDTH, 3) in [0, 1]: sky, houses, verge, road and lane lines."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    horizon = rng.uniform(0.28, 0.42) * HEIGHT
    sky = np.array([0.62, 0.70, 0.80]) * rng.uniform(0.75, 1.1)
    verge = np.array([0.33, 0.38, 0.27]) * rng.uniform(0.7, 1.2)
    tar = np.full(3, rng.uniform(0.28, 0.42))
    depth = np.clip((y - horizon) / (HEIGHT - horizon), 0, 1)
    sky = sky * (0.85 + 0.25 * (y / horizon))[..., None]
    image = np.where((y < horizon)[..., None], sky, verge)
    for _ in range(rng.integers(4, 9)):
        left, width = rng.uniform(-20, WIDTH), rng.uniform(15, 60)
        top = horizon - rng.uniform(8, 45)
        house = (x > left) & (x < left + width) & (y > top) & (y < horizon)
        image[house] = rng.uniform(0.25, 0.7) * np.array([1, *rng.uniform(0.85, 1.0, 2)])
    middle = WIDTH * rng.uniform(0.35, 0.65)
    across = (x - middle) / (18 + depth * WIDTH * 0.55)
    image[(np.abs(across) < 1) & (y > horizon)] = tar
    for line in (-0.95, 0.0, 0.95):
        dashed = (line != 0) | (np.sin(9 * np.log(depth + 0.08)) > 0)
        image[(np.abs(across - line) < 0.015) & dashed & (y > horizon)] = 0.75
    texture = ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), 1.2)
    return np.clip(image + 0.06 * texture[..., None], 0, 1).astype(np.float32)


def place(rng: np.random.Generator, num_groups: int) -> list[Placed]:
    """Boxes of all objects: groups keep to their own side, and boxes apart."""
    labels = rng.choice(len(CLASSES), num_groups, replace=False)
    edges = [0, WIDTH] if num_groups == 1 else [0, int(WIDTH * rng.uniform(0.44, 0.56)), WIDTH]
    placed: list[Placed] = []
    for group, label in enumerate(labels):
        count = rng.integers(5, 9) if num_groups == 1 else rng.integers(3, 6)
        num_clear = 1 if count < 5 else rng.integers(1, 3)
        members: list[Placed] = []
        for _ in range(400):
            if len(members) == count:
                break
            h = int(np.exp(rng.uniform(np.log(22), np.log(52))))
            w = int(np.clip(h * rng.uniform(0.75, 1.25), 18, 56))
            x = int(rng.integers(edges[group] + 2, edges[group + 1] - w - 1))
            y = int(rng.integers(20, HEIGHT - h - 2))
            box = Placed(int(label), x, y, w, h, degraded=bool(len(members) >= num_clear))
            if not any(_too_close(box, other) for other in placed + members):
                members.append(box)
        placed += members
    return placed


def _too_close(a: Placed, b: Placed) -> bool:
    return (
        a.x < b.x + b.w + GAP
        and b.x < a.x + a.w + GAP
        and a.y < b.y + b.h + GAP
        and b.y < a.y + a.h + GAP
    )


def paint(
    image: np.ndarray, box: Placed, digit: np.ndarray, condition: str, rng: np.random.Generator
) -> None:
    """Draw one object into the scene, in place."""
    window = image[box.y : box.y + box.h, box.x : box.x + box.w]
    y, x = np.mgrid[0 : box.h, 0 : box.w]
    # A super-ellipse that touches all four sides: the box is tight by construction.
    radius = (
        np.abs((x - (box.w - 1) / 2) / (box.w / 2)) ** 5
        + np.abs((y - (box.h - 1) / 2) / (box.h / 2)) ** 5
    )
    plate = np.clip(4 * (1.15 - radius), 0, 1)[..., None]
    colour = rng.uniform(0.55, 1.0, 3)
    ink = render_ink(digit, box.w, box.h, rng)
    dark = rng.uniform(0.0, 0.25, 3)
    if box.degraded:
        # The stroke melts into its plate; what the weather does to the rest comes after.
        size = np.sqrt(box.w * box.h)
        ink = ndimage.gaussian_filter(ink, rng.uniform(0.19, 0.24) * size) * rng.uniform(0.35, 0.6)
    face = colour * (1 - ink[..., None]) + dark * ink[..., None]
    window[:] = window * (1 - plate) + face * plate
    if box.degraded:
        window[:] = window * (1 - plate) + degrade(window, condition, rng) * plate


def degrade(window: np.ndarray, condition: str, rng: np.random.Generator) -> np.ndarray:
    """The weather over one object: (h, w, 3) in [0, 1] to the same."""
    h, w = window.shape[:2]
    noise = rng.standard_normal((h, w, 1))
    if condition == 'fog':
        veil = rng.uniform(0.45, 0.6)
        return np.clip(window * (1 - veil) + 0.8 * veil + 0.03 * noise, 0, 1)
    if condition == 'rain':
        streaks = (rng.random((h, w)) > 0.93).astype(np.float32)
        streaks = ndimage.uniform_filter1d(streaks, max(3, h // 4), axis=0) * h / 8
        streaks = np.clip(streaks, 0, 1)[..., None]
        return np.clip(0.85 * window + 0.35 * streaks + 0.03 * noise, 0, 1)
    if condition == 'snow':
        flakes = ndimage.gaussian_filter((rng.random((h, w)) > 0.93).astype(np.float32), 0.8)
        flakes = np.clip(5 * flakes, 0, 1)[..., None]
        return np.clip(window * (1 - flakes) + 0.95 * flakes, 0, 1)
    if condition == 'darkness':
        return np.clip(rng.uniform(0.25, 0.4) * window + 0.05 * noise, 0, 1)
    if condition == 'blur':
        sigma = (0.04 * h, 0.08 * w, 0)
        return np.clip(ndimage.gaussian_filter(window, sigma) + 0.02 * noise, 0, 1)
    raise ValueError(f'unknown condition {condition!r}; one of {", ".join(CONDITIONS)}')


def tint(image: np.ndarray, condition: str) -> np.ndarray:
    """What the condition does to the empty scene."""
    if condition == 'fog':
        y = np.linspace(0.5, 0.2, HEIGHT)[:, None, None]
        return image * (1 - y) + 0.8 * y
    scale = dict(rain=0.8, snow=1.1, darkness=0.3, blur=0.7)[condition]
    return np.clip(image * scale, 0, 1)


def make_scene(split: str, index: int, seed: int, two_groups: float) -> tuple[Image.Image, dict]:
    """One scene and its Scalabel frame; the same for the same arguments.

    Args:
        split: 'train' or 'val': whose handwriting to use.
        index: Number of the scene in its split.
        seed: Seed of the data set, >= 0.
        two_groups: Share of scenes with two groups, in [0, 1].

    Returns:
        RGB image of 320 x 192 pixels, and a det_20 frame whose labels carry ``degraded``
        among their attributes, with both corners inside the object (width = x2 - x1 + 1).
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    condition = str(rng.choice(list(CONDITIONS)))
    num_groups = 2 if rng.random() < two_groups else 1
    image = tint(road(rng), condition)
    name, labels = f'{split}-{index:05d}', []
    for i, box in enumerate(place(rng, num_groups)):
        samples = handwriting()[split][box.label]
        paint(image, box, samples[rng.integers(len(samples))], condition, rng)
        labels.append(
            dict(
                id=f'{name}-{i}',
                category=CLASSES[box.label],
                attributes=dict(occluded=False, truncated=False, degraded=box.degraded),
                box2d=dict(
                    x1=float(box.x),
                    y1=float(box.y),
                    x2=float(box.x + box.w - 1),
                    y2=float(box.y + box.h - 1),
                ),
            )
        )
    weather, timeofday = CONDITIONS[condition]
    scene = 'one group' if num_groups == 1 else 'two groups'
    frame = dict(
        name=f'{name}.jpg',
        timestamp=0,
        labels=labels,
        attributes=dict(weather=weather, timeofday=timeofday, scene=scene),
    )
    return Image.fromarray((image * 255).round().astype(np.uint8)), frame
