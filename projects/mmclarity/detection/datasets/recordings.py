"""A part of BDD100K's training frames held out, without parting the frames of a recording."""

from __future__ import annotations

import zlib
from typing import Any

from mmdet.registry import DATASETS

from .bdd100k import BDD100KDataset

# BDD100K's file names begin with eight characters that name the recording.
RECORDING_CHARACTERS = 8


def fold_of(name: str, folds: int) -> int:
    """The part of ``folds`` that a frame belongs to, the same in every run and on every machine.

    Args:
        name: File name of the frame; its first eight characters decide.
        folds: Number of parts, 2 or more.

    Returns:
        0 .. folds - 1.
    """
    return zlib.crc32(name[:RECORDING_CHARACTERS].encode()) % folds


@DATASETS.register_module()
class BDD100KFold(BDD100KDataset):
    """The frames of one part of the recordings, or those of all the others.

    To choose among detectors without a look at the validation frames: train on
    ``dict(type='BDD100KFold', held_out=False)`` and validate on the same files with
    ``held_out=True``.

    Args:
        held_out: The part itself (True) or all other frames (False).
        fold: Which part, 0 .. folds - 1.
        folds: How many parts of about the same size.
        args, kwargs: See :class:`BDD100KDataset`.

    Raises:
        ValueError: If the part does not exist, or no frame is in it.
    """

    def __init__(
        self, *args: Any, held_out: bool, fold: int = 0, folds: int = 8, **kwargs: Any
    ) -> None:
        if folds < 2 or not 0 <= fold < folds:
            raise ValueError(
                f'BDD100KFold: fold must lie in 0 .. folds - 1 and folds be 2 or '
                f'more, got fold={fold}, folds={folds}'
            )
        self.held_out, self.fold, self.folds = held_out, fold, folds
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """See :class:`BDD100KDataset`; ``img_id`` still counts the frames of the whole file."""
        everything = super().load_data_list()
        chosen = [info for info in everything if self._is_chosen(info['img_path'])]
        if not chosen:
            raise ValueError(
                f'{self.ann_file}: none of {len(everything)} frames is in fold '
                f'{self.fold} of {self.folds} (held_out={self.held_out})'
            )
        return chosen

    def _is_chosen(self, path: str) -> bool:
        name = path.replace('\\', '/').rsplit('/', 1)[-1]
        return (fold_of(name, self.folds) == self.fold) == self.held_out
