"""Several recordings of one area as one: the populations of an animal averaged, animals apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmclarity.errors import DataError

from ..rdms.rdms import RDMs
from .neural import NeuralArea

__all__ = ['average_populations']


def average_populations(name: str, animals: Sequence[Sequence[NeuralArea]]) -> NeuralArea:
    """One area whose subjects are animals, each with the mean RDM of its populations.

    Each animal counts once, however many populations were recorded in it. Scores of the area are
    then means over animals of correlations; noise ceiling and bootstraps over subjects are of
    animals. Dissimilarities are averaged as they are, over the populations that know the pair.

    Args:
        name: What the average is called.
        animals: Populations of each, aligned to the same stimuli (see :func:`align`); one RDM a
            population.

    Returns:
        The area, its RDMs (animals, P).

    Raises:
        DataError: If there are fewer than two populations or an animal without any, one comes
            twice or holds several RDMs, or they are of different stimuli.

    Examples:
        >>> import numpy as np
        >>> from mmclarity.rsa import NeuralArea, average_populations
        >>> rows = np.array([[0.2, 0.9, 0.7], [0.4, 0.8, 0.9], [0.6, 0.8, 0.5]])
        >>> one, two, three = (NeuralArea('V1', row[None], None, 'made up') for row in rows)
        >>> average_populations('V1', [[one], [two, three]]).rdms
        array([[0.2, 0.9, 0.7],
               [0.5, 0.8, 0.7]])
    """
    if not all(animals):
        raise DataError(f'{name}: an animal has no population; name at least one of each')
    populations = [one for animal in animals for one in animal]
    if len(populations) < 2:
        raise DataError(f'{name}: there is nothing to average; name at least two populations')
    _check(name, populations)
    stacks = [RDMs(np.concatenate([one.rdms for one in animal])) for animal in animals]
    rdms = np.concatenate([stack.mean().condensed for stack in stacks])
    members = ' + '.join(','.join(one.name for one in animal) for animal in animals)
    return NeuralArea(name, rdms, populations[0].ids, f'mean of {members}')


def _check(name: str, populations: Sequence[NeuralArea]) -> None:
    """One RDM a population, each once, all of the same stimuli."""
    first, seen = populations[0], set()
    for one in populations:
        if id(one) in seen:
            raise DataError(f'{name}: the population {one.name!r} comes twice; name it once')
        seen.add(id(one))
        if len(one.rdms) != 1:
            raise DataError(
                f'{one.source}: {one.name!r} holds {len(one.rdms)} RDMs; to average populations '
                'of animals, give each population a file or key of its own'
            )
        if one.ids != first.ids or one.rdms.shape != first.rdms.shape:
            raise DataError(
                f'{name}: the stimuli of {one.name!r} are not those of {first.name!r}, or stand in '
                'another order; align() both. Recordings of other pictures are analysed apart and '
                'their results combined (inference.combine_results)'
            )
