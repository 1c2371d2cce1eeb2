"""Suppression, hard or soft, and boxes by vote, as ONNX operators."""

from __future__ import annotations

from mmclarity.errors import UsageError

from .graph import Graph

#: More than any image has boxes: NonMaxSuppression wants a number.
ALL = 1 << 40
#: Of soft suppression. A score lowered so often by a factor of 0.7 or less is below 0.004.
SOFT_ROUNDS = 16


def suppressed(g: Graph, boxes: str, scores: str, threshold: float, least: float | None) -> str:
    """Places (K, 3) of what suppression leaves: batch, class, box.

    Args:
        g: The graph.
        boxes: (B, N, 4). The operator takes y before x, which changes no overlap.
        scores: (B, C, N).
        threshold: A box goes if its IoU with a better one of its class is larger.
        least: Scores must be above it.
    """
    options = [g.whole(ALL), g.constant([threshold])]
    if least is not None:
        options.append(g.constant([least]))
    return g.add('NonMaxSuppression', boxes, scores, *options)


def plain_nms(cfg: dict, where: str) -> float:
    """The IoU of a config of plain suppression.

    Raises:
        UsageError: If it asks for another kind.
    """
    known = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}
    if cfg.get('type', 'nms') != 'nms' or set(cfg) - known or cfg.get('class_agnostic'):
        raise UsageError(
            f'{where}: the export knows plain suppression, dict(type="nms", iou_threshold=...), '
            f'got {dict(cfg)}'
        )
    return float(cfg['iou_threshold'])


def damped(g: Graph, boxes: str, scores: str, cfg: dict, least: float) -> tuple[str, float]:
    """Scores after soft suppression (Bodla et al., "Soft-NMS", ICCV 2017), as by mmcv's.

    Box after box is taken, the surest one first, and lowers the scores of those left by their
    overlap with it. Scores only fall, so a box that is surer than all boxes left that overlap it
    is taken before any of them: all such boxes are taken at once, in rounds. Of a heap of boxes
    each round takes one at least. What is left after the last has been lowered by as many.

    Args:
        g: The graph.
        boxes: (B, N, 4).
        scores: (B, C, N).
        cfg: ``test_cfg.rcnn.nms``: iou_threshold, min_score.
        least: Scores must be above it from the start.

    Returns:
        (B, C, N), and what they must be above now.

    Raises:
        UsageError: If the config asks for another kind.
    """
    near, factor = _factors(g, boxes, cfg)
    near = g.add('Unsqueeze', near, g.whole(1))  # (B, 1, N, N)
    now = g.add('Where', g.add('Greater', scores, g.constant(least)), scores, g.constant(0.0))
    order = g.numbers_to(g.size(scores, 2))
    first = g.add('Less', *(g.add('Unsqueeze', order, g.whole(axis)) for axis in (0, 1)))
    left = g.add('GreaterOrEqual', now, g.constant(0.0))  # all
    for _ in range(SOFT_ROUNDS):
        mine, others = (g.add('Unsqueeze', now, g.whole(axis)) for axis in (3, 2))
        ahead = g.add('And', g.add('Equal', others, mine), first)
        ahead = g.add('And', g.add('Or', g.add('Greater', others, mine), ahead), near)
        ahead = g.add('And', ahead, g.add('Unsqueeze', left, g.whole(2)))
        waits = g.add('ReduceMax', g.add('Cast', ahead, to=1), g.whole(3), keepdims=0)
        waits = g.add('And', g.add('Greater', waits, g.constant(0.5)), left)
        taken = g.add('Cast', g.add('And', left, g.add('Not', waits)), to=1)
        lower = g.add('Mul', now, g.add('Exp', g.add('MatMul', taken, factor)))
        now, left = g.add('Where', waits, lower, now), waits
    return now, float(cfg.get('min_score', 1e-3))


def _factors(g: Graph, boxes: str, cfg: dict) -> tuple[str, str]:
    """Which boxes lower each other's score, and the logarithms of by what: (B, N, N) both."""
    known = {'type', 'iou_threshold', 'method', 'min_score', 'split_thr'}
    threshold = float(cfg.get('iou_threshold', 0))
    if set(cfg) - known or cfg.get('method', 'linear') != 'linear' or threshold < 0.3:
        raise UsageError(
            'test_cfg.rcnn.nms: the export knows soft suppression with the method linear, '
            f'iou_threshold of 0.3 or more, and min_score, got {dict(cfg)}'
        )
    overlap = _overlap(
        g, g.add('Unsqueeze', boxes, g.whole(2)), g.add('Unsqueeze', boxes, g.whole(1))
    )
    rest = g.add('Max', g.add('Sub', g.constant(1.0), overlap), g.constant(1e-12))
    near = g.add('GreaterOrEqual', overlap, g.constant(threshold))
    return near, g.add('Where', near, g.add('Log', rest), g.constant(0.0))


def agreed(
    g: Graph, kept: str, boxes: str, scores: str, iou: float = 0.5, temperature: float = 0.1
) -> str:
    """Boxes of detections as all proposals on them agree: see :func:`.consensus.agreed_boxes`.

    Args:
        g: The graph.
        kept: Boxes of the detections (K, 4).
        boxes: Of all proposals (1, N, 4), or for each detection (K, N, 4).
        scores: That each proposal has for the name of each detection (K, N).
        iou: Least overlap to have a vote.
        temperature: Larger counts boxes that agree less.

    Returns:
        (K, 4).
    """
    overlap = _overlap(g, g.add('Unsqueeze', kept, g.whole(1)), boxes)
    away = g.add('Sub', g.constant(1.0), overlap)
    fall = g.add('Exp', g.add('Mul', g.add('Mul', away, away), g.constant(-1 / temperature)))
    weight = g.add('Mul', scores, fall)
    near = g.add('Greater', overlap, g.constant(iou))
    weight = g.add('Where', near, weight, g.constant(0.0))
    total = g.add('ReduceSum', weight, g.whole(1), keepdims=1)
    votes = g.add('MatMul', g.add('Unsqueeze', weight, g.whole(1)), boxes)
    mean = g.add('Squeeze', votes, g.whole(1))
    mean = g.add('Div', mean, g.add('Max', total, g.constant(1e-12)))
    return g.add('Where', g.add('Greater', total, g.constant(0.0)), mean, kept)


def _overlap(g: Graph, ours: str, theirs: str) -> str:
    """IoU (...) of boxes (..., 4) with boxes (..., 4), whose other axes fit each other."""

    def corners(value: str) -> tuple[str, str]:
        low, high, end = g.whole(0), g.whole(2), g.whole(4)
        return tuple(
            g.add('Slice', value, *part, g.whole(-1)) for part in ((low, high), (high, end))
        )

    def area(low: str, high: str) -> str:
        size = g.add('Max', g.add('Sub', high, low), g.constant(0.0))
        return g.add('ReduceProd', size, g.whole(-1), keepdims=0)

    (low, high), (other_low, other_high) = corners(ours), corners(theirs)
    shared = area(g.add('Max', low, other_low), g.add('Min', high, other_high))
    union = g.add('Sub', g.add('Add', area(low, high), area(other_low, other_high)), shared)
    return g.add('Div', shared, union)
