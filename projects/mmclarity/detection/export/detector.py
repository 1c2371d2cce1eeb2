"""A whole two-stage detector as one ONNX file, for images of any size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from onnx import TensorProto
from torch import nn
from torch.export import Dim

from mmclarity import __version__
from mmclarity.errors import UsageError
from mmclarity.utils.files import write_bytes

from ..inference.onnx_detector import METADATA
from . import stages
from .graph import Graph
from .networks import Judge, Trunk, exported

PACKAGES = ('onnx', 'onnxscript')
_EXAMPLE = (96, 160)  # pixels: multiples of every stride, unlike each other
_REGIONS, _SOURCES = 7, 5
# Steps of a test pipeline that leave the pixels alone.
_PASSIVE = (
    'InferencerLoader',
    'LoadAnnotations',
    'LoadImageFromFile',
    'LoadUprightImage',
    'PackDetInputs',
)


def export_detector(
    model: nn.Module,
    path: str | Path,
    opset: int = 18,
    overwrite: bool = False,
    boxes_only: bool = False,
) -> None:
    """Write a detector: image in, boxes, scores and labels out.

    Backbone, neck, RPN and box heads, attention among regions included, are exported by torch;
    anchors, proposals, RoIAlign with mmdet's choice of levels, box coding and suppression by class
    are written with ONNX operators. Inputs: ``image`` (height, width, 3), 8 bit, blue, green, red,
    resized as in testing; ``max_proposals`` (1,), which need not be given. Outputs: ``boxes``
    (K, 4) in pixels of ``image``, ``scores`` (K,), ``labels`` (K,). Names of the classes and the
    size to resize to are in the file's metadata.

    Args:
        model: A detector of mmdet in evaluation mode on the CPU, with ``cfg`` and
            ``dataset_meta`` as ``init_detector`` gives it.
        path: The new file.
        opset: Of ONNX, 18 or newer.
        overwrite: Replace an existing file.
        boxes_only: Of a detector with masks leave these out.

    Raises:
        UsageError: If the detector has a part that the export does not know, masks among them.
        ModuleNotFoundError: Naming the packages that are missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f'export needs further packages: pip install {" ".join(missing)}')
    _check(model, boxes_only)
    metadata = dict(
        classes=list(model.dataset_meta['classes']),
        resize=_resize(model.cfg),
        cut_black_bars=bool(model.cfg.get('cut_black_bars', False)),
        mmclarity=__version__,
    )
    with torch.no_grad():
        content = _graph(model, opset).model({METADATA: json.dumps(metadata)})
    write_bytes(path, content.SerializeToString(), overwrite=overwrite)


def _check(model: nn.Module, boxes_only: bool) -> None:
    """Refuse, by name, what would be exported wrongly."""
    kind = type(model).__name__
    if model.training:
        raise ValueError('the model is in training mode; call model.eval() first')
    if getattr(model, 'rpn_head', None) is None or getattr(model, 'roi_head', None) is None:
        raise UsageError(
            f'{kind} cannot be exported: the export knows two-stage detectors (Faster R-CNN, '
            'Mask R-CNN without its masks, Cascade R-CNN)'
        )
    roi, rpn = model.roi_head, model.rpn_head
    if roi.with_mask and not boxes_only:
        raise UsageError(
            f'{kind} has masks, which are not exported: boxes, scores and labels are. Ask for '
            'these alone by --boxes-only (in Python boxes_only=True)'
        )
    heads = _stages(roi)[0]
    anchors = rpn.prior_generator
    problems = {
        f'{type(rpn).__name__} with softmax': not rpn.use_sigmoid_cls,
        'a shared head': roi.with_shared_head,
        'a semantic branch': getattr(roi, 'with_semantic', False),
        f'{type(anchors).__name__}': type(anchors).__name__ != 'AnchorGenerator'
        or bool(anchors.center_offset),
        'scores that are no softmax': any(head.custom_cls_channels for head in heads),
        'a cascade with boxes by class': len(heads) > 1
        and not all(head.reg_class_agnostic for head in heads),
    }
    for what, is_there in problems.items():
        if is_there:
            raise UsageError(f'{kind} cannot be exported: {what} is not known to the export')


def _resize(cfg: Any) -> dict[str, Any]:
    """How the test pipeline resizes, as plain values.

    Raises:
        UsageError: If it does anything else to the pixels.
    """
    found: dict[str, Any] = {}
    for step in cfg.test_dataloader.dataset.pipeline:
        kind = str(step['type']).rpartition('.')[2]
        if kind == 'Resize' and not found:
            scale, known = step.get('scale'), {'type', 'scale', 'keep_ratio'}
            if set(step) <= known and isinstance(scale, tuple | list):
                found = dict(scale=list(scale), keep_ratio=bool(step.get('keep_ratio', False)))
                continue
        if kind not in _PASSIVE:
            raise UsageError(
                f'the test pipeline has a step that the exported detector could not repeat: '
                f'{dict(step)}; it knows one Resize with scale and keep_ratio'
            )
    return found


