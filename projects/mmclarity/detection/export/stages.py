"""What a two-stage detector does between its networks, as ONNX operators.

Each function appends to a :class:`Graph` what mmdet computes for one image in evaluation. Boxes are
x1, y1, x2, y2 in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmclarity.errors import UsageError

from .graph import Graph
from .suppression import ALL, agreed, damped, plain_nms, suppressed


def prepared(g: Graph, image: str, mean: list, std: list, swap: bool, divisor: int) -> str:
    """An image (H, W, 3) of 8 bit, normalised, its right and lower edge padded: (1, 3, H', W')."""
    x = g.add('Cast', image, to=1)
    if swap:
        x = g.add('Gather', x, g.whole(2, 1, 0), axis=2)
    x = g.add('Div', g.add('Sub', x, g.constant(mean)), g.constant(std))
    x = g.add('Unsqueeze', g.add('Transpose', x, perm=[2, 0, 1]), g.whole(0))
    size = g.add('Shape', x, start=2)
    steps = g.add('Div', g.add('Add', size, g.whole(divisor - 1)), g.whole(divisor))
    missing = g.add('Sub', g.add('Mul', steps, g.whole(divisor)), size)
    pads = g.add('Concat', g.whole(0, 0, 0, 0, 0, 0), missing, axis=0)
    return g.add('Pad', x, pads, g.constant(0.0))


def limits_of(g: Graph, image: str) -> str:
    """(1, 4) width, height, width, height of the image (H, W, 3) without its padding."""
    size = g.add('Cast', g.add('Gather', g.add('Shape', image), g.whole(1, 0, 1, 0)), to=1)
    return g.add('Unsqueeze', size, g.whole(0))


def decoded(g: Graph, boxes: str, deltas: str, coder, limits: str) -> str:
    """Boxes (N, 4) moved by deltas (N, 4) and clipped, as by mmdet's ``DeltaXYWHBBoxCoder``.

    Args:
        g: The graph.
        boxes: What the deltas count from.
        deltas: As the network gives them.
        coder: mmdet's coder, for its means and deviations.
        limits: See :func:`limits_of`.

    Raises:
        UsageError: If the coder is another.
    """
    if type(coder).__name__ != 'DeltaXYWHBBoxCoder' or coder.add_ctr_clamp:
        raise UsageError(
            f'box coder {type(coder).__name__} is not known to the export; it knows '
            'DeltaXYWHBBoxCoder without add_ctr_clamp'
        )
    deltas = g.add('Mul', deltas, g.constant([coder.stds]))
    deltas = g.add('Add', deltas, g.constant([coder.means]))
    low, high = g.columns(boxes, 0, 2), g.columns(boxes, 2, 4)
    half = g.constant(0.5)
    centre = g.add('Mul', g.add('Add', low, high), half)
    size = g.add('Sub', high, low)
    most = abs(np.log(16 / 1000))  # mmdet's wh_ratio_clip
    growth = g.add('Clip', g.columns(deltas, 2, 4), g.constant(-most), g.constant(most))
    centre = g.add('Add', centre, g.add('Mul', size, g.columns(deltas, 0, 2)))
    reach = g.add('Mul', g.add('Mul', size, g.add('Exp', growth)), half)
    moved = g.add('Concat', g.add('Sub', centre, reach), g.add('Add', centre, reach), axis=1)
    if not coder.clip_border:
        return moved
    return g.add('Min', g.add('Max', moved, g.constant(0.0)), limits)


def proposals(
    g: Graph, scores: Sequence[str], deltas: Sequence[str], rpn_head, limits: str, most: str
) -> tuple[str, str]:
    """What the RPN proposes in the order of falling objectness.

    Args:
        g: The graph.
        scores: Of each level the logits (1, A, H, W).
        deltas: Of each level (1, 4 A, H, W).
        rpn_head: mmdet's, for its anchors and test settings.
        limits: See :func:`limits_of`.
        most: (1,) int64: no more than so many.

    Returns:
        Boxes (N, 4) and objectness (N,).
    """
    found = [
        _level(g, rpn_head, level, logits, moves, limits)
        for level, (logits, moves) in enumerate(zip(scores, deltas, strict=True))
    ]
    boxes, values = (g.add('Concat', *parts, axis=0) for parts in zip(*found, strict=True))
    values, places = g.highest(values, most)
    return g.add('Gather', boxes, places), values


def _level(
    g: Graph, rpn_head, level: int, logits: str, deltas: str, limits: str
) -> tuple[str, str]:
    cfg, anchors = rpn_head.test_cfg, rpn_head.prior_generator
    base = anchors.base_anchors[level].numpy()
    columns = g.size(logits, 3)
    logits = g.add('Reshape', g.add('Transpose', logits, perm=[0, 2, 3, 1]), g.whole(-1))
    deltas = g.add('Reshape', g.add('Transpose', deltas, perm=[0, 2, 3, 1]), g.whole(-1, 4))
    before = cfg.get('nms_pre', -1)
    logits, places = g.highest(logits, g.whole(before if before > 0 else ALL))
    deltas = g.add('Gather', deltas, places)
    kinds = g.whole(len(base))
    cells = g.add('Div', places, kinds)
    stride = np.array([anchors.strides[level]], np.float32)
    shift = [g.add('Mod', cells, columns), g.add('Div', cells, columns)]
    shift = g.add('Concat', *(g.add('Unsqueeze', part, g.whole(1)) for part in shift), axis=1)
    shift = g.add('Mul', g.add('Cast', shift, to=1), g.constant(stride))
    shift = g.add('Concat', shift, shift, axis=1)
    boxes = g.add('Add', g.add('Gather', g.constant(base), g.add('Mod', places, kinds)), shift)
    boxes = decoded(g, boxes, deltas, rpn_head.bbox_coder, limits)
    scores = g.add('Sigmoid', logits)
    least = cfg.get('min_bbox_size', -1)
    if least >= 0:
        size = g.add('Sub', g.columns(boxes, 2, 4), g.columns(boxes, 0, 2))
        small = g.add('ReduceMin', size, g.whole(1), keepdims=0)
        kept = g.where_true(g.add('Greater', small, g.constant(float(least))))
        boxes, scores = g.add('Gather', boxes, kept), g.add('Gather', scores, kept)
    kept = suppressed(
        g,
        g.add('Unsqueeze', boxes, g.whole(0)),
        g.add('Unsqueeze', scores, g.whole(0, 1)),
        plain_nms(cfg['nms'], 'test_cfg.rpn.nms'),
        None,
    )
    kept = g.add('Gather', kept, g.constant(2, np.int64), axis=1)
    return g.add('Gather', boxes, kept), g.add('Gather', scores, kept)


def worth_another_look(g: Graph, logits: str, least: float) -> str:
    """Places (K,) of regions with a class of this probability, or with the largest of all.

    Args:
        g: The graph.
        logits: Of the first stage (N, C + 1), background last.
        least: See :class:`.CascadeRegionAttentionRoIHead`.
    """
    names = g.columns(g.add('Softmax', logits, axis=-1), 0, -1)
    best = g.add('ReduceMax', names, g.whole(1), keepdims=0)
    most = g.add('ReduceMax', best, g.whole(0), keepdims=1)
    worth = g.add('GreaterOrEqual', best, g.constant(least))
    return g.where_true(g.add('Or', worth, g.add('GreaterOrEqual', best, most)))


def pooled(g: Graph, maps: Sequence[str], boxes: str, extractor) -> str:
    """Boxes (N, 4) to features (N, C, h, w) of their levels, as by ``SingleRoIExtractor``.

    Raises:
        UsageError: If the extractor is another.
    """
    layer = extractor.roi_layers[0]
    known = 'SingleRoIExtractor', 'QuickRoIExtractor'
    if type(extractor).__name__ not in known or type(layer).__name__ != 'RoIAlign':
        raise UsageError(
            f'{type(extractor).__name__} on {type(layer).__name__} is not known to the export; '
            f'it knows {" and ".join(known)} on RoIAlign'
        )
    size = g.add('Sub', g.columns(boxes, 2, 4), g.columns(boxes, 0, 2))
    area = g.add('ReduceProd', size, g.whole(1), keepdims=0)
    scale = g.add('Div', g.add('Sqrt', area), g.constant(float(extractor.finest_scale)))
    levels = g.add('Log', g.add('Add', scale, g.constant(1e-6)))
    levels = g.add('Floor', g.add('Div', levels, g.constant(np.log(2.0))))
    levels = g.add('Clip', levels, g.constant(0.0), g.constant(float(len(maps) - 1)))
    parts, places = [], []
    for level, (values, layer) in enumerate(zip(maps, extractor.roi_layers)):
        chosen = g.where_true(g.add('Equal', levels, g.constant(float(level))))
        rois = g.add('Gather', boxes, chosen)
        image = g.add('Mul', chosen, g.whole(0))
        parts.append(
            g.add(
                'RoiAlign',
                values,
                rois,
                image,
                output_height=layer.output_size[0],
                output_width=layer.output_size[1],
                sampling_ratio=max(int(layer.sampling_ratio), 0),
                spatial_scale=float(layer.spatial_scale),
                coordinate_transformation_mode=(
                    'half_pixel' if layer.aligned else 'output_half_pixel'
                ),
                mode='avg',
            )
        )
        places.append(chosen)
    # Where in the joined parts each region stands: the inverse of a permutation.
    place = g.add('Concat', *places, axis=0)
    order = g.numbers_to(g.size(place, 0))
    inverse = g.add('ScatterElements', order, place, order)
    return g.add('Gather', g.add('Concat', *parts, axis=0), inverse)


def detections(
    g: Graph, boxes: str, logits: str, deltas: str, head, cfg: dict, limits: str
) -> tuple[str, str, str]:
    """Names, boxes and suppression of regions that the box head has judged.

    Args:
        g: The graph.
        boxes: (N, 4) regions.
        logits: (N, C + 1), background last.
        deltas: (N, 4), or (N, 4 C), and a column more of a head with ``box_fit``.
        head: mmdet's box head, for its coder.
        cfg: ``test_cfg.rcnn``.
        limits: See :func:`limits_of`.

    Returns:
        Boxes (K, 4), scores (K,) and labels (K,), most certain first.
    """
    classes = head.num_classes
    scores = g.add('Transpose', g.add('Softmax', logits, axis=1), perm=[1, 0])
    scores = g.add('Slice', scores, g.whole(0), g.whole(classes), g.whole(0))
    box_fit = getattr(head, 'box_fit', None)
    if box_fit is not None:  # the last column of the deltas
        width = 4 if head.reg_class_agnostic else 4 * classes
        fit = g.add('Sigmoid', g.columns(deltas, width, width + 1))
        fit = g.add('Pow', g.add('Transpose', fit, perm=[1, 0]), g.constant(box_fit.power))
        scores, deltas = g.add('Mul', scores, fit), g.columns(deltas, 0, width)
    if head.reg_class_agnostic:
        boxes = g.add('Unsqueeze', decoded(g, boxes, deltas, head.bbox_coder, limits), g.whole(0))
        kept_of = g.add('Unsqueeze', scores, g.whole(0))
    else:
        # One copy of the regions for each class, class by class.
        deltas = g.add('Reshape', deltas, g.whole(-1, classes, 4))
        deltas = g.add('Reshape', g.add('Transpose', deltas, perm=[1, 0, 2]), g.whole(-1, 4))
        copies = g.add('Tile', boxes, g.whole(classes, 1))
        boxes = decoded(g, copies, deltas, head.bbox_coder, limits)
        boxes = g.add('Reshape', boxes, g.whole(classes, -1, 4))
        kept_of = g.add('Unsqueeze', scores, g.whole(1))
    least = float(cfg['score_thr'])
    if cfg['nms'].get('type') == 'soft_nms':
        kept_of, least = damped(g, boxes, kept_of, cfg['nms'], least)
        threshold = 1.0  # what is left is left to the scores
    else:
        threshold = plain_nms(cfg['nms'], 'test_cfg.rcnn.nms')
    kept = suppressed(g, boxes, kept_of, threshold, least)
    batch, label, place = (
        g.add('Gather', kept, g.constant(column, np.int64), axis=1) for column in range(3)
    )
    if not head.reg_class_agnostic:
        label = batch
    values = g.add('GatherND', kept_of, kept)
    most = cfg.get('max_per_img', -1)
    values, order = g.highest(values, g.whole(most if most > 0 else ALL))
    batch, label, place = (g.add('Gather', part, order) for part in (batch, label, place))
    rows = g.add('Concat', *(g.add('Unsqueeze', p, g.whole(1)) for p in (batch, place)), axis=1)
    found = g.add('GatherND', boxes, rows)
    consensus = getattr(head, 'consensus', None)
    if consensus is not None:
        voters = boxes if head.reg_class_agnostic else g.add('Gather', boxes, label)
        found = agreed(g, found, voters, g.add('Gather', scores, label), **consensus)
    return found, values, label
