"""BDD100K as it is distributed, for mmdet."""

import difflib
import logging
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.logging import print_log

from mmclarity.utils.json_files import LabelFileError
from mmclarity.utils.label_scale import seems_smaller

from .image_files import probe_images
from .scalabel import (
    CLASSES,
    FRAME_ATTRIBUTES,
    IGNORED_MAPPING,
    NAME_MAPPING,
    PALETTE,
    Frame,
    ParseReport,
    fit_box,
    load_frames,
)
from .transforms import loading_upright

#: Where the releases keep their labels; named in messages when found.
_KNOWN_LABELS = (
    'labels/det_20/det_{split}.json',
    'labels/bdd100k_labels_images_{split}.json',
    'bdd100k_labels_images_{split}.json',
    'labels/100k/{split}',
)


@DATASETS.register_module()
class BDD100KDataset(BaseDetDataset):
    """BDD100K detection (Yu et al., CVPR 2020), read without any conversion.

    The layout of the labels (det_20, 2018, Scalabel data set, one file per
    image) is found by itself, see :mod:`.scalabel`. Each ``data_info`` holds

    - ``img_path``, ``img_id`` (place in the labels, from 1, as the converter to
      COCO counts), ``height``, ``width`` in pixels,
    - ``weather``, ``timeofday``, ``scene``: ``'undefined'`` where not given,
    - ``instances``: ``bbox`` as half-open ``[x1, y1, x2, y2]`` in pixels of the
      image, clipped to it; ``bbox_label``; ``ignore_flag`` (1 for crowds and for
      ``other person``, ``other vehicle``, ``trailer``); ``attributes`` of the
      label (``occluded``, ``truncated``, ...) and its ``label_id``.

    For the metrics to see them, a test pipeline passes them on::

        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
             'scale_factor', 'instances', 'weather', 'timeofday', 'scene'))

    A subset of the classes is chosen by ``metainfo=dict(classes=('car', 'bus'))``;
    labels of the others are then left out.

    Args:
        image_size: ``(width, height)`` of every image in pixels, e.g.
            ``(1280, 720)``. With it (or with ``size`` in the labels) and
            ``check_images=False`` no image file is touched before training.
            Defaults to None: read from the headers, and boxes that seem to be of
            smaller images are refused (:mod:`mmclarity.utils.label_scale`).
        check_images: Look at header and end of every image file on loading,
            so that a missing, empty or cut off file is reported before the
            training starts. Defaults to True.
        allow_no_objects: Take a set in which no image has an object of the
            classes. Nothing can be learnt from it, and AP is not a number.
            Defaults to False.
        left_out: File names of images to leave out, e.g. those of a test set
            that nearly copy training ones. ``img_id`` stays as it is with all of them.
        ann_file: Label file or folder, absolute or below ``data_root``.
        data_prefix: ``img`` is the image folder, absolute or below ``data_root``.
        filter_cfg: As in mmdet, for training only: ``filter_empty_gt`` drops
            images without objects, ``min_size`` those with a shorter side in pixels.
        kwargs: Of :class:`mmdet.datasets.BaseDetDataset`.

    Raises:
        FileNotFoundError: If data root, labels or image folder do not exist.
        LabelFileError: If the labels cannot be used.
        ImageFileError: If images are missing, empty or cut off.
        ValueError: If classes are unknown, an image to leave out is, or none is left.

    Examples:
        >>> import json
        >>> import tempfile
        >>> from PIL import Image
        >>> from mmclarity.detection.datasets import BDD100KDataset
        >>> label = dict(id='0', category='car', box2d=dict(x1=2, y1=3, x2=20, y2=12))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new('RGB', (64, 48)).save(f'{folder}/a.jpg')
        ...     with open(f'{folder}/det.json', 'w') as file:
        ...         json.dump([dict(name='a.jpg', labels=[label])], file)
        ...     data = BDD100KDataset('det.json', data_root=folder, data_prefix=dict(img=''))
        >>> data.get_data_info(0)['instances'][0]['bbox']
        [2.0, 3.0, 21.0, 13.0]
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE, 'dataset_type': 'bdd100k'}

    def __init__(
        self,
        *args: Any,
        image_size: Sequence[int] | None = None,
        check_images: bool = True,
        allow_no_objects: bool = False,
        left_out: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        if isinstance(left_out, str):
            raise ValueError(f'left_out must be a list of names, got the string {left_out!r}')
        if image_size is not None and (len(image_size) != 2 or min(image_size) <= 0):
            raise ValueError(f'image_size must be (width, height) in pixels, got {image_size}')
        if (kwargs.get('backend_args') or {}).get('backend', 'local') != 'local':
            raise ValueError(
                'BDD100KDataset reads local files only: copy the data set to a disk and '
                'remove backend_args'
            )
        self.image_size = tuple(image_size) if image_size is not None else None
        self.check_images = check_images
        self.allow_no_objects = allow_no_objects
        self.left_out = frozenset(left_out)
        # Boxes are fitted to sizes as images are shown, so they must be read like that.
        kwargs['pipeline'] = loading_upright(kwargs.get('pipeline') or [])
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping | None = None) -> dict:
        """Checks the classes, and matches the palette to a subset of them.

        Unlike in mmengine a string is never taken for the name of a file: a
        folder that happens to be called like the value would break the run.
        """
        metainfo = dict(metainfo or {})
        strings = {key: value for key, value in metainfo.items() if isinstance(value, str)}
        if 'classes' in strings:
            raise ValueError(
                f'metainfo classes must be a list or tuple of names, got the string '
                f'{strings["classes"]!r}; write ({strings["classes"]!r}, )'
            )
        merged = super()._load_metainfo(
            {key: value for key, value in metainfo.items() if key not in strings}
        )
        merged.update(strings)
        if 'classes' in metainfo:
            merged['classes'] = cls._check_classes(metainfo['classes'])
            if 'palette' not in metainfo:
                merged['palette'] = [PALETTE[CLASSES.index(name)] for name in merged['classes']]
        return merged

    @staticmethod
    def _check_classes(classes: Sequence[str]) -> tuple[str, ...]:
        """Refuses class lists that BDD100K cannot serve."""
        if not classes:
            raise ValueError(f'metainfo classes is empty; choose among {list(CLASSES)}')
        renamed = {**NAME_MAPPING, **IGNORED_MAPPING}
        for name in classes:
            if name not in CLASSES:
                near = difflib.get_close_matches(str(name), CLASSES, 1)
                hint = renamed.get(name) or (near[0] if near else None)
                hint = f'; did you mean {hint!r}' if hint else ''
                raise ValueError(
                    f'metainfo classes: {name!r} is no class of BDD100K{hint}? The '
                    f'classes are {list(CLASSES)}'
                )
        if len(set(classes)) != len(classes):
            raise ValueError(f'metainfo classes names a class twice: {list(classes)}')
        return tuple(classes)

    def load_data_list(self) -> list[dict]:
        """Reads and checks labels and images.

        Returns:
            One ``data_info`` for each frame, see the class.
        """
        self._check_layout()
        frames, report = load_frames(self.ann_file)
        numbers = self._chosen(frames)
        frames = [frames[number - 1] for number in numbers]
        paths = [self._image_path(frame) for frame in frames]
        sizes = self._image_sizes(frames, paths)
        data_list = [
            self._data_info(*item, report)
            for item in zip(numbers, frames, paths, sizes, strict=True)
        ]
        report.check_outside(self.ann_file, sum(len(info['instances']) for info in data_list))
        if self.image_size is None and not any(frame.size for frame in frames):
            self._check_scale(data_list)
        self._check_objects(data_list)
        summary = report.summary()
        if summary:
            print_log(f'{self.ann_file}: {summary}', logger='current', level=logging.WARNING)
        return data_list

    def _chosen(self, frames: Sequence[Frame]) -> list[int]:
        """Places, from 1, of the frames that are not to be left out."""
        names = [osp.basename(frame.name) for frame in frames]
        unknown = sorted(self.left_out - set(names))
        if unknown:
            near = difflib.get_close_matches(unknown[0], names, 1)
            raise ValueError(
                f'left_out: {self.ann_file} has no image {", ".join(map(repr, unknown))}'
                + (f'; did you mean {near[0]!r}?' if near else '')
            )
        chosen = [place for place, name in enumerate(names, 1) if name not in self.left_out]
        if not chosen:
            raise ValueError(f'left_out: names all {len(frames)} images of {self.ann_file}')
        return chosen

    def _check_objects(self, data_list: list[dict]) -> None:
        """Refuses a set without a single object that counts."""
        if self.allow_no_objects:
            return
        if not any(not item['ignore_flag'] for info in data_list for item in info['instances']):
            raise LabelFileError(
                f'{self.ann_file}: none of {len(data_list)} images has an object of the classes '
                f'{", ".join(self._metainfo["classes"])} that is not ignored: nothing can be '
                'learnt from it, and AP would be nan. Choose other labels or classes, or set '
                'allow_no_objects=True of the data set'
            )

    def _check_scale(self, data_list: list[dict]) -> None:
        """Refuses labels of smaller images, where nobody has said what size was labelled."""
        sizes = [(info['width'], info['height']) for info in data_list]
        boxes = [item['bbox'] for info in data_list for item in info['instances']]
        told = seems_smaller(boxes, sizes)
        if told is not None:
            raise LabelFileError(
                f'{self.ann_file}: {told}; if the boxes are right, say so by image_size={sizes[0]} '
                'of the data set'
            )

    def filter_data(self) -> list[dict]:
        """Applies ``filter_cfg`` outside of test mode."""
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        unknown = set(self.filter_cfg) - {'filter_empty_gt', 'min_size'}
        if unknown:
            raise ValueError(
                f'filter_cfg: unknown keys {sorted(unknown)}; known are '
                "'filter_empty_gt' and 'min_size'"
            )
        no_empty = self.filter_cfg.get('filter_empty_gt', False)
        min_size = self.filter_cfg.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if (info['instances'] or not no_empty)
            and min(info['width'], info['height']) >= min_size
        ]
        if not kept:
            raise ValueError(
                f'{self.ann_file}: filter_cfg={self.filter_cfg} leaves none of '
                f'{len(self.data_list)} images; no box of the classes '
                f'{list(self.metainfo["classes"])}, or all images smaller than min_size'
            )
        return kept

    def _check_layout(self) -> None:
        """Looks for data root, labels and image folder, and says what is there instead."""
        if self.data_root and not osp.isdir(self.data_root):
            raise FileNotFoundError(
                f'data_root {self.data_root!r} is no folder (working directory: {Path.cwd()}); set '
                'it by --cfg-options data_root=/path/to/bdd100k'
            )
        root = Path(self.data_root or '.')
        if not self.ann_file or not osp.exists(self.ann_file):
            found = [
                name
                for pattern in _KNOWN_LABELS
                for split in ('train', 'val')
                if (root / (name := pattern.format(split=split))).exists()
            ]
            hint = f'found instead: {found}' if found else _listing(root)
            raise FileNotFoundError(
                f'ann_file {self.ann_file!r} does not exist; {hint}. Expected e.g. '
                'labels/det_20/det_train.json below data_root'
            )
        folder = self.data_prefix.get('img', '')
        if 'img' not in self.data_prefix or (folder and not osp.isdir(folder)):
            raise FileNotFoundError(
                f'image folder {folder!r} does not exist; {_listing(root)}. Expected e.g. '
                "data_prefix=dict(img='images/100k/train') below data_root"
            )

    def _image_path(self, frame: Frame) -> str:
        """Path of a frame's image; clips keep theirs in a folder of their own or not."""
        folder = self.data_prefix['img']
        flat = osp.join(folder, frame.name)
        if frame.video and not osp.exists(flat):
            return osp.join(folder, frame.relative_path)
        return flat

    def _image_sizes(self, frames: list[Frame], paths: list[str]) -> list[tuple[int, int]]:
        """Sizes ``(width, height)`` in pixels, from labels, option or headers."""
        told = [frame.size or self.image_size for frame in frames]
        if not self.check_images and all(told):
            return told
        sizes = probe_images(paths, whole=self.check_images)
        for frame, path, size, claimed in zip(frames, paths, sizes, told, strict=True):
            if claimed and size != claimed:
                source = 'the labels say' if frame.size else 'image_size says'
                raise LabelFileError(
                    f'{frame.place}: {path} is {size[0]}x{size[1]} pixels, but {source} '
                    f'{claimed[0]}x{claimed[1]}: these labels are not for these images, or the '
                    'images were resized; use the original ones or correct the size'
                )
        return sizes

    def _data_info(
        self, img_id: int, frame: Frame, path: str, size: tuple[int, int], report: ParseReport
    ) -> dict[str, Any]:
        """Turns a frame into mmdet's form."""
        index_of = {name: index for index, name in enumerate(self._metainfo['classes'])}
        instances = []
        for label in frame.labels:
            if label.category not in index_of:
                continue
            box = fit_box(label, size, report, frame.place)
            if box is not None:
                instances.append(
                    {
                        'bbox': list(box),
                        'bbox_label': index_of[label.category],
                        'ignore_flag': int(label.ignored),
                        'attributes': label.attributes,
                        'label_id': label.id,
                    }
                )
        info = {
            'img_path': path,
            'img_id': img_id,
            'width': size[0],
            'height': size[1],
            'seg_map_path': None,
            'instances': instances,
        }
        info.update({key: frame.attributes[key] for key in FRAME_ATTRIBUTES})
        if self.return_classes:
            info.update(
                text=self._metainfo['classes'],
                caption_prompt=self.caption_prompt,
                custom_entities=True,
            )
        return info


def _listing(folder: Path) -> str:
    """What a folder holds, for messages."""
    names = sorted(item.name for item in folder.iterdir())
    return f'{str(folder)!r} holds {names[:12]}{" ..." if len(names) > 12 else ""}'
