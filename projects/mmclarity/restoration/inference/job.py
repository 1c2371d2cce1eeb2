"""A picture before it is restored: checked, measured, and what there is to say of it said."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..general.appraisal import Appraisal
from ..general.appraising import appraise
from ..io.micrograph import SEMImage, from_array
from .remarks import beside_training, of_file


@dataclass(frozen=True)
class Job:
    """A checked picture: levels are ``pixels / scale - black``, 0 black and 1 white.

    Attributes:
        pixels: (H, W), as they are in the file.
        scale: what a level of one is in them.
        black: level of black.
        like: what the general network is told of; None for networks of one's own.
        label: what messages call it.
        source: the file, whose pictures are warned of together; empty for an image in memory.
        white: see :attr:`.SEMImage.own_white`.
        measured_range: black and white are the picture's darkest and brightest pixels.
    """

    pixels: np.ndarray
    scale: float
    black: float = 0.0
    like: Appraisal | None = None
    label: str = 'the image'
    source: str = ''
    white: float | None = None
    measured_range: bool = False


def prepare(
    image: np.ndarray | SEMImage,
    data_range: float | None,
    general: bool,
    trained_on: Mapping[str, object],
    tell: Callable[[str], object] | None,
    warn: Callable[[str, str], None],
) -> Job:
    """Checks a picture and says what it is like.

    Args:
        image: see :meth:`.restorer.Restorer.__call__`.
        data_range: the same.
        general: whether the general network restores it, which is told what the image is like.
        trained_on: what another network was trained on, see :func:`.remarks.beside_training`.
        tell: called with lines of plain words; once for all pages of a stack.
        warn: called with a key, equal for warnings of which one is enough (empty for an image in
            memory, which is warned of every time), and the warning.

    Raises:
        ValueError: a range for an image that has its own, from its file.
        SEMImageError: not (H, W), NaN or Inf, or values outside 0 to ``data_range``.
    """
    if not isinstance(image, SEMImage):
        given = data_range if data_range is not None or not general else 'measured'
        image = from_array(image, given)
    elif data_range is not None:
        raise ValueError('data_range goes to read_sem where the image comes from a file')
    if tell is not None and not image.page:
        for line in of_file(image):
            tell(line)
    white, measured = image.own_white, image.measured_range
    pixels, span, black = image.image, image.data_range - image.black, image.black
    if image.is_wide:  # a large offset would drown the picture in rounding
        pixels, span, black = image.unit, 1.0, 0.0
    if not general:
        for key, line in beside_training(image, trained_on):
            warn(key, line)
        return Job(pixels, span, black / span, white=white, measured_range=measured)
    like = appraise(pixels, span, black)
    if tell is not None and image.page == 0:
        for line in like.describe():
            tell(f'{image.label}: {line}')
    source = str(image.path or '')
    for line in like.warnings():
        # once a file and kind: the pages of a stack differ in numbers only
        warn(source and f'{source} {re.sub("[0-9.]+", "", line)}', f'{image.label}: {line}')
    return Job(pixels, span, black / span, like, image.label, source, white, measured)
