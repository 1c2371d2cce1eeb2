"""Loading of images as their sizes are read."""

from __future__ import annotations

import cv2
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from mmclarity.errors import DataError
from mmclarity.utils.images import decode

_FLAGS = {'color': cv2.IMREAD_COLOR, 'grayscale': cv2.IMREAD_GRAYSCALE}


@TRANSFORMS.register_module(name=['LoadUprightImage', 'LoadImageFromFile'])
class LoadUprightImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which obeys orientation tags in every format.

    OpenCV leaves those of WebP alone, so that boxes would be learnt on an image that lies on its
    side. Files of 16 bit that hold 10, 12 or 14 bit data are read in the range of these, which is
    told as a warning. All else is read as by mmcv, byte for byte. In mmdet's registry it
    bears the name ``LoadImageFromFile`` too, so that ``CocoDataset`` and the other data sets of
    mmdet have it by themselves.

    Args:
        args, kwargs: See mmcv's ``LoadImageFromFile``.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> from mmclarity.detection.datasets import LoadUprightImage
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tag = Image.Exif()
        ...     tag[0x0112] = 6  # the camera was turned
        ...     Image.new('RGB', (64, 48)).save(f'{folder}/a.png', exif=tag)
        ...     LoadUprightImage()(dict(img_path=f'{folder}/a.png'))['img'].shape
        (64, 48, 3)
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``img_path`` into ``img``.

        Raises:
            DataError: Naming a file that cannot be decoded.
        """
        if self.imdecode_backend != 'cv2' or self.color_type not in _FLAGS:
            return super().transform(results)
        path = results['img_path']
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            pixels = decode(content, _FLAGS[self.color_type]) if content else None
            if pixels is None:
                raise DataError(f'{path}: cannot be decoded; is it an image, and whole?')
        except Exception:
            if self.ignore_empty:
                return None
            raise
        results['img'] = pixels.astype(np.float32) if self.to_float32 else pixels
        results['img_shape'] = results['ori_shape'] = pixels.shape[:2]
        return results


def loading_upright(pipeline: list) -> list:
    """A pipeline with ``LoadUprightImage`` in the place of ``LoadImageFromFile``."""
    names = ('LoadImageFromFile', 'mmdet.LoadImageFromFile', 'mmcv.LoadImageFromFile')
    return [
        dict(step, type='mmdet.LoadUprightImage')
        if isinstance(step, dict) and step.get('type') in names
        else step
        for step in pipeline
    ]
