"""Looks at many images as one page that needs nothing but a browser."""

from __future__ import annotations

import base64
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmclarity.utils.files import write_text

from ..inference.outputs import colour_of
from .looks import Layer, Look, Seen

#: Longer sides, in pixels, of the images in the page and of their thumbnails.
SIDE, THUMBNAIL = 1600, 200
MEANING = dict(
    shares=(
        'Weights of a softmax are shares: none is negative, and those of one detection add up to '
        'one. What the layer adds to the features of the detection is the mean of the values of '
        'all regions under these weights (then a linear map).'
    ),
    signed=(
        "A lambda layer has no shares. Shown is its effective linear map: the detection's query "
        'applied to what each region put into the lambdas. What the layer adds is the sum over '
        'all regions of weight times value: amber weights add the value of a region, blue ones '
        'subtract it; they need not add up to anything. A linear map follows, which may turn '
        'a sign around: compare weights with one another more than with zero.'
    ),
    page=(
        'The map shows at every place the sum of the weights of all regions that cover it. '
        '"Without" is what the same weights say of the same proposal when the attention is left '
        'out: nothing was trained for that. Weights say what was mixed in, not that it decided.'
    ),
)


class Page:
    """One self-contained HTML page about what a detector looked at.

    Args:
        title: Of the page.
        classes: Names of the classes.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection.viewer import Look, Page
        >>> page = Page('Night', ('car', 'bus'))
        >>> page.add('a.jpg', np.zeros((20, 30, 3), np.uint8), Look(np.zeros((0, 4)), ()))
        >>> '<title>Night</title>' in page.html() and len(page.images) == 1
        True
    """

    def __init__(self, title: str, classes: tuple[str, ...]) -> None:
        self.title, self.classes = title, classes
        self.images: list[dict[str, Any]] = []

    def add(self, name: str, pixels: np.ndarray, look: Look) -> None:
        """Append an image.

        Args:
            name: Shown in the list.
            pixels: (H, W, 3), 8 bit, blue, green, red.
            look: Of this image.
        """
        height, width = pixels.shape[:2]
        sources = {
            layer.title: _base64(layer.sources.astype('<u2'))
            for seen in look.detections[:1]
            for layer in seen.layers
            if not np.array_equal(layer.sources, np.arange(len(look.proposals)))
        }
        proposals = np.round(look.proposals).clip(-32768, 32767).astype('<i2')
        self.images.append(
            dict(
                name=name,
                width=width,
                height=height,
                src=_picture(pixels, SIDE, 88),
                thumb=_picture(pixels, THUMBNAIL, 75),
                proposals=_base64(proposals),
                sources=sources,
                detections=[_detection(seen) for seen in look.detections],
                lost=[
                    dict(name=name, score=round(score, 4), box=_numbers(box))
                    for name, score, box in look.lost
                ],
            )
        )

    def html(self) -> str:
        """The page.

        Raises:
            ValueError: Without an image.
        """
        if not self.images:
            raise ValueError('a page needs at least one image: call add() first')
        colours = {}
        for label, name in enumerate(self.classes):
            blue, green, red = colour_of(label)
            colours[name] = f'rgb({red} {green} {blue})'
        data = json.dumps(
            dict(images=self.images, colours=colours, meaning=MEANING), separators=(',', ':')
        )
        room = files(__package__)
        parts = dict(
            title=html.escape(self.title),
            # whatever a file is called, it must not end the script
            data=data.replace('<', '\\u003c'),
            script=(room / 'page.js').read_text(encoding='utf-8'),
        )
        page = (room / 'page.html').read_text(encoding='utf-8')
        return re.sub(r'\{\{(\w+)\}\}', lambda match: parts[match[1]], page)

    def write(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the page whole or not at all; see :func:`mmclarity.utils.files.replacing`."""
        write_text(path, self.html(), overwrite=overwrite, parents=True)


def _detection(seen: Seen) -> dict[str, Any]:
    alone = None
    if seen.name_alone is not None:
        alone = dict(
            name=seen.name_alone,
            score=round(seen.score_alone, 4),
            same=round(seen.same_alone, 4),
            box=_numbers(seen.box_alone),
        )
    return dict(
        name=seen.name,
        score=round(seen.score, 4),
        box=_numbers(seen.box),
        proposal=seen.proposal,
        alone=alone,
        changes=list(seen.changes),
        layers=[_layer(layer) for layer in seen.layers],
    )


def _layer(layer: Layer) -> dict[str, Any]:
    """A layer's strongest regions with exact weights, and all weights in steps of 1/127."""
    largest = float(np.abs(layer.weights).max(initial=0.0))
    steps = np.round(layer.weights / (largest or 1) * 127).astype(np.int8)
    return dict(
        title=layer.title,
        signed=layer.signed,
        heads=layer.heads,
        largest=largest,
        map=_base64(steps),
        top=[
            dict(
                place=near.place,
                weight=float(f'{near.weight:.5g}'),
                name=near.name,
                score=round(near.score, 4),
                overlap=round(near.overlap, 4),
            )
            for near in layer.top
        ],
    )


def _numbers(box: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in box]


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _picture(pixels: np.ndarray, side: int, quality: int) -> str:
    """An image as a data address, no larger than ``side``."""
    factor = side / max(pixels.shape[:2])
    if factor < 1:
        size = [max(1, round(length * factor)) for length in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(coded.tobytes()).decode()}'
