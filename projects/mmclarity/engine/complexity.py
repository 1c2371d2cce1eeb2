"""How large a model is, and how much it computes."""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import get_shape
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmclarity.errors import UsageError

from .config import building, scope_of

Counts = dict[str, tuple[int, int]]


def complexity_of(cfg: Config, shape: tuple[int, int]) -> Counts:
    """Parameters and multiply-adds of a config's model, of all and of each part.

    Args:
        cfg: Its model is built with random weights.
        shape: Height and width of the image in pixels.

    Returns:
        By the name of the part, ``'all'`` first: parameters and multiply-adds of one image.

    Raises:
        UsageError: If the model cannot be built, or is neither a detector of mmdet nor a network
            with ``forward``.
    """
    settings = copy.deepcopy(cfg.model)
    backbone = settings.get('backbone') or {}
    backbone.pop('init_cfg', None)
    if 'pretrained' in backbone:
        backbone['pretrained'] = False
    _expect_masks(settings)
    # A second look takes what the first, of random weights, does not give up: always the same.
    with building(cfg), scope_of(cfg), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        # with gradients PointRend's masks cannot be traced
        model = MODELS.build(settings).eval().requires_grad_(False)
    whole = _Detector(model, shape) if cfg.get('default_scope') == 'mmdet' else _Network(model)
    analyzer = _counter(whole, whole.example(shape))
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    operations = analyzer.by_module()
    network, prefix = whole.network, 'network'
    counts = {'all': (_parameters(network), int(operations['']))}
    for name, part in network.named_children():
        if _parameters(part):
            counts[name] = (_parameters(part), int(operations.get(f'{prefix}.{name}', 0)))
    return counts


def complexity_of_network(network: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    """Parameters and multiply-adds of a network on one example.

    Args:
        network: In evaluation mode.
        inputs: What its ``forward`` takes.

    Examples:
        >>> complexity_of_network(nn.Linear(3, 2), torch.zeros(1, 3))
        (8, 6)
    """
    return _parameters(network), int(_counter(network, *inputs).total())


def _counter(network: nn.Module, *inputs: Tensor) -> FlopAnalyzer:
    analyzer = FlopAnalyzer(network, inputs=inputs)
    analyzer.set_op_handle('aten::scaled_dot_product_attention', _dot_product_attention)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analyzer.tracer_warnings('none')


def _dot_product_attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Q K^T and its product with V, which mmengine's counter passes over."""
    queries, keys, values = (get_shape(value) for value in inputs[:3])
    return math.prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])


def _expect_masks(settings: dict[str, Any]) -> None:
    """Masks are made of what is found; random weights are sure of nothing and find nothing."""
    tested = (settings.get('test_cfg') or {}).get('rcnn')
    if tested and (settings.get('roi_head') or {}).get('mask_head'):
        tested['score_thr'] = 0.0


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class _Detector(nn.Module):
    """One image through a detector of mmdet, its suppression included."""

    def __init__(self, model: nn.Module, shape: tuple[int, int]) -> None:
        super().__init__()
        from mmdet.structures import DetDataSample

        self.network = model
        if hasattr(getattr(model, 'rpn_head', None), 'init_proposal_bboxes'):
            _keep_proposals(model)
        meta: dict[str, Any] = dict(
            img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)
        )
        meta['batch_input_shape'] = self._padded(shape)
        self.samples = [DetDataSample(metainfo=meta)]

    def example(self, shape: tuple[int, int]) -> Tensor:
        """Smooth noise: of an image without any structure few proposals would be left."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 3, *self._padded(shape), generator=generator)

    def _padded(self, shape: tuple[int, int]) -> tuple[int, ...]:
        divisor = max(getattr(self.network.data_preprocessor, 'pad_size_divisor', 1), 1)
        return tuple(-(-length // divisor) * divisor for length in shape)

    def forward(self, image: Tensor) -> tuple:
        """The raw outputs of all parts."""
        maps = self.network.extract_feat(image)
        if not hasattr(self.network, 'roi_head'):
            return self.network._forward(image, self.samples)
        proposals = self.network.rpn_head.predict(maps, self.samples, rescale=False)
        found = self.network.roi_head.predict(maps, proposals, self.samples, rescale=False)
        masks = found[0].get('masks')
        return (found[0].bboxes,) if masks is None else (found[0].bboxes, masks)


def _keep_proposals(model: nn.Module) -> None:
    """Learned proposals stay the whole image.

    Random weights move them out of it, where mmdet cannot paste the masks of QueryInst. What is
    computed hangs on their number alone.
    """
    model.rpn_head.init_weights()
    for head in model.roi_head.bbox_head:
        for value in head.fc_reg.parameters():
            nn.init.zeros_(value)


class _Network(nn.Module):
    """One image through a restorer's network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if hasattr(model, 'generators'):  # of mmagic's translation models, by what they make
            network = model.get_module(model.generators)[model._default_domain]
        else:
            network = getattr(model, 'generator', model)
        if not isinstance(network, nn.Module):
            raise UsageError(f'{type(model).__name__} has no network whose operations could count')
        self.network = network

    def example(self, shape: tuple[int, int]) -> Tensor:
        """One grey image, or of as many channels as the first convolution takes."""
        convolutions = [m for m in self.network.modules() if isinstance(m, nn.Conv2d)]
        channels = convolutions[0].in_channels if convolutions else 1
        # A U-net of mmagic halves the image once in each of its nested blocks.
        nested = sum(type(m).__name__ == 'UnetSkipConnectionBlock' for m in self.network.modules())
        stride = max(32, 2**nested)
        return torch.zeros(1, channels, *(-(-length // stride) * stride for length in shape))

    def forward(self, image: Tensor) -> Tensor:
        """The restored image."""
        return self.network(image)
