"""A trained detector, ready for arrays."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmclarity.engine.config import building, load_config
from mmclarity.engine.hooks.precision import has_bfloat16_units, keep_float32
from mmclarity.errors import UsageError
from mmclarity.utils import checkpoints
from mmclarity.utils.devices import check_device

from ..shipped import DETECTORS, load_shipped, shipped_config
from .black_bars import inside_bars
from .detections import Detections, check_images, check_threshold

DTYPES = ('float32', 'bfloat16', 'float16')


class Detector:
    """A trained detector on mmdet's ``DetInferencer``: the one that ships, or one's own.

    Args:
        config: Config file of one's own detector; also looked for in the repository.
        checkpoint: Weights that belong to it. Neither of the two: the detector of road scenes that
            ships with the package.
        device: Such as ``'cuda:0'``; None takes the best there is.
        threshold: From 0 to 1; detections of a lower score are left out.
        plain: Short for ``shipped='plain'``.
        dtype: 'float32', 'bfloat16' or 'float16' for mixed precision; what makes logits and boxes
            stays in float32. By default as ``tools/test.py`` evaluates on a CPU: bfloat16 where
            the processor computes in it and the config has
            ``MixedPrecisionHook(evaluation=True)``, as those of the shipped detectors; else
            float32.
        shipped: Of the detectors that ship 'two_looks' (the default), 'context' (its second look
            with attention among the proposals) or 'plain' (one look).

    Raises:
        UsageError: If a file is missing or damaged, the weights are of another model, one of
            ``config`` and ``checkpoint`` is given without the other, or ``dtype`` or
            ``threshold`` is none.

    Attributes:
        inferencer: mmdet's, for all that it can do besides.
        classes: Names of the classes.
        scale: Longer and shorter side to which images are brought, their ratio kept; None if they
            are not.
        dtype: What it computes in.
        cuts_bars: Whether black bars are cut off images, as ``cut_black_bars`` of the config says;
            of those that were trained on pictures without any.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.detection import Detector
        >>> detector = Detector()  # the detector of road scenes that ships
        >>> grey = np.full((360, 640, 3), 127, np.uint8)
        >>> detector([grey])[0].names
        []
    """

    def __init__(
        self,
        config: str | None = None,
        checkpoint: str | None = None,
        device: str | None = None,
        threshold: float = 0.3,
        plain: bool = False,
        dtype: str | None = None,
        shipped: str | None = None,
    ) -> None:
        if (config is None) != (checkpoint is None):
            raise UsageError(
                'a detector of your own takes a config and its checkpoint (in detect.py '
                '--config and --checkpoint); give both, or neither for the shipped one'
            )
        if plain and shipped not in (None, 'plain'):
            raise UsageError(f'plain and shipped={shipped!r} are two detectors; give one of them')
        if plain:
            shipped = 'plain'
        if config is not None and shipped is not None:
            raise UsageError(
                f'{shipped!r} chooses among the shipped detectors; give no config with it'
            )
        if dtype not in (None, *DTYPES):
            raise UsageError(f'dtype must be one of {", ".join(DTYPES)}, got {dtype!r}')
        self.threshold = check_threshold(threshold)
        if device is not None:
            check_device(device)
        # Not for good: the caller may build parts of other libraries afterwards.
        with _quiet(), DefaultScope.overwrite_default_scope('mmdet'):
            if config is None:
                self.inferencer = _shipped(shipped or DETECTORS[0], device)
            else:
                self.inferencer = _own(config, checkpoint, device)
        model = self.inferencer.model
        self.classes = tuple(model.dataset_meta['classes'])
        self.dtype = getattr(torch, dtype) if dtype else self._evaluated_in(config is None)
        # In this layout, too, float32 is faster on the CPU.
        model.to(memory_format=torch.channels_last)
        if self.dtype != torch.float32:
            keep_float32(model)
        self.cuts_bars = bool(self.inferencer.cfg.get('cut_black_bars', False))
        steps = self.inferencer.pipeline.transforms
        self.scale = next(
            (step.scale for step in steps if getattr(step, 'keep_ratio', False)), None
        )

    def __call__(self, images: Iterable[np.ndarray]) -> list[Detections]:
        """Detect in a batch.

        Images of one size go through the network together. Of several sizes they do not: the
        smaller ones would be padded, which costs memory and shifts scores a little. Where
        :attr:`cuts_bars`, black bars are cut off before (:func:`.inside_bars`).

        Args:
            images: Each (H, W, 3), 8 bit, blue, green, red, of any size.

        Raises:
            DataError: If an image is of another kind.
        """
        images = check_images(images, self.scale)
        parts = [inside_bars(image, self.cuts_bars) for image in images]
        images = [image[part] for image, part in zip(images, parts)]
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            alike.setdefault(image.shape, []).append(place)
        found: dict[int, Detections] = {}
        for places in alike.values():
            with self.autocast():
                results = self.inferencer(
                    [images[place] for place in places],
                    batch_size=len(places),
                    return_datasamples=True,
                    no_save_vis=True,
                )
            for place, sample in zip(places, results['predictions'], strict=True):
                rows, columns = parts[place]
                inside = self._detections(sample.pred_instances)
                found[place] = inside.moved(columns.start, rows.start)
        return [found[place] for place in range(len(images))]

    def autocast(self) -> torch.autocast:
        """Within this context :attr:`inferencer` computes in :attr:`dtype`, as calls do."""
        device = next(self.inferencer.model.parameters()).device.type
        return torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32)

    def _evaluated_in(self, shipped: bool) -> torch.dtype:
        hooks = self.inferencer.cfg.get('custom_hooks') or ()
        mixed = shipped or any(
            hook.get('type') == 'MixedPrecisionHook' and hook.get('evaluation') for hook in hooks
        )
        on_cpu = next(self.inferencer.model.parameters()).device.type == 'cpu'
        return torch.bfloat16 if mixed and on_cpu and has_bfloat16_units() else torch.float32

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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what mmdet and mmengine say of their own insides while an inferencer is built."""

    def ours(record: logging.LogRecord) -> bool:
        # mmdet looks for collate functions in a scope of its own that has none.
        return not record.getMessage().startswith('Failed to search registry with scope')

    logger = MMLogger.get_current_instance()
    logger.addFilter(ours)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what mmdet would draw with
            yield
    finally:
        logger.removeFilter(ours)


