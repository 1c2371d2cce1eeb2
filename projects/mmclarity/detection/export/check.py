"""An exported detector against the one it came from."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from mmdet.structures import DetDataSample
from torch import nn

from ..inference.onnx_detector import session_of
from .detector import export_detector

#: Height and width in pixels: one wide, one tall, one that no stride divides.
SIZES = ((192, 320), (288, 160), (171, 233))
BOX_TOLERANCE = 0.02
#: Of a detector that finds fewer in noise, a file with lower thresholds is compared as well.
ENOUGH = 10
_LOWER = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class Agreement:
    """How far an exported detector and torch agree.

    Attributes:
        detections: Compared, of all images.
        score: Largest difference of a score.
        box: Largest difference of a coordinate, in pixels.
        unmatched: Detections of one that the other has not, with their larger score.
        lowered: By what the thresholds of scores were multiplied for this; 1: they are the file's.
    """

    detections: int
    score: float
    box: float
    unmatched: tuple[float, ...]
    lowered: float = 1.0


def check_detector(
    model: nn.Module,
    path: str | Path,
    tolerance: float = 1e-4,
    images: Sequence[np.ndarray] | None = None,
    threads: int = 1,
) -> Agreement:
    """Detect with both in the same images, and compare detection by detection.

    A detector of things unlike noise finds hardly anything in it. Then its file is compared, and
    a second one that differs from it in lower thresholds only.

    Args:
        model: What was exported, in evaluation mode on the CPU.
        path: The file.
        tolerance: Of scores; where thresholds are lowered, of the highest score.
        images: (H, W, 3) of 8 bit; by default smooth noise of three sizes.
        threads: Of onnxruntime.

    Raises:
        RuntimeError: If more than one detection in a hundred has no partner of its label whose
            score is within ``tolerance`` and whose coordinates are within 0.02 pixels. None would
            be too strict: which of two boxes that are equally good, or overlap just as much as is
            allowed, is suppressed hangs on the last digit. Also if nothing is found to compare.
    """
    pictures = _noise() if images is None else images
    expected = [_by_torch(model, image) for image in pictures]
    agreement = _compared(path, pictures, expected, tolerance, threads)
    if images is None and agreement.detections < ENOUGH:
        agreement = _compared_lower(model, path, pictures, tolerance, threads)
    if not agreement.detections:
        raise RuntimeError(
            f'{path}: the detector finds nothing in these images: nothing to compare'
        )
    return agreement


def _compared(
    path: str | Path,
    images: Sequence[np.ndarray],
    expected: Sequence[Sequence[np.ndarray]],
    tolerance: float,
    threads: int,
) -> Agreement:
    session = session_of(path, threads)
    found, score, box, unmatched = 0, 0.0, 0.0, []
    for image, theirs in zip(images, expected, strict=True):
        mine = session.run(None, {'image': image})
        pairs, left = _matched(mine, theirs, tolerance)
        found += len(theirs[1])
        unmatched += left
        for i, j in pairs:
            score = max(score, abs(float(mine[1][i] - theirs[1][j])))
            box = max(box, float(np.abs(mine[0][i] - theirs[0][j]).max()))
    if len(unmatched) > max(1, found) / 100:
        raise RuntimeError(
            f'{path}: of {found} detections {len(unmatched)} have no partner (scores up to '
            f'{max(unmatched):.3g}); the exported detector is another'
        )
    return Agreement(found, score, box, tuple(unmatched))


def _compared_lower(
    model: nn.Module, path: str | Path, images: Sequence[np.ndarray], tolerance: float, threads: int
) -> Agreement:
    """As :func:`_compared`, with the first thresholds that leave enough to compare."""
    for factor in _LOWER:
        with _lowered(model, factor):
            expected = [_by_torch(model, image) for image in images]
            if sum(len(scores) for _, scores, _ in expected) < ENOUGH and factor != _LOWER[-1]:
                continue
            highest = max((float(scores.max(initial=0)) for _, scores, _ in expected), default=0.0)
            opset = next(one.version for one in onnx.load(path).opset_import if not one.domain)
            with tempfile.TemporaryDirectory() as folder:
                lower = Path(folder, 'lower.onnx')
                export_detector(model, lower, opset, boxes_only=True)
                if _parts(lower) != _parts(path):
                    raise RuntimeError(f'{path}: was not made of this detector')
                try:
                    found = _compared(lower, images, expected, tolerance * highest, threads)
                except RuntimeError as error:
                    raise RuntimeError(str(error).replace(str(lower), str(path))) from error
            return replace(found, lowered=factor)
    raise AssertionError('the last factor returns')


def _parts(path: str | Path) -> tuple:
    """Operators and weights of a file, without the single numbers that thresholds are."""
    graph = onnx.load(path).graph
    arrays = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > 1]
    kinds = [node.op_type for node in graph.node]
    return kinds, [(list(tensor.dims), tensor.raw_data) for tensor in arrays]


@contextmanager
def _lowered(model: nn.Module, factor: float) -> Iterator[None]:
    """The detector with all thresholds of scores multiplied by ``factor``."""
    roi = model.roi_head
    before, look_again = roi.test_cfg, getattr(roi, 'look_again', None)
    roi.test_cfg = copy.deepcopy(before)
    roi.test_cfg['score_thr'] *= factor
    if roi.test_cfg['nms'].get('type') == 'soft_nms':
        roi.test_cfg['nms']['min_score'] = roi.test_cfg['nms'].get('min_score', 1e-3) * factor
    if look_again:
        roi.look_again = look_again * factor
    try:
        yield
    finally:
        roi.test_cfg = before
        if look_again:
            roi.look_again = look_again


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
