"""The figure of a calibration: what was measured, and the laws that were fitted to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmclarity.utils.figures import (
    COLOURS,
    FAINT,
    GREY,
    NORMAL,
    SMALL,
    clean,
    new_figure,
    panel_title,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .calibration import Calibration

_MEASURED, _FITTED = COLOURS[:2]


def plot(found: Calibration, path: str | Path) -> None:
    """Fit against data: noise variance, correlation along the line, and (pairs) transfer.

    Args:
        found: What :func:`calibrate` found.
        path: PNG, PDF or SVG; its folder is made if it is missing.
    """
    figure = new_figure(12 if found.pairs else 8, 3.6)
    axes = figure.subplots(1, 3 if found.pairs else 2)
    _draw_noise(axes[0], found)
    _draw_correlation(axes[1], found)
    if found.pairs:
        _draw_blur(axes[2], found)
    save(figure, path)


def _finish(axes: Axes, name: str, below: str, beside: str) -> None:
    panel_title(axes, name)
    axes.set_xlabel(below, fontsize=NORMAL)
    axes.set_ylabel(beside, fontsize=NORMAL)
    clean(axes, grid=False)


def _draw_noise(axes: Axes, found: Calibration) -> None:
    """Variance against grey level, of every bin, of all together and by the law."""
    slope, intercept = (found.estimates[name].value for name in ('slope', 'intercept'))
    for sample in found.noise:
        axes.plot(sample.level, sample.variance, '.', color=COLOURS[5], ms=2, alpha=0.5)
    levels = np.linspace(0, np.nanmax([np.nanmax(s.level) for s in found.noise]), 50)
    law = f'{slope:.2f} I + {intercept:.0f}'
    axes.plot(levels, slope * levels + intercept, color=_FITTED, label=law)
    axes.plot(*found.curve.T, 'o-', color=_MEASURED, ms=4, label='medians')
    axes.set_ylim(0, 1.3 * found.curve[:, 1].max())
    axes.legend(frameon=False, fontsize=SMALL)
    _finish(axes, 'Noise in flat places', 'grey level I', 'noise variance')


def _draw_correlation(axes: Axes, found: Calibration) -> None:
    """Along one line; bars are the standard deviation between images."""
    rho = np.array([sample.correlation for sample in found.noise])
    lags = np.arange(1, rho.shape[1] + 1)
    between = rho.std(0) if len(rho) > 1 else None
    axes.errorbar(lags, rho.mean(0), between, fmt='o-', color=_MEASURED, ecolor=GREY, capsize=3)
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.set_xticks(lags)
    _finish(axes, 'One line', 'lag along the scan line in pixels', 'correlation of the noise')


def _draw_blur(axes: Axes, found: Calibration) -> None:
    """Spectrum of the low images over that of the high ones, and Gaussian beams."""
    frequency = found.pairs[0].frequency
    for name, colour in (('along', _MEASURED), ('across', _FITTED)):
        weight = np.array([getattr(s, f'weight_{name}') for s in found.pairs])
        ratio = np.average([getattr(s, name) for s in found.pairs], axis=0, weights=weight)
        axes.plot(frequency, ratio, 'o', color=colour, ms=4)
        sigma = found.estimates[f'blur {name}'].value
        model = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
        height = np.average(ratio / model, weights=weight.sum(0))
        label = f'{name} the line: sigma {sigma:.2f} px'
        axes.plot(frequency, model * height, color=colour, label=label)
    axes.set_ylim(0, 1.15)
    axes.legend(frameon=False, fontsize=SMALL)
    _finish(axes, 'Blur', 'cycles per pixel', 'transfer, low over high')
