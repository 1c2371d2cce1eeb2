"""Folders of SEM images, clean ones alone or low and high ones of the same fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..io.micrograph import SEMImage, list_images, read_sem
from ..io.pairs import shared_name
from .pairing import levels, pair_up

SOURCE_KEYS = {'gt', 'img', 'include'}


@DATASETS.register_module()
class SEMFolderDataset(BaseDataset):
    """SEM images for training (clean ones only) or evaluation (pairs).

    Data bar and border are cropped, one channel is kept, and grey levels are brought to 0..255 as
    float32, whatever the depth of the file. Of a pair the *high* image is moved onto the low one
    to a fraction of a pixel, drift included: interpolating the noisy one would smooth its noise
    and make the task easier than it is. Both are then cropped to what they share.

    A sample has ``gt`` (H, W, 1) and, for a pair, ``img``; ``gt_path``, ``img_path``,
    ``pixel_size`` (metres or None), and for a pair ``shift``, ``drift`` and ``confidence``.

    Args:
        sources: Folders below ``data_root``: ``dict(gt='high')`` for clean images,
            ``dict(gt='high', img='low')`` for pairs of equal file stems; ``include`` is a regular
            expression that the whole stem has to match.
        data_root: Folder they lie in. Defaults to ''.
        pipeline: Transforms.
        register_pairs: Defaults to True.
        margin: Pixels taken off all around a registered pair. Defaults to 4.
        data_range: Of images of floating point, see :func:`read_sem`.
        crop: 'auto' or 'none', see :func:`read_sem`.
        channel: Of colour images with unequal channels.
        cache: Keep decoded images in memory. Defaults to True.
        test_mode, **kwargs: Of mmengine's BaseDataset.

    Raises:
        FileNotFoundError: If a folder is missing or holds no image (that is included).
        ValueError: If a source is malformed, pairs do not match in number, size or field of view.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration.datasets import SEMFolderDataset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for kind, level in (('low', 80), ('high', 90)):
        ...         (Path(folder) / kind).mkdir()
        ...         tifffile.imwrite(f'{folder}/{kind}/a.tif', np.full((64, 64), level, np.uint8))
        ...     pairs = SEMFolderDataset([dict(img='low', gt='high')], folder, register_pairs=False)
        ...     pair = pairs[0]
        >>> pair['img'].shape, int(pair['gt'].max())
        ((64, 64, 1), 90)
    """

    METAINFO = dict(dataset_type='sem', task_name='restoration')

    def __init__(
        self,
        sources: Sequence[Mapping[str, Any]],
        data_root: str = '',
        pipeline: Sequence[dict | Callable] = (),
        register_pairs: bool = True,
        margin: int = 4,
        data_range: float | None = None,
        crop: str = 'auto',
        channel: int | None = None,
        cache: bool = True,
        test_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(sources, Mapping) or not sources:
            raise ValueError(
                f"sources must be a list such as [dict(gt='high', img='low')], got {sources!r}"
            )
        self.sources = [dict(source) for source in sources]
        self.register_pairs, self.margin = register_pairs, margin
        self.reading = dict(data_range=data_range, crop=crop, channel=channel)
        self.cache: dict[int, dict] | None = {} if cache else None
        # Decoded images stay outside of what mmengine serialises and copies for every sample.
        super().__init__(
            ann_file='', data_root=data_root, pipeline=list(pipeline), test_mode=test_mode, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """Paths of all images; see the class for what is refused."""
        samples: list[dict] = []
        for source in self.sources:
            samples += self._list_source(source)
        return samples

    def _list_source(self, source: dict) -> list[dict]:
        unknown = set(source) - SOURCE_KEYS
        if unknown or 'gt' not in source:
            raise ValueError(f'a source has the keys gt, img and include, got {sorted(source)}')
        root, include = Path(self.data_root or '.'), source.get('include')
        found = {
            key: self._stems(root / source[key], include) for key in ('gt', 'img') if key in source
        }
        if 'img' in found and set(found['img']) != set(found['gt']):
            alone = sorted(set(found['img']) ^ set(found['gt']))
            raise ValueError(
                f'{root / source["img"]} and {root / source["gt"]} do not pair up: '
                f'{len(found["img"])} and {len(found["gt"])} images, without a partner: '
                f'{", ".join(alone[:5])}{" ..." if len(alone) > 5 else ""}; equal names make a '
                'pair'
            )
        return [
            {f'{key}_path': str(paths[stem]) for key, paths in found.items()}
            for stem in sorted(found['gt'])
        ]

    @staticmethod
    def _stems(folder: Path, include: str | None) -> dict[str, Path]:
        paths = list_images(folder)
        if include is not None:
            paths = [path for path in paths if re.fullmatch(include, path.stem)]
            if not paths:
                raise FileNotFoundError(f'no image of {folder} matches include={include!r}')
        stems = {shared_name(path): path for path in paths}
        if len(stems) < len(paths):
            twice = next(path for path in paths if stems[shared_name(path)] != path)
            raise ValueError(
                f'{folder}: two files are called {twice.stem}; names without ending must differ'
            )
        return stems

    def get_data_info(self, idx: int) -> dict:
        """Paths and pixels of one sample."""
        info = super().get_data_info(idx)
        if self.cache is None:
            return {**info, **self._load(info)}
        if idx not in self.cache:
            self.cache[idx] = self._load(info)
        # Copies: a transform may write into its input.
        return {
            **info,
            **{
                key: value.copy() if isinstance(value, np.ndarray) else value
                for key, value in self.cache[idx].items()
            },
        }

    def _load(self, info: dict) -> dict:
        high = read_sem(info['gt_path'], **self.reading)
        if 'img_path' not in info:
            return dict(gt=levels(high)[..., None], pixel_size=high.pixel_size)
        low = read_sem(info['img_path'], **self.reading)
        return dict(**self._pair(low, high), pixel_size=low.pixel_size)

    def _pair(self, low: SEMImage, high: SEMImage) -> dict:
        pair = pair_up(low, high, self.register_pairs, self.margin)
        sample = dict(img=pair.low[..., None], gt=pair.high[..., None])
        if pair.found is not None:
            for name in ('shift', 'drift', 'stretch', 'confidence'):
                sample[name] = getattr(pair.found, name)
        return sample
