"""An exported detector in onnxruntime: neither torch nor OpenMMLab is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmclarity.errors import CheckpointError

from .black_bars import inside_bars
from .detections import Detections, check_images, check_threshold

#: Under which name the file's metadata hold ours, as JSON.
METADATA = 'mmclarity'
EXPORT = 'mmclarity-export'


def session_of(path: str | Path, threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU.

    Args:
        path: The ONNX file.
        threads: At most so many; None leaves it to onnxruntime.

    Raises:
        CheckpointError: If the file is missing or cannot be used.
        ModuleNotFoundError: If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'running an exported detector needs a further package: pip install onnxruntime'
        ) from error
    file = Path(path).expanduser()
    if not file.is_file():
        raise CheckpointError(f'{path}: no such file; {EXPORT} writes one')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime's own classes, without a base to catch them by
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f'{path}: cannot be used by onnxruntime: {text}') from error


class OnnxDetector:
    """A detector that ``mmclarity-export`` wrote; used as :class:`.Detector` is.

    Args:
        path: The ONNX file, which knows its classes and how images are resized.
        threshold: Detections of a lower score are left out.
        threads: Of onnxruntime; None leaves it to it.

    Raises:
        CheckpointError: If the file is missing, damaged, or was not written by mmclarity.
        UsageError: If ``threshold`` is no score.

    Attributes:
        classes: Names of the classes.
        scale: Longer and shorter side to which images are brought, their ratio kept; None if they
            are not.
        cuts_bars: As of :class:`.Detector`.
    """

    def __init__(
        self, path: str | Path, threshold: float = 0.3, threads: int | None = None
    ) -> None:
        self.threshold = check_threshold(threshold)
        self._session = session_of(path, threads)
        said = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        if said is None:
            raise CheckpointError(
                f'{path}: not written by {EXPORT}: its classes and the size of its '
                'images are not known'
            )
        metadata = json.loads(said)
        self.classes = tuple(metadata['classes'])
        self._resize = metadata['resize']
        self.cuts_bars = metadata.get('cut_black_bars', False)
        keeps = bool(self._resize) and self._resize['keep_ratio']
        self.scale = tuple(self._resize['scale']) if keeps else None

    def __call__(self, images: Iterable[np.ndarray]) -> list[Detections]:
        """Detect in each of some images.

        Args:
            images: Each (H, W, 3), 8 bit, blue, green, red, of any size.

        Raises:
            DataError: If an image is of another kind.
        """
        found = []
        for image in check_images(images, self.scale):
            rows, columns = inside_bars(image, self.cuts_bars)
            inside = self._one(image[rows, columns])
            found.append(inside.moved(columns.start, rows.start))
        return found

    def _one(self, image: np.ndarray) -> Detections:
        small = resized(image, **self._resize) if self._resize else image
        boxes, scores, labels = self._session.run(None, {'image': np.ascontiguousarray(small)})
        kept = scores >= self.threshold
        factor = np.array(image.shape[1::-1], np.float64) / small.shape[1::-1]
        boxes = (boxes[kept] * np.tile(factor, 2)).astype(np.float32)
        return Detections(boxes, scores[kept], labels[kept], self.classes)


def resized(image: np.ndarray, scale: Sequence[int], keep_ratio: bool) -> np.ndarray:
    """As mmdet's ``Resize`` does: bilinear, the same pixels.

    Args:
        image: (H, W, 3), 8 bit.
        scale: Of width and height; with ``keep_ratio`` the longer side goes with the larger one.
        keep_ratio: The image gets as large as it can within ``scale``.

    Examples:
        >>> resized(np.zeros((720, 1280, 3), np.uint8), (640, 400), True).shape
        (360, 640, 3)
    """
    size = (int(scale[0]), int(scale[1]))
    if keep_ratio:
        height, width = image.shape[:2]
        factor = min(max(size) / max(height, width), min(size) / min(height, width))
        size = (int(width * factor + 0.5), int(height * factor + 0.5))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
