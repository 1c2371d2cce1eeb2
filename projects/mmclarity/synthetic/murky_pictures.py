"""Detections of ``tools/test.py`` painted beside the ground truth of the embedded scenes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmclarity.utils.images import save_picture

# Scenes are enlarged so that labels of objects of 20 pixels can be read.
ZOOM = 2
# A detection belongs to an object from this overlap (intersection over union) on.
MATCH = 0.5
# Detections below are not painted.
MIN_SCORE = 0.5
RIGHT, WRONG, CLEAR, DEGRADED = (60, 220, 90), (255, 70, 70), (255, 255, 255), (255, 190, 40)
LEGEND = (
    ('left: truth', None),
    ('clear object', CLEAR),
    ('degraded object', DEGRADED),
    ('right: detected', None),
    ('right name', RIGHT),
    ('wrong name or place', WRONG),
)


def read_scenes(root: Path, results: Path) -> list[dict]:
    """Validation scenes with their detections.

    Args:
        root: The data set.
        results: Pickle of ``tools/test.py --out``.

    Returns:
        Dicts with ``path``, ``frame`` (Scalabel), ``boxes`` (n, 4) as x1, y1, x2, y2 in pixels,
        ``scores`` (n, ) and ``names`` [n].

    Raises:
        ValueError: If the results are of other images.
    """
    # The pickle holds tensors: it can only be read where torch is.
    from mmclarity.detection.datasets.scalabel import CLASSES

    frames = json.loads((root / 'labels' / 'det_20' / 'det_val.json').read_text(encoding='utf-8'))
    frames = {frame['name']: frame for frame in frames}
    with open(results, 'rb') as file:
        samples = pickle.load(file)
    scenes = []
    for sample in samples:
        name = Path(sample['img_path']).name
        if name not in frames:
            raise ValueError(
                f'{results}: image {name} is not in {root}; give the results of a '
                'test on this data set'
            )
        found = sample['pred_instances']
        scenes.append(
            dict(
                path=root / 'images' / '100k' / 'val' / name,
                frame=frames[name],
                boxes=np.asarray(found['bboxes'], np.float64).reshape(-1, 4),
                scores=np.asarray(found['scores'], np.float64),
                names=[CLASSES[int(label)] for label in found['labels']],
            )
        )
    return scenes


def truth_boxes(frame: dict) -> np.ndarray:
    """Ground truth (n, 4) as x1, y1, x2, y2 with x2 = x1 + width."""
    boxes = [[label['box2d'][key] for key in ('x1', 'y1', 'x2', 'y2')] for label in frame['labels']]
    return np.array(boxes, np.float64).reshape(-1, 4) + [0, 0, 1, 1]


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    area = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=-1) for boxes in (a, b)]
    return common / np.maximum(area[0][:, None] + area[1][None] - common, 1e-9)


def judge(scene: dict, min_score: float = MIN_SCORE) -> list[tuple[int, bool]]:
    """Detections worth painting, best first, and whether each is right.

    An object is found once: a second detection of it is wrong, whatever its name.

    Returns:
        Pairs of a detection's number and whether it names an object it lies on.
    """
    frame = scene['frame']
    overlap = overlaps(scene['boxes'], truth_boxes(frame))
    free, judged = np.ones(len(frame['labels']), bool), []
    for i in np.argsort(-scene['scores'], kind='stable'):
        if scene['scores'][i] < min_score:
            break
        fitting = [
            j
            for j in np.argsort(-overlap[i], kind='stable')
            if overlap[i, j] >= MATCH
            and free[j]
            and frame['labels'][j]['category'] == scene['names'][i]
        ]
        if fitting:
            free[fitting[0]] = False
        judged.append((int(i), bool(fitting)))
    return judged


def font(size: int) -> ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size=size)


def draw_box(
    draw: ImageDraw.ImageDraw,
    box: Sequence[float],
    text: str,
    colour: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    """A box with its name above it, or below where there is no room; all inside the image."""
    x1, y1, x2, y2 = (ZOOM * float(v) for v in box)
    draw.rectangle((x1 - 1, y1 - 1, max(x2, x1), max(y2, y1)), outline=colour, width=2)
    face = font(12)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=face)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(x1 - 1, 0), size[0] - width)
    y = y1 - 1 - height if y1 - 1 >= height else min(y2 + 1, size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0), font=face)


def paint_scene(scene: dict) -> Image.Image:
    """One scene: ground truth on the left, detections on the right, a line of text above."""
    frame = scene['frame']
    image = Image.open(scene['path']).convert('RGB')
    image = image.resize((ZOOM * image.width, ZOOM * image.height), Image.Resampling.BICUBIC)
    left, right = image.copy(), image.copy()
    draw = ImageDraw.Draw(left)
    for label, box in zip(frame['labels'], truth_boxes(frame)):
        degraded = label['attributes']['degraded']
        draw_box(draw, box, label['category'], DEGRADED if degraded else CLEAR, image.size)
    draw, judged = ImageDraw.Draw(right), judge(scene)
    for i, good in reversed(judged):
        draw_box(
            draw,
            scene['boxes'][i],
            f'{scene["names"][i]} {scene["scores"][i]:.2f}',
            RIGHT if good else WRONG,
            image.size,
        )
    head = 24
    sheet = Image.new('RGB', (2 * image.width + 6, image.height + head), (25, 25, 25))
    sheet.paste(left, (0, head))
    sheet.paste(right, (image.width + 6, head))
    draw, degraded = (
        ImageDraw.Draw(sheet),
        sum(label['attributes']['degraded'] for label in frame['labels']),
    )
    where = '{weather}, {timeofday}, {scene}'.format(**frame['attributes'])
    draw.text(
        (6, 4),
        f'{frame["name"]}   {where}   {len(frame["labels"])} objects, {degraded} degraded',
        fill=(230, 230, 230),
        font=font(14),
    )
    draw.text(
        (image.width + 12, 4),
        f'{sum(good for _, good in judged)} right, '
        f'{sum(not good for _, good in judged)} wrong (score {MIN_SCORE} and above)',
        fill=(230, 230, 230),
        font=font(14),
    )
    return sheet


def choose(scenes: Sequence[dict], count: int) -> list[dict]:
    """Scenes of all conditions and of one and two groups in turn, by order of name: no picking."""
    kinds: dict[tuple, list[dict]] = {}
    for scene in sorted(scenes, key=lambda scene: scene['frame']['name']):
        attributes = scene['frame']['attributes']
        kind = tuple(attributes[key] for key in ('weather', 'timeofday', 'scene'))
        kinds.setdefault(kind, []).append(scene)
    chosen: list[dict] = []
    while len(chosen) < min(count, len(scenes)):
        for waiting in kinds.values():
            if waiting and len(chosen) < count:
                chosen.append(waiting.pop(0))
    return chosen


def legend(width: int) -> Image.Image:
    """What the colours mean."""
    strip = Image.new('RGB', (width, 30), (25, 25, 25))
    draw, x = ImageDraw.Draw(strip), 8
    for text, colour in LEGEND:
        if colour is not None:
            draw.rectangle((x, 8, x + 14, 22), outline=colour, width=3)
            x += 20
        draw.text((x, 6), text, fill=(230, 230, 230), font=font(14))
        x += int(draw.textlength(text, font=font(14))) + 24
    return strip


def paint_scenes(root: Path, results: Path, out: Path, count: int = 8) -> Path:
    """Writes one picture for each chosen scene and a contact sheet; returns the sheet's path.

    Args:
        root: The data set.
        results: Pickle of ``tools/test.py --out``.
        out: Folder for the pictures; older ones in it are replaced.
        count: Number of scenes.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob('val-*.png'):
        old.unlink()
    pictures = []
    for scene in choose(read_scenes(root, results), count):
        pictures.append(paint_scene(scene))
        save_picture(pictures[-1], out / f'{Path(scene["frame"]["name"]).stem}.png')
    columns = 2 if len(pictures) > 1 else 1
    width, height, gap = pictures[0].width, pictures[0].height, 16
    rows = -(-len(pictures) // columns)
    sheet = Image.new(
        'RGB', (columns * (width + gap) - gap, rows * (height + gap) + 30), (70, 70, 70)
    )
    sheet.paste(legend(sheet.width), (0, 0))
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet.paste(picture, (column * (width + gap), 30 + gap + row * (height + gap)))
    path = out / 'contact_sheet.png'
    save_picture(sheet, path)
    return path
