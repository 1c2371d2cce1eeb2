"""Honesty: particles that a restored image invents, and those it loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from .fidelity import to_grey
from .particles import DetectionSettings, detect_particles, match_particles, standing_out

# Strengths in units of white, of a disc of 4, 7, 11 and 16 % contrast.
THRESHOLDS = (0.03, 0.05, 0.08, 0.12)
# A particle that is clear in one image counts as absent from the other only if it is not even
# this part of the threshold strong there: two sides of a sharp threshold are no fabrication.
HYSTERESIS = 0.5
SIZES = {'small': (0.0, 4.0), 'medium': (4.0, 10.0), 'large': (10.0, np.inf)}
# Pixels from the border within which a particle is cut off: it may be matched, and is not counted.
BORDER = 4


def count_fabrications(
    restored: np.ndarray,
    reference: np.ndarray,
    thresholds: Sequence[float] = THRESHOLDS,
    settings: DetectionSettings | None = None,
    ignore: np.ndarray | None = None,
    particles: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Fabricated and missed particles at every threshold.

    Fabricated: what one sees in the restored image and not in the reference. It is at least as
    strong as the threshold in the restored image, without a partner of half of it in the
    reference, and it stands out in the difference restored - reference, at its place and scale,
    half as strongly as the threshold and as itself. Missed: the other way round. The difference
    tells particles from rims, gaps between touching ones and second readings of one blob, which
    are there in both images and found in one. An image against itself has neither.

    Args:
        restored: (H, W) in [0, 1].
        reference: (H, W) in [0, 1]; or only the exact list, as ``particles``. Without an image
            there is no difference to look at, and all candidates count.
        thresholds: strengths, in units of white.
        settings: see :func:`detect_particles`.
        ignore: (L,) bool: particles of an exact list that are hidden. They are not missed, and what
            is found there is not fabricated.
        particles: (L, 3 or 4) of y, x, radius[, strength]: what is there, where it is known better
            than by detection; without a strength all count at every threshold.

    Returns:
        For each threshold: ``threshold``, ``fabricated``, ``missed``, ``found``, ``present``
        (counts), ``precision``, ``recall`` (NaN without particles), ``sizes`` (counts of both by
        class of radius), ``fabricated_particles``, ``missed_particles`` (K, 4); and
        ``fabricated_unchecked``, ``missed_unchecked``: all candidates, whether they stand out or
        not, which was the count at first.

    Raises:
        ValueError: two images differ in shape, or a threshold is not positive.

    Examples:
        >>> from mmclarity.restoration.evaluation import count_fabrications
        >>> from mmclarity.synthetic.phantom import PhantomSettings, make_phantom
        >>> clean = make_phantom(PhantomSettings(size=128)).image
        >>> counts = count_fabrications(clean, clean)[0]
        >>> counts['fabricated'], counts['missed']
        (0, 0)
    """
    if min(thresholds) <= 0:
        raise ValueError(f'thresholds must be positive, got {tuple(thresholds)}')
    restored, reference = np.asarray(restored, np.float64), np.asarray(reference, np.float64)
    mine = detect_particles(restored, settings)
    real = _reference_particles(
        reference if particles is None else np.asarray(particles, np.float64),
        restored.shape,
        settings,
    )
    excess = lack = None
    if reference.shape == restored.shape:
        difference = restored - reference
        excess = detect_particles(difference, settings)
        lack = detect_particles(-difference, settings)
    hidden = np.zeros(len(real), bool) if ignore is None else np.asarray(ignore, bool)
    return [
        _count(mine, real, hidden, threshold, restored.shape, excess, lack)
        for threshold in thresholds
    ]


def _reference_particles(
    reference: np.ndarray, shape: tuple[int, int], settings: DetectionSettings | None
) -> np.ndarray:
    if reference.shape == shape:
        return detect_particles(reference, settings)
    if reference.ndim == 2 and reference.shape[1] == 3:
        return np.concatenate([reference, np.full((len(reference), 1), np.inf)], 1)
    if reference.ndim == 2 and reference.shape[1] == 4:
        return reference
    raise ValueError(
        f'the reference must be an image of shape {shape} or a list (L, 3 or 4), got '
        f'{reference.shape}'
    )


