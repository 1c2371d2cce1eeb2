"""What a detector looked at in one image, as plain numbers in pixels of that image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mmclarity.errors import UsageError

from ..inference.black_bars import inside_bars
from ..inference.detector import Detector
from ..roi_heads.consensus import agreed_boxes
from ..roi_heads.explanation import Explanation, Verdict, traced_detections

_WITH_ATTENTION = (
    "of the detectors that ship 'context' has some (mmclarity-detect --attention or --shipped "
    "context, configs/context_frcnn_bdd100k_fine.py, Detector(shipped='context'))"
)

#: A score counts as changed by context from here on, and a box below this IoU with itself.
SCORE_CHANGE, BOX_CHANGE = 0.05, 0.9


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A region that a detection drew on.

    Attributes:
        place: Where it stands among the proposals.
        weight: Its weight, mean over the heads; of either sign in a lambda layer.
        name, score: What the detector takes it for, 'background' included.
        overlap: IoU of its proposal with the detection's proposal; 1 of the detection itself.
    """

    place: int
    weight: float
    name: str
    score: float
    overlap: float


@dataclass(frozen=True, eq=False)
class Layer:
    """One attention layer as seen from one detection.

    Attributes:
        title: 'fc2', or 'stage 1, fc2' in a cascade.
        signed: Whether this is a lambda layer's effective map.
        heads: Over how many heads the weights are averaged.
        sources: (M,) places of the regions it can look at among the proposals.
        weights: (M,) their weights.
        top: The strongest, strongest first.
    """

    title: str
    signed: bool
    heads: int
    sources: np.ndarray
    weights: np.ndarray
    top: tuple[Neighbour, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """One detection with and without its context.

    Attributes:
        box, name, score: As predicted; box (4,) x1, y1, x2, y2.
        proposal: Place of the proposal that it came from.
        layers: What it looked at.
        name_alone, score_alone: The best name of its proposal without context, and its score.
        same_alone: The score that its own name would have without context.
        box_alone: (4,) the box that it would have, under its own name.
        changes: Of 'name', 'score', 'box' and 'found' (it would be below the threshold) what the
            context changed; empty where the head cannot do without its context.
    """

    box: np.ndarray
    name: str
    score: float
    proposal: int
    layers: tuple[Layer, ...]
    name_alone: str | None = None
    score_alone: float | None = None
    same_alone: float | None = None
    box_alone: np.ndarray | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Look:
    """All detections of one image.

    Attributes:
        proposals: (N, 4) in pixels of the image.
        detections: Most certain first.
        lost: Name, score and box of what would be found without context only.
    """

    proposals: np.ndarray
    detections: tuple[Seen, ...]
    lost: tuple[tuple[str, float, np.ndarray], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the context changed anything in this image."""
        return bool(self.lost) or any(seen.changes for seen in self.detections)

    def moved(self, right: float, down: float) -> Look:
        """The same, its boxes so many pixels farther right and down."""
        by = np.array([right, down, right, down], np.float32)
        return Look(
            self.proposals + by,
            tuple(
                replace(
                    seen,
                    box=seen.box + by,
                    box_alone=None if seen.box_alone is None else seen.box_alone + by,
                )
                for seen in self.detections
            ),
            tuple((name, score, box + by) for name, score, box in self.lost),
        )


def check_explains(model: nn.Module) -> None:
    """Refuse a detector that has no regions which look at others.

    Raises:
        UsageError: Naming what it would take.
    """
    head = getattr(model, 'roi_head', None)
    if not hasattr(head, 'explain'):
        kind = type(model).__name__ if head is None else type(head).__name__
        raise UsageError(
            f'{kind} has no attention among regions to show; {_WITH_ATTENTION}, or put a head into '
            'yours (docs/user_guides/plug_in.md of the repository)'
        )
    if not any(len(box_head.attention) for box_head in head._bbox_heads()):
        raise UsageError(
            'the box head of this detector has no attention (bbox_head.attention), so that no '
            f'region looks at another; {_WITH_ATTENTION}'
        )


def look_at(detector: Detector, image: np.ndarray, top: int = 8) -> Look:
    """Detect in one image and say what each detection drew on.

    What is looked at is what the detector looks at: black bars are cut off if it cuts them.

    Args:
        detector: Its threshold is that of the detections.
        image: (H, W, 3), 8 bit, blue, green, red.
        top: How many regions of each layer are told in words.

    Raises:
        UsageError: If the detector has no attention among regions.
    """
    inferencer = detector.inferencer
    check_explains(inferencer.model)
    rows, columns = inside_bars(image, detector.cuts_bars)
    data = inferencer.collate_fn([inferencer.pipeline(image[rows, columns])])
    with detector.autocast():
        look = looks_of(inferencer.model, data, detector.classes, detector.threshold, top)[0]
    return look.moved(columns.start, rows.start)


@torch.no_grad()
def looks_of(
    model: nn.Module, data: dict, classes: Sequence[str], threshold: float, top: int
) -> list[Look]:
    """What a detector in evaluation mode looked at in each image of a batch.

    Args:
        model: A two-stage detector whose RoI head has ``explain``.
        data: A batch as a loader gives it, with ``inputs`` and ``data_samples``.
        classes: Names of the classes.
        threshold: Least score of a detection.
        top: How many regions of each layer are told in words.
    """
    data = model.data_preprocessor(data, False)
    samples = data['data_samples']
    maps = model.extract_feat(data['inputs'])
    proposals = model.rpn_head.predict(maps, samples, rescale=False)
    metas = [sample.metainfo for sample in samples]
    found = model.roi_head.explain(maps, proposals, metas, rescale=True)
    names = [*classes, 'background']
    return [
        _Reader(explanation, meta, names, model.roi_head, top).look(threshold)
        for explanation, meta in zip(found, metas)
    ]


class _Reader:
    """Puts one explanation into words and pixels of the image."""

    def __init__(
        self, found: Explanation, meta: dict, names: list[str], roi_head: nn.Module, top: int
    ) -> None:
        self.found, self.names, self.top = found, names, top
        self.test_cfg, self.consensus = roi_head.test_cfg, roi_head._bbox_heads()[-1].consensus
        scale = found.proposals.new_tensor(meta.get('scale_factor', (1.0, 1.0))).repeat(2)
        self.proposals = _array(found.proposals / scale)

    def look(self, threshold: float) -> Look:
        kept = [i for i in range(len(self.found)) if self.found.detections.scores[i] >= threshold]
        kept.sort(key=lambda i: -float(self.found.detections.scores[i]))
        seen = tuple(self._seen(i, threshold) for i in kept)
        return Look(self.proposals, seen, self._lost(seen, threshold))

    def _seen(self, index: int, threshold: float) -> Seen:
        found = self.found.detection(index)
        place, box, score = found.proposal, _array(found.box), found.score
        layers = tuple(
            self._layer(f'stage {number}, {name}' if len(self.found.stages) > 1 else name, place, w)
            for number, stage in enumerate(self.found.stages, start=1)
            for name, w in stage.items()
        )
        name = self.names[found.label]
        alone = self.found.without_context
        if alone is None:
            return Seen(box, name, score, place, layers)
        same = float(alone.scores[place, found.label])
        box_alone = _array(self._box_alone(alone, place, found.label))
        best = int(self.found.with_context.scores[place, :-1].argmax())
        flags = dict(
            name=best != found.label_alone,
            score=abs(score - same) >= SCORE_CHANGE,
            box=overlaps(box, box_alone[None])[0] < BOX_CHANGE,
            found=same < threshold,
        )
        return Seen(
            box,
            name,
            score,
            place,
            layers,
            self.names[found.label_alone],
            found.score_alone,
            same,
            box_alone,
            tuple(kind for kind, is_changed in flags.items() if is_changed),
        )

    def _box_alone(self, alone: Verdict, place: int, label: int) -> Tensor:
        box = alone.box(place, label)
        if self.consensus is None:
            return box
        labels = torch.tensor([label], device=box.device)
        return agreed_boxes(
            box[None], labels, alone.boxes.flatten(1), alone.scores, **self.consensus
        )[0]

    def _layer(self, title: str, place: int, layer) -> Layer:
        places, values = layer.top(place, self.top)
        overlap = overlaps(self.proposals[place], self.proposals)
        top = []
        for source, weight in zip(places.tolist(), values.tolist()):
            score, label = self.found.with_context.scores[source].max(0)
            top.append(
                Neighbour(
                    source, weight, self.names[int(label)], float(score), float(overlap[source])
                )
            )
        weights = _array(layer.weights[:, place].mean(0))
        return Layer(
            title,
            layer.signed,
            layer.weights.size(0),
            layer.sources.cpu().numpy(),
            weights,
            tuple(top),
        )

    def _lost(self, seen: Sequence[Seen], threshold: float) -> tuple:
        """What the same weights find without context, where nothing of its name is found now."""
        alone = self.found.without_context
        if alone is None:
            return ()
        lost = []
        results = traced_detections(alone, self.test_cfg, self.consensus)
        for box, score, label in zip(results.bboxes, results.scores, results.labels):
            name, box = self.names[int(label)], _array(box)
            there = [other.box for other in seen if other.name == name]
            if score >= threshold and not (there and overlaps(box, np.stack(there)).max() >= 0.5):
                lost.append((name, float(score), box))
        return tuple(lost)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU (N,) of a box (4,) with boxes (N, 4).

    Examples:
        >>> overlaps(np.array([0.0, 0, 2, 2]), np.array([[0.0, 0, 2, 1], [5, 5, 6, 6]])).tolist()
        [0.5, 0.0]
    """
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inside = size.clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) + (box[2:] - box[:2]).clip(0).prod()
    return inside / np.maximum(areas - inside, 1e-9)
