"""Words and axes of RSA figures; colours and paper are :mod:`mmclarity.utils.figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmclarity.utils.figures import (
    CEILING,
    COLOURS,
    DPI,
    FAINT,
    FORMATS,
    GREY,
    INK,
    LARGE,
    MARKERS,
    NARROWEST,
    NORMAL,
    SEPARATOR,
    SEQUENTIAL,
    SMALL,
    clean,
    legend,
    new_figure,
    panel_grid,
    panel_title,
    ramp,
    save,
    spread,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..result import RSAResult

__all__ = [
    'CEILING',
    'COLOURS',
    'DPI',
    'FAINT',
    'FORMATS',
    'GREY',
    'INK',
    'LARGE',
    'MARKERS',
    'METHOD_NAMES',
    'NARROWEST',
    'NORMAL',
    'SEPARATOR',
    'SEQUENTIAL',
    'SMALL',
    'UNTRAINED',
    'check_categories',
    'clean',
    'joined',
    'layer_axis',
    'legend',
    'measure',
    'new_figure',
    'panel_grid',
    'panel_title',
    'ramp',
    'save',
    'short_names',
    'spread',
    'subtitle',
    'title',
]

UNTRAINED = GREY
METHOD_NAMES = {
    'pearson': 'Pearson r',
    'spearman': "Spearman's rho",
    'kendall': "Kendall's tau-a",
    'rho-a': 'rho-a',
    'cosine': 'cosine similarity',
    'tau-b': "Kendall's tau-b",
    'corr_cov': 'whitened correlation',
    'cosine_cov': 'whitened cosine',
    'bures': 'Bures similarity',
}


def measure(result: RSAResult) -> str:
    """What the scores are."""
    return METHOD_NAMES.get(result.settings.method, result.settings.method)


def subtitle(result: RSAResult, *more: str) -> str:
    """Which network, how the numbers were made, and what else is to be known."""
    return joined(
        result,
        f'{measure(result)} of RDMs',
        f'{result.settings.metric} distance',
        f'{len(result.ids)} stimuli',
        *more,
    )


def joined(result: RSAResult, *texts: str) -> str:
    """The network, when in its training it was analysed, and remarks in one line."""
    model = [str(result.meta['model'])] if 'model' in result.meta else []
    for unit, told in (('epoch', 'epoch'), ('iter', 'iteration')):
        if unit in result.meta:
            model.append(f'{told} {result.meta[unit]}')
    return SEPARATOR.join([*model, *texts])


def short_names(layers: Sequence[str]) -> tuple[list[str], str]:
    """Names without the leading modules they all share, and those modules.

    ``['backbone.a.0', 'backbone.a.1']`` gives ``['a.0', 'a.1']`` and ``'backbone'``: a name
    keeps at least two parts, for a bare number says little.
    """
    parts = [name.split('.') for name in layers]
    shared = 0
    while (
        all(len(part) > shared + 2 for part in parts) and len({part[shared] for part in parts}) == 1
    ):
        shared += 1
    if len(layers) < 2:
        shared = 0
    return ['.'.join(part[shared:]) for part in parts], '.'.join(parts[0][:shared])


def layer_axis(axes: Axes, layers: Sequence[str]) -> None:
    """Layers along x, in network order, written so that sixteen can be read."""
    names, shared = short_names(layers)
    upright = max(map(len, names)) * len(names) <= 40
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=0 if upright else 40,
        ha='center' if upright else 'right',
        rotation_mode='anchor',
    )
    axes.set_xlabel(f'layer of {shared}' if shared else 'layer', fontsize=NORMAL, color=INK)
    axes.set_xlim(-0.5, len(names) - 0.5)


def check_categories(categories: Sequence[str] | None, stimuli: int) -> list[str] | None:
    """Raises ValueError unless there is one category for each stimulus."""
    if categories is None:
        return None
    if len(categories) != stimuli:
        raise ValueError(
            f'{len(categories)} categories for {stimuli} stimuli; give one each, in '
            'the order of the ids'
        )
    return [str(item) for item in categories]
