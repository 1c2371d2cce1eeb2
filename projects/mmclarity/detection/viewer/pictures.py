"""A detection and its neighbours drawn into the image."""

from __future__ import annotations

import cv2
import numpy as np

from ..inference.outputs import colour_of
from .looks import Look, Seen

#: Blue, green, red: what is added, what is subtracted, and the detection itself.
ADDED, SUBTRACTED, HERE = (90, 190, 255), (255, 150, 80), (255, 255, 255)


def draw_look(
    pixels: np.ndarray, look: Look, classes: tuple[str, ...], count: int = 3, width: int = 960
) -> np.ndarray:
    """The detections that context changed most, each with the regions that it drew on.

    Lines lead from a detection to its neighbours, thicker for larger weights; amber regions are
    added, blue ones subtracted (lambda layers).

    Args:
        pixels: (H, W, 3), 8 bit, blue, green, red.
        look: Of this image.
        classes: Names of the classes, whose colours those of ``drawn`` are.
        count: How many detections get lines.
        width: Of the picture; small images are enlarged so that words can be read.

    Returns:
        (H', W', 3), 8 bit, blue, green, red.
    """
    scale = max(1.0, width / pixels.shape[1])
    canvas = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = (canvas * 0.72).astype(np.uint8)
    shown = sorted(look.detections, key=_difference)[-count:] if count else []
    for seen in look.detections:
        colour = colour_of(classes.index(seen.name))
        _box(canvas, seen.box * scale, colour, 2 if seen in shown else 1)
    for seen in shown:
        _lines(canvas, seen, look, scale)
    for seen in shown:
        said = f'{seen.name} {seen.score:.2f}'
        if seen.name_alone is not None:
            said += f' (alone {seen.name_alone} {seen.score_alone:.2f})'
        _words(canvas, said, seen.box * scale, colour_of(classes.index(seen.name)))
    return canvas


def _difference(seen: Seen) -> tuple[bool, float]:
    if seen.same_alone is None:
        return False, seen.score
    return 'name' in seen.changes, abs(seen.score - seen.same_alone)


def _lines(canvas: np.ndarray, seen: Seen, look: Look, scale: float) -> None:
    """From a detection to what it looked at last, but not to itself."""
    for layer in seen.layers[-1:]:
        others = [other for other in layer.top if other.overlap < 0.5]
        largest = max((abs(other.weight) for other in others), default=1) or 1
        for other in others:
            box = look.proposals[other.place] * scale
            colour = ADDED if other.weight >= 0 else SUBTRACTED
            thickness = max(1, round(4 * abs(other.weight) / largest))
            _box(canvas, box, colour, 1)
            ends = [
                tuple(int(value) for value in (part[:2] + part[2:]) / 2)
                for part in (seen.box * scale, box)
            ]
            cv2.line(canvas, *ends, colour, thickness, cv2.LINE_AA)


def _box(canvas: np.ndarray, box: np.ndarray, colour: tuple, thickness: int) -> None:
    x1, y1, x2, y2 = (int(round(float(value))) for value in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)


def _words(canvas: np.ndarray, text: str, box: np.ndarray, colour: tuple) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x = int(min(max(box[0], 0), max(canvas.shape[1] - width - 6, 0)))
    y = int(max(box[1] - height - 8, 0))
    cv2.rectangle(canvas, (x, y), (x + width + 6, y + height + 8), (24, 20, 18), -1)
    cv2.rectangle(canvas, (x, y), (x + 3, y + height + 8), colour, -1)
    place = (x + 6, y + height + 3)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, HERE, 1, cv2.LINE_AA)
