"""An exported detector against the one it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import nn

from ..inference.onnx_detector import session_of

#: Height and width in pixels: one wide, one tall, one that no stride divides.
SIZES = ((192, 320), (288, 160), (171, 233))
BOX_TOLERANCE = 0.02


@dataclass(frozen=True)
class Agreement:
    """How far an exported detector and torch agree.

    Attributes:
        detections: Compared, of all images.
        score: Largest difference of a score.
        box: Largest difference of a coordinate, in pixels.
        unmatched: Detections of one that the other has not, with their larger score.
    """

    detections: int
    score: float
    box: float
    unmatched: tuple[float, ...]


def check_detector(
    model: nn.Module,
    path: str | Path,
    tolerance: float = 1e-4,
    images: Sequence[np.ndarray] | None = None,
    threads: int = 1,
) -> Agreement:
    """Detect with both in the same images, and compare detection by detection.

    Args:
        model: What was exported, in evaluation mode on the CPU.
        path: The file.
        tolerance: Of scores.
        images: (H, W, 3) of 8 bit; by default smooth noise of three sizes.
        threads: Of onnxruntime.

    Raises:
        RuntimeError: If more than one detection in a hundred has no partner of its label whose
            score is within ``tolerance`` and whose coordinates are within 0.02 pixels. None would
            be too strict: which of two boxes that are equally good, or overlap just as much as is
            allowed, is suppressed hangs on the last digit.
    """
    session = session_of(path, threads)
    found, score, box, unmatched = 0, 0.0, 0.0, []
    for image in _noise() if images is None else images:
        mine = session.run(None, {'image': image})
        theirs = _by_torch(model, image)
        pairs, left = _matched(mine, theirs, tolerance)
        found += len(theirs[1])
        unmatched += left
        for i, j in pairs:
            score = max(score, abs(float(mine[1][i] - theirs[1][j])))
            box = max(box, float(np.abs(mine[0][i] - theirs[0][j]).max()))
    agreement = Agreement(found, score, box, tuple(unmatched))
    if len(unmatched) > max(1, found) / 100 or found == 0:
        raise RuntimeError(
            f'{path}: of {found} detections {len(unmatched)} have no partner (scores up to '
            f'{max(unmatched, default=0):.3f}); the exported detector is another'
        )
    return agreement


def _noise() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        cv2.resize(
            random.integers(0, 256, (max(2, h // 16), max(2, w // 16), 3), dtype=np.uint8),
            (w, h),
            interpolation=cv2.INTER_CUBIC,
        )
        for h, w in SIZES
    ]


@torch.no_grad()
def _by_torch(model: nn.Module, image: np.ndarray) -> list[np.ndarray]:
    shape = image.shape[:2]
    sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    data = model.data_preprocessor(dict(inputs=[pixels], data_samples=[sample]), False)
    found = model.predict(data['inputs'], data['data_samples'], rescale=False)[0].pred_instances
    return [found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()]


def _matched(
    mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray], tolerance: float
) -> tuple[list[tuple[int, int]], list[float]]:
    """Pairs of one label whose scores and boxes agree, and the scores of those without partner."""
    pairs, free = [], set(range(len(mine[1])))
    left = []
    for j in range(len(theirs[1])):
        best = None
        for i in free:
            near = (
                mine[2][i] == theirs[2][j]
                and abs(mine[1][i] - theirs[1][j]) <= tolerance
                and np.abs(mine[0][i] - theirs[0][j]).max() <= BOX_TOLERANCE
            )
            if near:
                best = i
                break
        if best is None:
            left.append(float(theirs[1][j]))
        else:
            free.remove(best)
            pairs.append((best, j))
    return pairs, left + [float(mine[1][i]) for i in free]