def _own(config: str, checkpoint: str, device: str | None) -> DetInferencer:
    cfg = load_config(config)
    if cfg.get('default_scope', 'mmdet') != 'mmdet' or 'model' not in cfg:
        raise UsageError(f'{config} is no config of a detector (its default_scope is not mmdet)')
    shipped = checkpoint == checkpoints.SHIPPED
    weights = {} if shipped else checkpoints.load_checkpoint_file(checkpoint)
    backbone = cfg.model.get('backbone') or {}
    # All weights come from the checkpoint: others need not be at hand.
    backbone.pop('init_cfg', None)
    if 'pretrained' in backbone:
        backbone['pretrained'] = False
    with building(cfg):
        inferencer = DetInferencer(
            cfg, None if shipped else checkpoint, device, show_progress=False
        )
    if shipped:
        _load_shipped(inferencer)
    else:
        checkpoints.check_fits(weights, inferencer.model, checkpoint)
    return inferencer


def _load_shipped(inferencer: DetInferencer) -> None:
    name = load_shipped(inferencer.model)
    inferencer.model.dataset_meta = dict(shipped_config(name)['metainfo'])
    inferencer.visualizer.dataset_meta = inferencer.model.dataset_meta


def _shipped(name: str, device: str | None) -> DetInferencer:
    told = shipped_config(name)
    dataset = dict(type=told['dataset'], metainfo=told['metainfo'], pipeline=told['pipeline'])
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=told['model'],
            test_dataloader=dict(dataset=dataset),
            visualizer=dict(type='DetLocalVisualizer'),
            cut_black_bars=True,  # cameras of cars record none
        )
    )
    inferencer = DetInferencer(cfg, None, device, show_progress=False)
    _load_shipped(inferencer)
    return inferencer
