"""Can the objects of the embedded data set be named, or found, from their own pixels?

    python tools/analysis_tools/murky_crop_classifier.py data/murky

Trains support vector machines on crops of the training scenes and asks them about crops of the
validation scenes, whose handwriting they have not seen. The first names the ten classes: it should
name the clear objects and fail on the degraded ones, or the data set would test no use of context.
The second tells objects from background: it should find the degraded ones too, or nothing could
detect them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.svm import SVC

# Side of a crop in pixels, after resizing.
NAME_SIZE, FIND_SIZE = 24, 12
# What the finder sees around a box, as a share of its size: the edge of an object.
MARGIN = 0.25


@dataclass
class Crops:
    """Crops of a split, in order of its objects.

    Attributes:
        pixels: Grey values without mean and contrast, (n, NAME_SIZE**2).
        classes: Names, (n, ).
        degraded: Whether degraded, (n, ).
        weather: Weather and time of day of the scene, (n, ).
        objects: Boxes with margin, RGB in [0, 1], (n, FIND_SIZE**2 * 3).
        background: As ``objects``, of places without an object, (m, FIND_SIZE**2 * 3).
    """

    pixels: np.ndarray
    classes: np.ndarray
    degraded: np.ndarray
    weather: np.ndarray
    objects: np.ndarray
    background: np.ndarray


@dataclass
class Report:
    """Shares in [0, 1] of validation crops that are judged correctly."""

    named_clear: float
    named_degraded: float
    found_clear: float
    found_degraded: float
    background_left: float
    named_by_weather: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f'named    clear {self.named_clear:.1%}    degraded {self.named_degraded:.1%}',
            f'found    clear {self.found_clear:.1%}    degraded {self.found_degraded:.1%}'
            f'    background told apart {self.background_left:.1%}',
        ]
        lines += [
            f'  degraded, {weather}: named {share:.1%}'
            for weather, share in sorted(self.named_by_weather.items())
        ]
        return '\n'.join(lines)


def crop(image: Image.Image, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Box (x1, y1, x2, y2; x2, y2 outside) resized to (size, size, 3), in [0, 1]."""
    part = image.crop(tuple(int(round(v)) for v in box))
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255


def corners(label: dict) -> tuple[float, float, float, float]:
    """Box of a Scalabel label as x1, y1, x2, y2 with x2 = x1 + width."""
    box = label['box2d']
    return box['x1'], box['y1'], box['x2'] + 1, box['y2'] + 1


def widen(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Box with margin on all sides."""
    dx, dy = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


def empty_places(
    boxes: Sequence[tuple], size: tuple[int, int], rng: np.random.Generator
) -> list[tuple]:
    """As many boxes of the same sizes, where no object is; fewer where there is no room."""
    places = []
    for x1, y1, x2, y2 in boxes:
        width, height = x2 - x1, y2 - y1
        for _ in range(20):
            x, y = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
            if all(
                x >= b[2] or x + width <= b[0] or y >= b[3] or y + height <= b[1] for b in boxes
            ):
                places.append((x, y, x + width, y + height))
                break
    return places


def read_crops(root: Path, split: str, seed: int = 0) -> Crops:
    """Crops of all objects, and as many of background, of one split.

    Raises:
        SystemExit: If there is no such data set.
    """
    path = root / 'labels' / 'det_20' / f'det_{split}.json'
    if not path.is_file():
        raise SystemExit(
            f'{path} is missing; make the data set with '
            f'`python tools/dataset_generators/make_murky.py {root}`'
        )
    rng = np.random.default_rng(seed)
    pixels, classes, degraded, weather, objects, background = [], [], [], [], [], []
    for frame in json.loads(path.read_text(encoding='utf-8')):
        image = Image.open(root / 'images' / '100k' / split / frame['name']).convert('RGB')
        boxes = [corners(label) for label in frame['labels']]
        for label, box in zip(frame['labels'], boxes):
            grey = crop(image, box, NAME_SIZE).mean(axis=-1)
            pixels.append(((grey - grey.mean()) / (grey.std() + 1e-3)).ravel())
            objects.append(crop(image, widen(box), FIND_SIZE).ravel())
            classes.append(label['category'])
            degraded.append(label['attributes']['degraded'])
            weather.append('{weather}, {timeofday}'.format(**frame['attributes']))
        background += [
            crop(image, widen(box), FIND_SIZE).ravel()
            for box in empty_places(boxes, image.size, rng)
        ]
    return Crops(*(np.array(x) for x in (pixels, classes, degraded, weather, objects, background)))


def classify(root: Path, seed: int = 0) -> Report:
    """Trains on the training scenes, judges the validation scenes.

    Args:
        root: A data set made by ``make_murky.py``.
        seed: Chooses the background crops.
    """
    train, val = (read_crops(root, split, seed) for split in ('train', 'val'))
    right = SVC(C=10).fit(train.pixels, train.classes).predict(val.pixels) == val.classes
    finder = SVC(C=10).fit(
        np.concatenate([train.objects, train.background]),
        np.repeat([True, False], [len(train.objects), len(train.background)]),
    )
    found = finder.predict(val.objects)
    clear = ~val.degraded
    return Report(
        named_clear=right[clear].mean(),
        named_degraded=right[val.degraded].mean(),
        found_clear=found[clear].mean(),
        found_degraded=found[val.degraded].mean(),
        background_left=1 - finder.predict(val.background).mean(),
        named_by_weather={
            weather: right[val.degraded & (val.weather == weather)].mean()
            for weather in np.unique(val.weather[val.degraded])
        },
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='data set made by make_murky.py')
    parser.add_argument('--seed', type=int, default=0, help='chooses the background crops')
    args = parser.parse_args(argv)
    print(classify(args.root, args.seed))


if __name__ == '__main__':
    main()
