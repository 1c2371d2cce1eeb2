"""Draws what the detector looked at in a few images of each validation."""

from __future__ import annotations

import cv2
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.utils.images import decode
from mmclarity.utils.models import unwrap

from .looks import check_explains, looks_of
from .pictures import draw_look


@HOOKS.register_module()
class AttentionVisualizationHook(Hook):
    """Sends pictures of attention to the visualizer: TensorBoard, a folder, what is configured.

    Of the first images of a validation each is drawn with the detections that the context changed
    most, the regions that these drew on, and what they would be called without context. In a
    config: ``custom_hooks = [..., dict(type='AttentionVisualizationHook')]``.

    Args:
        images: How many of them, spread over the validation set. Defaults to 4.
        detections: How many of their detections get lines to their neighbours. Defaults to 3.
        top: To how many regions. Defaults to 5.
        threshold: Least score of what is drawn. Defaults to 0.3.

    Raises:
        UsageError: Before training, if the detector has no attention among regions.
    """

    def __init__(
        self, images: int = 4, detections: int = 3, top: int = 5, threshold: float = 0.3
    ) -> None:
        if images < 1 or detections < 1 or top < 1:
            raise ValueError('images, detections and top must be at least 1')
        self.images, self.detections, self.top = images, detections, top
        self.threshold = threshold

    def before_train(self, runner: Runner) -> None:
        """Refuse a detector that has nothing to show."""
        check_explains(unwrap(runner.model))

    def before_val(self, runner: Runner) -> None:
        """Refuse it also where only validated."""
        check_explains(unwrap(runner.model))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: list | None = None
    ) -> None:
        """Look once more at the first image of some batches."""
        batches = len(runner.val_dataloader)
        every = max(1, batches // self.images)
        if batch_idx % every or batch_idx // every >= self.images:
            return
        model = unwrap(runner.model)
        first = {key: values[:1] for key, values in data_batch.items()}
        classes = tuple(runner.val_dataloader.dataset.metainfo['classes'])
        look = looks_of(model, first, classes, self.threshold, self.top)[0]
        path = data_batch['data_samples'][0].img_path
        pixels = decode(get(path))
        if pixels is None:
            return
        picture = draw_look(pixels, look, classes, self.detections)
        # No slash: a backend that writes files takes the name as theirs.
        name = f'attention_{batch_idx // every}'
        runner.visualizer.add_image(
            name, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), step=runner.iter
        )
