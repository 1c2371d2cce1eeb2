"""What several models explain of an RDM together, and what only one of them does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..rdms.rdms import as_condensed
from ..similarity.compare import counted_pairs, without_groups
from ..similarity.ranks import rank_transform

MOST = 8


@dataclass(frozen=True)
class VariancePartition:
    """Parts of the variance of an RDM, as shares of 1.

    Args:
        r2: Explained by each set of models together, keyed by their names in order.
        parts: Explained by exactly the models named and no other ones: the regions of a Venn
            diagram. They add up to that of all models; shared parts may be negative, where models
            suppress one another.
    """

    r2: dict[tuple[str, ...], float]
    parts: dict[tuple[str, ...], float]

    @property
    def total(self) -> float:
        """R2 of all models together."""
        return self.r2[max(self.r2, key=len)]

    def unique(self, name: str) -> float:
        """What only this model explains: the loss without it."""
        return self.parts[(name,)]


def partition_variance(
    models: Mapping[str, Any], target: Any, ranked: bool = False
) -> VariancePartition:
    """Variance partitioning (commonality analysis) by least squares with an intercept.

    Args:
        models: RDM of each, up to 8.
        target: One RDM, or (S, P) of which the mean is taken. Pairs that are NaN anywhere, or
            within a group of stimuli (see :class:`RDMs`), are left out.
        ranked: Of the ranks instead of the dissimilarities.

    Raises:
        ValueError: If there is no model or more than 8, or sizes differ.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa.inference import partition_variance
        >>> rng = np.random.default_rng(0)
        >>> models = {name: rng.random(190) for name in ('shape', 'colour')}
        >>> found = partition_variance(models, 2 * models['shape'] + models['colour'])
        >>> round(found.total, 6), found.unique('shape') > found.unique('colour')
        (1.0, True)
    """
    if not 1 <= len(models) <= MOST:
        raise ValueError(f'{len(models)} models; variance is divided among 1 to {MOST}')
    rows = [as_condensed(rdm, name) for name, rdm in models.items()]
    if any(len(row) != 1 for row in rows):
        raise ValueError('each model must be one RDM; average or weight them first')
    y = as_condensed(target, 'target').mean(0, keepdims=True)
    if len({row.shape[1] for row in (*rows, y)}) > 1:
        raise ValueError('models and target must be of the same stimuli')
    stack = without_groups(np.concatenate([*rows, y]), counted_pairs(target, *models.values()))
    stack = stack[:, ~np.isnan(stack).any(0)]
    stack = rank_transform(stack) if ranked else stack
    stack = stack - stack.mean(1, keepdims=True)
    names, total = list(models), float(stack[-1] @ stack[-1])
    if total == 0:
        raise ValueError('the target is constant: there is no variance to explain')
    r2: dict[tuple[str, ...], float] = {}
    sets = [s for k in range(1, len(names) + 1) for s in combinations(range(len(names)), k)]
    for chosen in sets:
        design = stack[list(chosen)].T
        left = stack[-1] - design @ np.linalg.lstsq(design, stack[-1], rcond=None)[0]
        r2[tuple(names[i] for i in chosen)] = 1 - float(left @ left) / total
    return VariancePartition(r2, {key: _exactly(key, names, r2) for key in r2})


def _exactly(key: tuple[str, ...], names: list[str], r2: dict[tuple[str, ...], float]) -> float:
    """Inclusion and exclusion: common to all of ``key``, and in none of the others."""
    others = [name for name in names if name not in key]
    part = 0.0
    for count in range(len(key) + 1):
        for more in combinations(key, count):
            chosen = tuple(name for name in names if name in others or name in more)
            part += (-1) ** (count + 1) * (r2[chosen] if chosen else 0.0)
    return part
