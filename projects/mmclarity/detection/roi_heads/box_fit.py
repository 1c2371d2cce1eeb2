"""How well a box fits its object, as the box head itself expects it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor, nn


class BoxFit(nn.Module):
    """Expects the overlap of a region's moved box with its object, and lets it count in the score.

    A name's probability says nothing of the box: of two boxes on one object the surer one need not
    be the closer. The IoU branch of IoU-Net (Jiang et al., "Acquisition of Localization Confidence
    for Accurate Object Detection", ECCV 2018, Sec. 3.1), learned as in FCOS (Tian et al., ICCV
    2019, Sec. 3.2) with binary cross entropy, here on the features that name and box are made from.
    No gradient goes back into them: names and boxes are learned as without it.

    Args:
        in_channels: Of the features of a region.
        channels: Of the layer between.
        power: Exponent a of the expected overlap q: a name of probability p gets the score
            :math:`p\\, q^a`. 0 only learns it.
        loss_weight: Of its loss.

    Raises:
        ValueError: If ``power`` or ``loss_weight`` is negative.

    Examples:
        >>> import torch
        >>> fit = BoxFit(in_channels=32)
        >>> boxes = torch.tensor([[0.0, 0, 9, 9], [5, 5, 20, 20]])
        >>> fit(torch.rand(2, 32), boxes).shape
        torch.Size([2, 1])
    """

    def __init__(
        self, in_channels: int, channels: int = 256, power: float = 1.0, loss_weight: float = 0.5
    ) -> None:
        super().__init__()
        if power < 0 or loss_weight < 0:
            raise ValueError(
                'box_fit: power and loss_weight must not be negative, got '
                f'power={power}, loss_weight={loss_weight}'
            )
        self.power, self.loss_weight = power, loss_weight
        self.fc = nn.Linear(in_channels + 2, channels)
        self.fc_fit = nn.Linear(channels, 1)
        nn.init.normal_(self.fc_fit.weight, std=1e-3)
        nn.init.zeros_(self.fc_fit.bias)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        """Logits (N, 1) of the expected overlaps.

        Args:
            x: Features (N, C) of the regions.
            boxes: (N, 4) the regions, in pixels of the network's input.
        """
        # A pixel is more of a small object than of a large one. 20 pixels, usual here, are 0.
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).log() - 3
        return self.fc_fit(self.fc(torch.cat([x.detach(), size.to(x.dtype)], 1)).relu())

    def loss(self, logits: Tensor, boxes: Tensor, samples: Sequence[SamplingResult]) -> Tensor:
        """Mean binary cross entropy over the positive regions.

        Ground truth that the sampler added is left out: in testing there is none.

        Args:
            logits: (N, 1), of each image the positive regions, then the negative ones.
            boxes: (N, 4) moved boxes.
            samples: Of each image, which objects the positive regions belong to.

        Returns:
            A number; 0 without positive regions.
        """
        counts = [len(res.pos_inds) + len(res.neg_inds) for res in samples]
        ours, objects = [], []
        for said, own, res in zip(logits.split(counts), boxes.split(counts), samples):
            found = ~res.pos_is_gt.bool()
            count = len(found)
            ours.append(torch.cat([said[:count].float(), own[:count].detach()], 1)[found])
            objects.append(get_box_tensor(res.pos_gt_bboxes)[found])
        given, wanted = torch.cat(ours), torch.cat(objects)
        overlap = paired_iou(given[:, 1:], wanted)
        total = F.binary_cross_entropy_with_logits(given[:, 0], overlap, reduction='sum')
        return self.loss_weight * total / max(len(given), 1)

    def weighed(self, logits: Tensor, fit: Tensor) -> Tensor:
        """Logits of names that take in how well the box fits.

        Args:
            logits: (N, C + 1), background last.
            fit: (N, 1) as from ``forward``.

        Returns:
            (N, C + 1), the logarithms of probabilities that add up to one: of the names
            :math:`p\\, q^a`, of the background the rest.
        """
        names = logits.float().log_softmax(-1)[:, :-1] + self.power * F.logsigmoid(fit.float())
        # At least the smallest number: a logarithm of 0 would make softmax give NaN.
        rest = (1 - names.exp().sum(1, keepdim=True)).clamp(min=torch.finfo(torch.float32).tiny)
        return torch.cat([names, rest.log()], 1)


def paired_iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """IoU (N,) of box n with box n, each (N, 4)."""
    low = torch.maximum(ours[:, :2], theirs[:, :2])
    high = torch.minimum(ours[:, 2:], theirs[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (ours, theirs)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)
