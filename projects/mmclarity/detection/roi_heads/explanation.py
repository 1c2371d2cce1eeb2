"""What a RoI head says about its detections: who looked at whom, and what changed by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .consensus import agreed_boxes


@dataclass(frozen=True)
class LayerWeights:
    """How much each proposal of one image takes from others in one layer of a box head.

    Attributes:
        weights: (heads, N, M). The layer's update of proposal n is the sum over m of
            ``weights[h, n, m]`` times the value of source m. Of a softmax: not negative, rows add
            up to one (or are zero, where an image has no source). Of a lambda layer: the effective
            linear map, q_n applied to what m put into the lambdas; of either sign, a negative
            weight subtracts the value; exact for ``intra_depth=1``, else summed over it.
        sources: (M,) where each source stands among the image's proposals.
        signed: Whether weights may be negative (lambda layers).

    Examples:
        >>> import torch
        >>> from mmclarity.detection.roi_heads import LayerWeights
        >>> weights, sources = torch.tensor([[[0.1, -0.7, 0.2]]]), torch.tensor([4, 5, 6])
        >>> layer = LayerWeights(weights, sources, signed=True)
        >>> layer.top(0, 2)[0]
        tensor([5, 6])
    """

    weights: Tensor
    sources: Tensor
    signed: bool

    def top(self, proposal: int, count: int) -> tuple[Tensor, Tensor]:
        """The sources of largest absolute weight, mean over the heads.

        Args:
            proposal: Whose row.
            count: How many at most.

        Returns:
            Places among the proposals and signed weights, strongest first.

        Examples:
            >>> weights = torch.tensor([[[0.1, -0.7, 0.2]]])
            >>> layer = LayerWeights(weights, torch.tensor([4, 5, 6]), signed=True)
            >>> places, values = layer.top(0, 2)
            >>> places.tolist(), [round(value, 1) for value in values.tolist()]
            ([5, 6], [-0.7, 0.2])
        """
        row = self.weights[:, proposal].mean(0)
        order = row.abs().topk(min(count, len(row))).indices
        return self.sources[order], row[order]


@dataclass(frozen=True)
class Verdict:
    """What the box head says of all N proposals of one image, before suppression.

    Attributes:
        logits: (N, C + 1), background last; of a cascade their mean over the stages.
        scores: (N, C + 1), as the detections have them.
        boxes: (N, 1 or C, 4): one a class, or one for all, in pixels as the detections.
    """

    logits: Tensor
    scores: Tensor
    boxes: Tensor

    def box(self, proposal: int, label: int) -> Tensor:
        """Box (4,) of a proposal as an object of a class."""
        return self.boxes[proposal, label if self.boxes.size(1) > 1 else 0]


@dataclass(frozen=True)
class DetectionExplanation:
    """One detection, the proposal it came from and the context it was judged in.

    Attributes:
        box, score, label: As predicted.
        proposal: Where the proposal stands among the image's proposals.
        proposal_box: (4,) in pixels of the network's input.
        layers: Of each stage of a cascade (else one) and layer, this proposal's weights
            (heads, M) and which proposals the M sources are.
        logits: (C + 1,) with context.
        logits_alone: (C + 1,) of the same weights without context; None if a layer has no
            residual path: nothing is left of the features without it.
        score_alone, label_alone, box_alone: The best name without context, its score and box.
    """

    box: Tensor
    score: float
    label: int
    proposal: int
    proposal_box: Tensor
    layers: tuple[dict[str, tuple[Tensor, Tensor]], ...]
    logits: Tensor
    logits_alone: Tensor | None
    score_alone: float | None
    label_alone: int | None
    box_alone: Tensor | None


@dataclass(frozen=True)
class Explanation:
    """Detections of one image, traced back to proposals and to what these looked at.

    Attributes:
        proposals: (N, 4) boxes of the RPN, in pixels of the network's input.
        stages: Of each stage of a cascade (else one) the attention weights by layer ('fc1',
            'fc2'); empty where a stage has no attention.
        with_context: What the head says.
        without_context: What the same weights say with the attention left out; None if a layer has
            no residual path.
        detections: As predicted (``bboxes``, ``scores``, ``labels``), with ``proposals``: where
            the one that each came from stands among the proposals.
    """

    proposals: Tensor
    stages: tuple[dict[str, LayerWeights], ...]
    with_context: Verdict
    without_context: Verdict | None
    detections: InstanceData

    def __len__(self) -> int:
        return len(self.detections)

    def detection(self, index: int) -> DetectionExplanation:
        """All about one detection.

        Raises:
            IndexError: If there are not so many.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f'detection {index} of {len(self)}')
        found = self.detections
        proposal, label = int(found.proposals[index]), int(found.labels[index])
        alone = self.without_context
        name = None if alone is None else int(alone.scores[proposal, :-1].argmax())
        return DetectionExplanation(
            box=found.bboxes[index],
            score=float(found.scores[index]),
            label=label,
            proposal=proposal,
            proposal_box=self.proposals[proposal],
            layers=tuple(
                {
                    layer: (weights.weights[:, proposal], weights.sources)
                    for layer, weights in stage.items()
                }
                for stage in self.stages
            ),
            logits=self.with_context.logits[proposal],
            logits_alone=None if alone is None else alone.logits[proposal],
            score_alone=None if alone is None else float(alone.scores[proposal, name]),
            label_alone=name,
            box_alone=None if alone is None else alone.box(proposal, name),
        )


def layers_of(
    image: int, count: int, weights: dict[str, list[Tensor]], head, sources: Tensor
) -> dict[str, LayerWeights]:
    """One image's part of what a box head's layers report; rows of pooled sources are left out."""
    layers = {}
    for name, of_images in weights.items():
        module = head.attention[name]
        columns = torch.arange(count, device=sources.device)
        if module.uses_sources:
            columns = sources[: head.num_sources]
        layers[name] = LayerWeights(of_images[image][:, :count], columns, module.signed_weights)
    return layers


def verdict(logits: Tensor, results: InstanceData) -> Verdict:
    """From the logits of one image and mmdet's boxes and scores of all its proposals."""
    boxes = get_box_tensor(results.bboxes)
    if len(logits) == 0:
        return Verdict(logits, logits, boxes.new_zeros(0, 1, 4))
    return Verdict(logits, results.scores, boxes.reshape(len(logits), -1, 4))


def traced_detections(
    judged: Verdict, test_cfg: dict, consensus: dict | None = None
) -> InstanceData:
    """Suppression as in mmdet that keeps the proposal each detection came from.

    Args:
        judged: What the head says of all proposals.
        test_cfg: Of the RoI head.
        consensus: Of the box head: options of :func:`agreed_boxes`; None leaves boxes as they are.
    """
    results = InstanceData()
    if len(judged.logits) == 0:
        results.bboxes, results.scores = judged.boxes.new_zeros(0, 4), judged.boxes.new_zeros(0)
        results.labels = results.proposals = torch.zeros(
            0, dtype=torch.long, device=judged.boxes.device
        )
        return results
    found, labels, places = multiclass_nms(
        judged.boxes.flatten(1),
        judged.scores,
        test_cfg['score_thr'],
        test_cfg['nms'],
        test_cfg['max_per_img'],
        return_inds=True,
    )
    results.bboxes, results.scores, results.labels = found[:, :4], found[:, 4], labels
    if consensus is not None:
        results.bboxes = agreed_boxes(
            results.bboxes, labels, judged.boxes.flatten(1), judged.scores, **consensus
        )
    # Places count through the classes of each proposal.
    results.proposals = torch.div(places, judged.scores.size(1) - 1, rounding_mode='floor')
    return results
