"""Figures of a report on mistakes: costs, curves, calibration, confusion, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmclarity.utils.figures import COLOURS, GREY, INK, SMALL, clean, new_figure
from mmclarity.utils.images import decode

from .error_kinds import KINDS, ErrorKinds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of right detections and each kind of mistakes, in figures and pictures alike (RGB hex).
COLOUR_OF = dict(
    zip(
        ('right', *KINDS),
        (*(COLOURS[place] for place in (2, 1, 4, 3, 5)), GREY, COLOURS[7]),
    )
)


def cost_figure(costs: Mapping[str, float]) -> 'Figure':
    """What each kind costs, in points of AP50."""
    figure = new_figure(6.0, 2.6)
    axes = figure.add_subplot()
    values = [100 * costs[kind] for kind in KINDS]
    bars = axes.barh(KINDS, values, color=[COLOUR_OF[kind] for kind in KINDS], height=0.7)
    axes.bar_label(bars, [f'{value:.1f}' for value in values], padding=3, fontsize=SMALL)
    axes.invert_yaxis()
    axes.set_xlabel('points of AP50 to gain if these mistakes were put right', fontsize=SMALL)
    clean(axes, grid=False)
    axes.margins(x=0.12)
    return figure


def curve_figure(found: ErrorKinds, classes: Mapping[int, str]) -> 'Figure':
    """Precision against recall at IoU 0.5, of each class and their mean."""
    figure = new_figure(7.4, 4.2)
    axes = figure.add_subplot()
    recalls = np.linspace(0, 1, 101)
    curves = {number: found.curve(number) for number in classes}
    for place, (number, name) in enumerate(classes.items()):
        axes.plot(
            recalls,
            curves[number],
            color=COLOURS[place % len(COLOURS)],
            linestyle='-' if place < len(COLOURS) else '--',
            linewidth=1.2,
            label=f'{name} ({100 * curves[number].mean():.1f})',
        )
    mean = np.mean(list(curves.values()), axis=0)
    axes.plot(recalls, mean, color=INK, linewidth=2.6, label=f'mean ({100 * mean.mean():.1f})')
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_xlabel('recall', fontsize=SMALL)
    axes.set_ylabel('precision', fontsize=SMALL)
    clean(axes)
    axes.legend(
        title='AP50', loc='center left', bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=SMALL
    )
    return figure


def calibration_figure(found: ErrorKinds, bins: int = 10) -> 'Figure':
    """Share of right detections against their score; below it how many there are."""
    mean, share, number, error = found.calibration(bins)
    figure = new_figure(5.5, 4.6)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle='--', label='calibrated')
    filled = number > 0
    top.plot(mean[filled], share[filled], 'o-', color=COLOURS[0], label='measured')
    top.set(ylim=(0, 1.02), xlim=(0, 1))
    top.set_ylabel('share that is right (IoU 0.5)', fontsize=SMALL)
    top.legend(
        title=f'expected calibration error {error:.3f}', frameon=False, fontsize=SMALL,
        title_fontsize=SMALL, loc='upper left',
    )  # fmt: skip
    below.bar((np.arange(bins) + 0.5) / bins, number, width=0.9 / bins, color=COLOURS[0])
    below.set_yscale('symlog')
    below.set_ylabel('detections', fontsize=SMALL)
    below.set_xlabel('score', fontsize=SMALL)
    clean(top)
    clean(below)
    return figure


def confusion_figure(table: np.ndarray, names: Sequence[str]) -> 'Figure':
    """Rows in per cent of what the object is; counts in the last one, which has no whole."""
    size = len(names)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure = new_figure(2.6 + 0.55 * size, 1.9 + 0.42 * size)
    axes = figure.add_subplot()
    axes.imshow(share, cmap='Blues', vmin=0, vmax=1, aspect='auto')
    for row in range(size + 1):
        for column in range(size + 1):
            if table[row, column]:
                text = f'{100 * share[row, column]:.0f}' if row < size else str(table[row, column])
                colour = 'white' if share[row, column] > 0.55 else INK
                axes.text(column, row, text, ha='center', va='center', fontsize=7, color=colour)
    axes.set_xticks(range(size + 1), [*names, 'missed'], rotation=40, ha='right', fontsize=SMALL)
    axes.set_yticks(range(size + 1), [*names, 'no object (count)'], fontsize=SMALL)
    axes.set_xlabel('called', fontsize=SMALL)
    axes.set_ylabel('is', fontsize=SMALL)
    axes.tick_params(length=0)
    return figure


def worst_images(found: ErrorKinds, min_score: float, count: int) -> list[tuple[int, float, str]]:
    """Images with most mistakes.

    Args:
        found: Detections and objects.
        min_score: Detections below are no mistakes.
        count: How many images at most.

    Returns:
        Place of the image; its mistakes: wrong detections weigh as much as their score, objects
        missed weigh 1; and how many of each kind in words.
    """
    weights = np.zeros(found.num_images)
    kinds: list[dict[str, int]] = [{} for _ in range(found.num_images)]
    for dt, kind in zip(found.dts, found.kind):
        if kind in KINDS and dt['score'] >= min_score:
            weights[dt['image_id']] += dt['score']
            kinds[dt['image_id']][kind] = kinds[dt['image_id']].get(kind, 0) + 1
    for gt, missed in zip(found.gts, found.missed):
        if missed:
            weights[gt['image_id']] += 1
            kinds[gt['image_id']]['missed'] = kinds[gt['image_id']].get('missed', 0) + 1
    order = np.argsort(-weights, kind='stable')[:count]
    return [
        (int(place), float(weights[place]), ', '.join(f'{n} {k}' for k, n in kinds[place].items()))
        for place in order
        if weights[place] > 0
    ]


def picture(
    path: Path, found: ErrorKinds, image: int, names: Mapping[int, str], min_score: float
) -> bytes | None:
    """An image with its detections and missed objects as JPEG; None if it cannot be read.

    Args:
        path: The image file.
        found: Detections and objects.
        image: Its place.
        names: Of the categories, by id.
        min_score: Detections below are left out.
    """
    import cv2

    try:
        pixels = decode(Path(path).read_bytes())  # as boxes are given: upright
    except (OSError, SyntaxError, ValueError, cv2.error):
        return None
    if pixels is None:
        return None
    factor = 960 / max(pixels.shape[:2])
    pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)

    def draw(item: dict, kind: str, text: str) -> None:
        colour = _bgr(kind)
        x, y, width, height = (round(value * factor) for value in item['bbox'])
        cv2.rectangle(pixels, (x, y), (x + width, y + height), colour, 2)
        if text:
            place = (x, y - 4) if y > 14 else (x, y + height + 13)
            for thickness, ink in ((3, (0, 0, 0)), (1, colour)):  # legible on any ground
                cv2.putText(
                    pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, thickness,
                    cv2.LINE_AA,
                )  # fmt: skip

    for dt, kind in zip(found.dts, found.kind):
        if dt['image_id'] == image and dt['score'] >= min_score and kind in COLOUR_OF:
            name = names[dt['category_id']]
            draw(dt, str(kind), '' if kind == 'right' else name)
    for gt, missed in zip(found.gts, found.missed):
        if gt['image_id'] == image and missed:
            draw(gt, 'missed', names[gt['category_id']])
    strip = np.full((26, pixels.shape[1], 3), 40, dtype=np.uint8)
    for place, kind in enumerate(COLOUR_OF):
        cv2.putText(
            strip, kind, (8 + place * pixels.shape[1] // len(COLOUR_OF), 18),
            cv2.FONT_HERSHEY_SIMPLEX, 0.5, _bgr(kind), 1, cv2.LINE_AA,
        )  # fmt: skip
    pixels = np.vstack([pixels, strip])
    done, buffer = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return buffer.tobytes() if done else None


def _bgr(kind: str) -> tuple[int, ...]:
    """OpenCV's form of a kind's colour."""
    return tuple(int(COLOUR_OF[kind][place : place + 2], 16) for place in (5, 3, 1))
