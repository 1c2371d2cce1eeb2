"""A trained detector, ready for arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from mmdet.apis import DetInferencer

from mmclarity.engine.config import load_config
from mmclarity.utils import checkpoints

from .detections import Detections, check_image


class Detector:
    """A trained detector on mmdet's ``DetInferencer``; the checkpoint must belong to the config.

    Args:
        config: Config file; also looked for in the repository.
        checkpoint: Weights that belong to it.
        device: Such as ``'cuda:0'``; None takes the best there is.
        threshold: Detections of a lower score are left out.

    Raises:
        UsageError: If a file is missing or damaged, or the weights are of another model.

    Attributes:
        inferencer: mmdet's, for all that it can do besides.
        classes: Names of the classes.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import torch
        >>> from mmdet.registry import MODELS
        >>> from mmclarity.detection.inference import Detector
        >>> from mmclarity.engine.config import load_config
        >>> cfg = load_config('lambda_frcnn_murky.py')
        >>> model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(dict(state_dict=model.state_dict()), f'{folder}/a.pth')
        ...     detector = Detector('lambda_frcnn_murky.py', f'{folder}/a.pth', threshold=0.9)
        Loads checkpoint by local backend from path: ...
        >>> detector([np.zeros((192, 320, 3), np.uint8)])[0].names
        []
    """

    def __init__(
        self, config: str, checkpoint: str, device: str | None = None, threshold: float = 0.3
    ) -> None:
        cfg = load_config(config)
        weights = checkpoints.load_checkpoint_file(checkpoint)
        backbone = cfg.model.get('backbone') or {}
        # All weights come from the checkpoint: others need not be at hand.
        backbone.pop('init_cfg', None)
        if 'pretrained' in backbone:
            backbone['pretrained'] = False
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what mmdet would draw with
            self.inferencer = DetInferencer(cfg, checkpoint, device, show_progress=False)
        checkpoints.check_fits(weights, self.inferencer.model, checkpoint)
        self.classes = tuple(self.inferencer.model.dataset_meta['classes'])
        self.threshold = threshold

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Detect in a batch.

        Args:
            images: Each (H, W, 3), 8 bit, blue, green, red, of any size.

        Raises:
            DataError: If an image is of another kind.
        """
        for image in images:
            check_image(image)
        if not len(images):
            return []
        results = self.inferencer(
            list(images), batch_size=len(images), return_datasamples=True, no_save_vis=True
        )
        return [self._detections(sample.pred_instances) for sample in results['predictions']]

    def _detections(self, found) -> Detections:
        found = found.cpu()
        scores = found.scores.float().numpy()
        kept = np.argsort(-scores, kind='stable')
        kept = kept[scores[kept] >= self.threshold]
        return Detections(
            found.bboxes.float().numpy()[kept],
            scores[kept],
            found.labels.numpy()[kept],
            self.classes,
        )