def _stages(roi_head: nn.Module) -> tuple[list, list]:
    """Box heads and extractors, one a stage."""
    heads, extractors = roi_head.bbox_head, roi_head.bbox_roi_extractor
    if isinstance(heads, nn.ModuleList):
        return list(heads), list(extractors)
    return [heads], [extractors]


def _graph(model: nn.Module, opset: int) -> Graph:
    g, pre, roi = Graph(opset), model.data_preprocessor, model.roi_head
    heads, extractors = _stages(roi)
    image = g.input('image', TensorProto.UINT8, ['height', 'width', 3])
    most = model.rpn_head.test_cfg.get('max_per_img', -1)
    count = g.option('max_proposals', most if most > 0 else stages.ALL)
    mean, std = ((value.flatten().tolist()) for value in (pre.mean, pre.std))
    x = stages.prepared(g, image, mean, std, pre._channel_conversion, pre.pad_size_divisor)
    limits = stages.limits_of(g, image)

    num_maps = max(extractor.num_inputs for extractor in extractors)
    divisor = max(pre.pad_size_divisor, 1)
    free = {2: divisor * Dim('rows', min=2), 3: divisor * Dim('columns', min=2)}
    if divisor == 1:
        free = {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    size = (-(-length // divisor) * divisor for length in _EXAMPLE)
    example = dict(image=torch.zeros(1, 3, *size))
    trunk = Trunk(model, num_maps)
    values = g.inline(exported(trunk, example, dict(image=free), opset), 'trunk_', x)
    levels = (len(values) - num_maps) // 2
    logits, deltas, maps = values[:levels], values[levels : 2 * levels], values[2 * levels :]
    boxes, _ = stages.proposals(g, logits, deltas, model.rpn_head, limits, count)

    said, first = [], boxes
    for stage, (head, extractor) in enumerate(zip(heads, extractors, strict=True)):
        regions = _Regions(boxes, maps[: extractor.num_inputs], extractor)
        # In a cascade the sources stay where the RPN saw them.
        apart = first if len(heads) > 1 else None
        verdict, moves = _judged(g, head, regions, apart, f'head{stage}_', opset)
        said.append(verdict)
        if stage == 0 and getattr(roi, 'look_again', 0):
            kept = stages.worth_another_look(g, verdict, roi.look_again)
            boxes, moves = g.add('Gather', boxes, kept), g.add('Gather', moves, kept)
            said = [g.add('Gather', verdict, kept)]
        if stage < len(heads) - 1:
            boxes = stages.decoded(g, boxes, g.columns(moves, 0, 4), head.bbox_coder, limits)
    verdict = said[0]
    if len(said) > 1:
        verdict = g.add('Mean', *said)
    found = stages.detections(g, boxes, verdict, moves, heads[-1], roi.test_cfg, limits)
    g.output('boxes', found[0], TensorProto.FLOAT, ['detections', 4])
    g.output('scores', found[1], TensorProto.FLOAT, ['detections'])
    g.output('labels', found[2], TensorProto.INT64, ['detections'])
    return g


@dataclass(frozen=True)
class _Regions:
    """What a stage judges: boxes (N, 4), and what pools their features from which maps."""

    boxes: str
    maps: list[str]
    extractor: nn.Module

    def pooled(self, g: Graph, boxes: str) -> str:
        return stages.pooled(g, self.maps, boxes, self.extractor)

    def example(self, count: int) -> list[torch.Tensor]:
        """Features and boxes for the exporter."""
        corner = torch.rand(count, 2) * 40
        size = self.extractor.roi_layers[0].output_size
        features = torch.rand(count, self.extractor.out_channels, *size)
        return [features, torch.cat([corner, corner + 20], 1)]


def _judged(
    g: Graph, head: nn.Module, regions: _Regions, apart: str | None, name: str, opset: int
) -> list[str]:
    """Logits and deltas by a box head, which is told its regions if it looks at them.

    Sources are the RPN's most certain boxes: the first ones, as they come in that order. They are
    regions themselves, or pooled for themselves from the boxes ``apart``.
    """
    count, few = Dim('regions', min=2), Dim('sources', min=2)
    judge = Judge(head)
    given = {
        'features': (regions.pooled(g, regions.boxes), regions.example(_REGIONS)[0], {0: count}),
        'boxes': (regions.boxes, regions.example(_REGIONS)[1], {0: count}),
    }
    if not judge.looks:
        given.pop('boxes')
    elif head.num_sources and apart is None:
        most = g.add('Min', g.whole(head.num_sources), g.size(regions.boxes, 0))
        given['sources'] = (g.numbers_to(most), torch.arange(_SOURCES), {0: few})
    elif head.num_sources:
        most = g.add('Min', g.whole(head.num_sources), g.size(apart, 0))
        chosen = g.add('Gather', apart, g.numbers_to(most))
        features, boxes = regions.example(_SOURCES)
        given['source_features'] = (regions.pooled(g, chosen), features, {0: few})
        given['source_boxes'] = (chosen, boxes, {0: few})
    values, examples, free = ({key: v[i] for key, v in given.items()} for i in range(3))
    model = exported(judge, examples, free, opset)
    # The exporter leaves out what a head does not use, such as boxes without a geometry.
    return g.inline(model, name, *(values[one.name] for one in model.graph.input))
