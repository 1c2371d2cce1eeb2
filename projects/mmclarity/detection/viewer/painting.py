"""Painted images of a test, each under a name of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.utils.models import innermost


@HOOKS.register_module()
class ApartVisualizationHook(DetVisualizationHook):
    """mmdet's hook; images of one name in several folders do not replace each other.

    mmdet paints ``clip_1/0001.jpg`` and ``clip_2/0001.jpg`` into one file. Where names occur
    again, the folders of the data set are kept below ``test_out_dir``. ``test.py --show-dir`` puts
    this hook in the place of mmdet's; arguments are those of ``DetVisualizationHook``.
    """

    def before_test(self, runner: Runner) -> None:
        """Look whether names occur again, and where the folders part."""
        self._place, self._common = self.test_out_dir, None
        paths = [
            info['img_path']
            for part in innermost(runner.test_dataloader.dataset)
            for info in map(getattr(part, 'get_data_info', dict), range(len(part)))
            if isinstance(info.get('img_path'), str)
        ]
        if len({os.path.basename(path) for path in paths}) < len(set(paths)):
            self._common = os.path.commonpath([_folder(path) for path in paths])

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[Any]
    ) -> None:
        """Paint; see mmdet's."""
        if self._common is None or self._place is None:
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
            return
        for sample in outputs:
            folder = os.path.relpath(_folder(sample.img_path), self._common)
            self.test_out_dir = os.path.normpath(os.path.join(self._place, folder))
            super().after_test_iter(runner, batch_idx, data_batch, [sample])


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))
