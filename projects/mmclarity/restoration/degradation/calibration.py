"""From folders of images to a config of the degradation, with uncertainties and a figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.utils.files import write_text

from ..io.micrograph import list_images, read_sem
from ..io.pairs import shared_name, shared_parts
from ..ops.registration import MIN_CONFIDENCE
from .measure import NoiseSample, PairSample, fit_blur, fit_noise, measure_noise, measure_pair

RESAMPLINGS = 200
# Correlation between neighbouring lines above which the estimates do not hold.
MOST_ACROSS = 0.05
# Relative error of the linear law of noise above which its curve is written instead.
LINEAR = 0.1
# What to beware of in a config.
PAIRED = (
    'drift between the two frames of a pair is reported, not simulated: from one image nobody can '
    'undo it'
)
ALONE = (
    'blur, jitter, gain and offset cannot be told from low images alone; the defaults stand in '
    '(give --high for pairs)'
)


@dataclass(frozen=True)
class Estimate:
    """One parameter.

    Args:
        value: From all images together.
        error: Standard error, by bootstrap over images; NaN for one image.
        spread: Standard deviation between images; NaN where it is not measured singly.
    """

    value: float
    error: float = float('nan')
    spread: float = float('nan')

    def __str__(self) -> str:
        spread = '' if np.isnan(self.spread) else f', {self.spread:.3g} between images'
        error = 'one image: no uncertainty' if np.isnan(self.error) else f'+- {self.error:.2g}'
        return f'{self.value:.4g} ({error}{spread})'


@dataclass
class Calibration:
    """All that was found.

    Args:
        estimates: By parameter of SimulateLowCostSEM ('lag 1', ... for the
            correlation).
        curve: (L, 2) grey level and variance, for a detector that is not linear.
        misfit: Root mean square of the linear law's relative error along the curve.
        noise: Measured on single images; what it was found from.
        pairs: Measured on pairs, likewise.
        notes: What could not be measured, and what to beware of.
    """

    estimates: dict[str, Estimate]
    curve: np.ndarray
    misfit: float
    noise: list[NoiseSample]
    pairs: list[PairSample]
    notes: list[str] = field(default_factory=list)


def calibrate(
    low: str | Path,
    high: str | Path | None = None,
    seed: int = 0,
    data_range: float | None = None,
    progress: Callable[[str], Any] = print,
    include: str | None = None,
) -> Calibration:
    """Measure the degradation on a folder of low images, alone or with their high partners.

    Args:
        low: Folder of images as the cheap microscope takes them.
        high: Folder of images of the same fields and names, as the
            expensive one takes them. Pairs need not be registered.
        seed: Of the bootstrap. Defaults to 0.
        data_range: Of images of floating point.
        progress: Called with a line of text now and then. Defaults to print.
        include: Regular expression that whole file stems have to match.

    Returns:
        The parameters found, each with its uncertainty.

    Raises:
        FileNotFoundError, ValueError: See :func:`list_images`, :func:`read_sem`; also for a high
            image that is missing, or a pair that shows different fields.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import tifffile
        >>> from mmclarity.restoration.degradation import calibrate
        >>> clean = np.add.outer(np.linspace(60, 160, 128), np.zeros(128))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for seed in range(2):
        ...         noise = np.random.default_rng(seed).normal(0, 8, (128, 128))
        ...         noisy = (clean + noise).round().astype(np.uint8)
        ...         tifffile.imwrite(f'{folder}/{seed}.tif', noisy)
        ...     found = calibrate(folder, progress=lambda line: None)
        >>> sorted(found.estimates)[:2], bool(55 < np.median(found.curve[:, 1]) < 75)
        (['intercept', 'lag 1'], True)
    """
    paths = [
        path for path in list_images(low) if include is None or re.fullmatch(include, path.stem)
    ]
    if not paths:
        raise FileNotFoundError(f'no image of {low} matches include={include!r}')
    partners = {} if high is None else {shared_name(path): path for path in list_images(high)}
    noise, pairs = [], []
    for number, path in enumerate(paths, 1):
        read = read_sem(path, data_range=data_range)
        try:
            noise.append(measure_noise(read.unit * 255))
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        if high is not None:
            partner = partners.get(shared_name(path))
            if partner is None:
                raise ValueError(f'{path} has no partner of its name in {high}')
            parts = shared_parts(read, read_sem(partner, data_range=data_range))
            pairs.append(measured_pair(*(part.unit * 255 for part in parts), path, partner))
        if number % 10 == 0 or number == len(paths):
            progress(f'{number} of {len(paths)} images measured')
    found = fit_calibration(noise, pairs, np.random.default_rng(seed))
    found.notes.append(PAIRED if pairs else ALONE)
    return found


def measured_pair(
    low: np.ndarray, high: np.ndarray, low_name: str | Path, high_name: str | Path
) -> PairSample:
    """What a pair says; see :func:`.measure.measure_pair`.

    Raises:
        ValueError: with both names: sizes differ, or the two do not show one field of view.
    """
    try:
        found = measure_pair(low, high)
    except ValueError as error:
        raise ValueError(f'{low_name} and {high_name}: {error}') from error
    if found.place.confidence < MIN_CONFIDENCE:
        raise ValueError(
            f'{low_name} and {high_name} do not show one field of view: best '
            f'correlation {found.place.confidence:.2f}, {MIN_CONFIDENCE} is wanted; remove '
            'the pair'
        )
    return found


def fit_calibration(
    noise: list[NoiseSample], pairs: list[PairSample], rng: np.random.Generator
) -> Calibration:
    """All parameters from what single images and pairs say, with their uncertainty.

    Args:
        noise: of low images, at least one.
        pairs: of pairs, possibly none.
        rng: of the bootstrap.
    """
    drawn = {
        count: [rng.integers(0, count, count) for _ in range(RESAMPLINGS)]
        for count in (len(noise), len(pairs))
        if count
    }
    estimates, notes = {}, []

    def add(names: Sequence[str], function: Callable, samples: list, single: bool) -> None:
        values = np.atleast_1d(function(samples))
        errors = spreads = np.full(len(values), np.nan)
        if len(samples) > 1:
            errors = np.std(
                [function([samples[i] for i in draw]) for draw in drawn[len(samples)]],
                axis=0,
                ddof=1,
            ).reshape(-1)
            if single:
                spreads = np.std([function([s]) for s in samples], axis=0, ddof=1).reshape(-1)
        for name, value, error, spread in zip(names, values, errors, spreads):
            estimates[name] = Estimate(float(value), float(error), float(spread))

    add(['slope', 'intercept'], fit_noise, noise, False)
    lags = len(noise[0].correlation)
    add(
        [f'lag {lag + 1}' for lag in range(lags)],
        lambda some: np.mean([s.correlation for s in some], 0),
        noise,
        True,
    )
    across = float(np.mean([sample.across for sample in noise]))
    if abs(across) > MOST_ACROSS:
        notes.append(
            f'neighbouring lines share noise (correlation {across:.2f}): the image was '
            'filtered or averaged, and the noise is underestimated'
        )
    if pairs:
        add(
            ['gain', 'offset'],
            lambda some: np.mean([(s.gain, s.offset) for s in some], 0),
            pairs,
            True,
        )
        add(['blur along', 'blur across'], fit_blur, pairs, False)
        add(
            ['jitter'],
            lambda some: np.sqrt(max(np.mean([s.jitter for s in some]), 0)),
            pairs,
            False,
        )
        add(['drift'], lambda some: np.mean([s.drift for s in some]), pairs, True)
    curve = _curve(noise)
    line = estimates['slope'].value * curve[:, 0] + estimates['intercept'].value
    misfit = float(np.sqrt(np.mean(np.square(line / curve[:, 1] - 1))))
    return Calibration(estimates, curve, misfit, noise, pairs, notes)


def _curve(noise: list[NoiseSample], points: int = 12) -> np.ndarray:
    """(L, 2): medians of variance in equally filled bins of level, all images together."""
    level, variance, pixels = (
        np.concatenate([getattr(s, name) for s in noise])
        for name in ('level', 'variance', 'pixels')
    )
    good = np.isfinite(level) & np.isfinite(variance) & (pixels > 0)
    level, variance = level[good], variance[good]
    edges = np.unique(np.quantile(level, np.linspace(0, 1, points + 1)))
    index = np.clip(np.searchsorted(edges, level, side='right') - 1, 0, max(len(edges) - 2, 0))
    out = [
        (level[index == i].mean(), np.median(variance[index == i]))
        for i in range(max(len(edges) - 1, 1))
        if (index == i).any()
    ]
    return np.array(out)


def transform_options(found: Calibration, linear: bool | None = None) -> dict[str, Any]:
    """Arguments of SimulateLowCostSEM.

    Each range is two deviations wide, between images or of the estimate, whichever is larger. Noise
    is linear in the grey level where that law is good (``linear=None``), else its measured curve.
    """
    if linear is None:
        linear = found.misfit < LINEAR

    def around(name: str, least: float | None = None) -> tuple[float, float]:
        estimate = found.estimates[name]
        width = np.nanmax([2 * estimate.error, 2 * estimate.spread, 0.0])
        low, high = estimate.value - width, estimate.value + width
        low = low if least is None else max(low, least)
        return tuple(float(f'{value:.5g}') for value in (low, high))

    lags = [name for name in found.estimates if name.startswith('lag ')]
    rho = [round(found.estimates[name].value, 3) for name in lags]
    while rho and abs(rho[-1]) < 0.01:
        rho.pop()
    options: dict[str, Any] = dict(correlation=tuple(rho))
    if linear:
        options.update(slope=around('slope', 0), intercept=around('intercept', 0))
    else:
        # by digits, not decimals: 12 bits in files of 16 have variances of some thousandths
        options['variance'] = [tuple(float(f'{v:.4g}') for v in point) for point in found.curve]
    if found.pairs:
        along, across = (found.estimates[f'blur {name}'] for name in ('along', 'across'))
        beam = min(across.value, along.value)
        line = float(np.sqrt(max(along.value**2 - beam**2, 0)))
        wide = 2 * float(np.nan_to_num(max(along.error, across.error)))
        options.update(
            blur=(round(max(beam - wide, 0), 3), round(beam + wide, 3)),
            line_blur=(round(max(line - wide, 0), 3), round(line + wide, 3)),
            jitter=around('jitter', 0),
            gain=around('gain', 0),
            offset=around('offset'),
        )
    return options


def config_text(found: Calibration, linear: bool | None = None) -> str:
    """A config file: ``degradation``, to be used as the transform of a training pipeline."""
    lines = [
        '# Written by tools/calibrate_degradation.py from '
        f'{len(found.noise)} low images and {len(found.pairs)} pairs.'
    ]
    lines += [f'# {name}: {estimate}' for name, estimate in found.estimates.items()]
    lines.append('degradation = dict(')
    lines.append("    type='SimulateLowCostSEM',")
    lines += [f'    {key}={value},' for key, value in transform_options(found, linear).items()]
    return '\n'.join([*lines, ')', ''])


def write_config(
    path: str | Path, found: Calibration, linear: bool | None = None, overwrite: bool = False
) -> None:
    """Write :func:`config_text`, whole or not at all.

    Raises:
        FileExistsError: If the file exists and is not to be overwritten.
    """
    write_text(path, config_text(found, linear), overwrite=overwrite, parents=True)


def plot(found: Calibration, path: str | Path) -> None:
    """The figure of a calibration, see :func:`.calibration_figure.plot`."""
    from .calibration_figure import plot as draw

    draw(found, path)