def _count(
    mine: np.ndarray,
    real: np.ndarray,
    hidden: np.ndarray,
    threshold: float,
    shape: tuple[int, int],
    excess: np.ndarray | None,
    lack: np.ndarray | None,
) -> dict[str, Any]:
    low = HYSTERESIS * threshold
    strong = mine[mine[:, 3] >= threshold]
    fabricated = strong[match_particles(strong, real[real[:, 3] >= low])[1]]
    present = real[(real[:, 3] >= threshold) & ~hidden]
    missed = present[match_particles(present, mine[mine[:, 3] >= low])[1]]
    strong, present, fabricated, missed = (
        part[inside(part, shape)] for part in (strong, present, fabricated, missed)
    )
    unchecked = dict(fabricated_unchecked=len(fabricated), missed_unchecked=len(missed))
    if excess is not None:
        fabricated = fabricated[standing_out(fabricated, excess, low)]
        # a particle of an exact list has no strength of its own
        known = np.where(np.isfinite(missed), missed, 0.0)
        missed = missed[standing_out(known, lack, low)]
    return dict(
        threshold=threshold,
        fabricated=len(fabricated),
        missed=len(missed),
        **unchecked,
        found=len(strong),
        present=len(present),
        precision=1 - len(fabricated) / len(strong) if len(strong) else float('nan'),
        recall=1 - len(missed) / len(present) if len(present) else float('nan'),
        sizes={
            name: dict(fabricated=_sized(fabricated, limits), missed=_sized(missed, limits))
            for name, limits in SIZES.items()
        },
        fabricated_particles=fabricated,
        missed_particles=missed,
    )


def inside(particles: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which of (K, >= 2) particles are not cut off by the border of an image (H, W)."""
    y, x = particles[:, 0], particles[:, 1]
    return (
        (y >= BORDER) & (x >= BORDER) & (y <= shape[0] - 1 - BORDER) & (x <= shape[1] - 1 - BORDER)
    )


def _sized(particles: np.ndarray, limits: tuple[float, float]) -> int:
    return int(((particles[:, 2] >= limits[0]) & (particles[:, 2] < limits[1])).sum())


@METRICS.register_module()
class FabricationMetric(BaseMetric):
    """Fabricated and missed particles per image; see :func:`count_fabrications`.

    Args:
        thresholds: Defaults to those of :func:`count_fabrications`.
        settings: Of :class:`DetectionSettings`.
        collect_device, prefix: Of mmengine's BaseMetric.

    Examples:
        >>> from mmclarity.restoration.evaluation import FabricationMetric
        >>> FabricationMetric(thresholds=(0.05, 0.1)).prefix
        'sem'
    """

    default_prefix = 'sem'

    def __init__(
        self,
        thresholds: Sequence[float] = THRESHOLDS,
        settings: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.thresholds = tuple(thresholds)
        self.settings = DetectionSettings(**(settings or {}))

    def metric_names(self) -> list[str]:
        """What :meth:`compute_metrics` gives, without prefix."""
        kinds = ('fabricated', 'missed')
        names = [*kinds, *(f'{kind}_unchecked' for kind in kinds)]
        for threshold in self.thresholds:
            names += [f'{kind}@{threshold:g}' for kind in (*kinds, 'precision', 'recall')]
        return names + [f'{kind}/{size}' for size in SIZES for kind in kinds]

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take in ``output.pred_img`` and ``gt_img`` (0..255) of every sample."""
        for sample in data_samples:
            restored, reference = (
                to_grey(image) / 255 for image in (sample['output']['pred_img'], sample['gt_img'])
            )
            counts = count_fabrications(restored, reference, self.thresholds, self.settings)
            self.results.append(
                [
                    {key: value for key, value in count.items() if not key.endswith('_particles')}
                    for count in counts
                ]
            )

    def compute_metrics(self, results: list[list[dict]]) -> dict[str, float]:
        """Per image: fabricated and missed, over the sweep and at each threshold."""
        return summarise(results)


def summarise(results: Sequence[Sequence[dict]]) -> dict[str, float]:
    """Means per image of what :func:`count_fabrications` gives for each; ratios over all images.

    ``fabricated`` and ``missed`` alone are means over the thresholds.
    """
    out: dict[str, float] = {}
    for name in ('fabricated', 'missed', 'fabricated_unchecked', 'missed_unchecked'):
        out[name] = float(np.mean([[count[name] for count in image] for image in results]))
    for column in zip(*results):
        tag = f'{column[0]["threshold"]:g}'
        total = {
            name: sum(count[name] for count in column)
            for name in ('fabricated', 'missed', 'found', 'present')
        }
        for name in ('fabricated', 'missed'):
            out[f'{name}@{tag}'] = total[name] / len(column)
        out[f'precision@{tag}'] = (
            1 - total['fabricated'] / total['found'] if total['found'] else float('nan')
        )
        out[f'recall@{tag}'] = (
            1 - total['missed'] / total['present'] if total['present'] else float('nan')
        )
    for size in SIZES:
        for name in ('fabricated', 'missed'):
            out[f'{name}/{size}'] = float(
                np.mean([[count['sizes'][size][name] for count in image] for image in results])
            )
    return out
