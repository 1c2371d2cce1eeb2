"""Movies of a training: what RSAHook wrote epoch by epoch, as an animated GIF (or MP4)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter

from mmclarity.errors import UsageError
from mmclarity.utils.figures import clean, new_figure
from mmclarity.utils.files import replacing

from ..result import RSAResult
from . import tables
from .epoch_files import analyses_in
from .matrices import percentiles
from .style import SEQUENTIAL, UNTRAINED, measure, short_names


def read_epochs(folder: str | Path) -> dict[int, RSAResult]:
    """Results of a folder of RSAHook by epoch (or iteration), in order.

    Raises:
        UsageError: If there are fewer than two, or they do not belong to one training.
    """
    files = analyses_in(folder)
    units = sorted({unit for unit, _ in files})
    if len(units) > 1:
        raise UsageError(
            f'{folder}: holds {units[0]}_N.npz and {units[1]}_N.npz; a movie shows one training, '
            'by one of the two: move the others away'
        )
    found = {step: tables.load_npz(path) for (_, step), path in files.items()}
    if len(found) < 2:
        raise UsageError(
            f'{folder}: {len(found)} files epoch_N.npz; give the folder that RSAHook wrote to '
            '(rsa/ in the work folder of a training) with two or more'
        )
    last = found[max(found)]
    for (_, step), path in files.items():
        for what in ('layers', 'areas', 'ids'):
            if getattr(found[step], what) != getattr(last, what):
                raise UsageError(
                    f'{path}: has other {"stimuli" if what == "ids" else what} than the last one '
                    'in its folder; a movie shows one training: move what is of another away'
                )
    return found


def epochs_movie(
    results: dict[int, RSAResult],
    path: str | Path,
    area: str | None = None,
    layers: Sequence[str] | None = None,
    per_second: float = 2.0,
) -> None:
    """Likeness of the layers with one area, and the RDMs of some layers, from epoch to epoch.

    Args:
        results: As :func:`read_epochs` gives them.
        path: A .gif, or an .mp4 where ffmpeg is installed.
        area: Of the results. The first one, if not given.
        layers: Whose RDMs are shown. Up to four spread over the network, if not given.
        per_second: Epochs shown a second.

    Raises:
        UsageError: If the area or a layer is unknown, or the ending is.
    """
    path, first = Path(path), next(iter(results.values()))
    area = first.areas[0] if area is None else area
    if area not in first.areas:
        raise UsageError(f'no area {area!r}; choose one of {", ".join(first.areas)}')
    if layers is None:
        spread = np.linspace(0, len(first.layers) - 1, min(4, len(first.layers)))
        layers = [first.layers[i] for i in np.unique(spread.round().astype(int))]
    unknown = sorted(set(layers) - set(first.layers))
    if unknown:
        raise UsageError(f'no layer {unknown[0]!r}; choose of {", ".join(first.layers)}')
    writer = _writer(path, per_second)
    figure = new_figure(7, 4.6)
    grid = figure.add_gridspec(2, len(layers), height_ratios=(1.5, 1))
    curve, column = figure.add_subplot(grid[0, :]), first.areas.index(area)
    unit = 'iteration' if 'iter' in first.meta else 'epoch'
    maps = [figure.add_subplot(grid[1, i]) for i in range(len(layers))]
    scores = {epoch: result.scores[:, column] for epoch, result in results.items()}
    every = np.stack(list(scores.values()))  # NaN where a layer had no RDM in an epoch
    low = np.nanmin(every, initial=0.0)
    high = np.nanmax(every, initial=0.05)

    def draw(epoch: int) -> list:
        result = results[epoch]
        curve.clear()
        places = np.arange(len(result.layers))
        if result.untrained_scores is not None:
            curve.plot(places, result.untrained_scores[:, column], ':', color=UNTRAINED)
        for earlier in results:
            if earlier < epoch:
                curve.plot(places, scores[earlier], color='0.85', linewidth=0.8)
        curve.plot(places, scores[epoch], 'o-', color='C0')
        curve.set_ylim(low - 0.02, high * 1.08)
        curve.set_xticks(places, short_names(result.layers)[0], rotation=30, fontsize=7)
        curve.set_ylabel(measure(result))
        curve.set_title(f'{area}, {unit} {epoch}', loc='left')
        clean(curve)
        for axes, layer in zip(maps, layers):
            axes.clear()
            rdm = result.rdms[result.layers.index(layer)]
            axes.imshow(percentiles(rdm), cmap=SEQUENTIAL, vmin=0, vmax=100)
            known = np.isfinite(rdm).any()
            axes.set_title(layer if known else f'{layer} (n/a)', fontsize=7)
            axes.set_xticks([])
            axes.set_yticks([])
        return []

    draw(next(iter(results)))
    animation = FuncAnimation(figure, draw, frames=list(results), init_func=lambda: [])
    with TemporaryDirectory() as folder:  # writers know the kind of a file from its ending
        made = Path(folder) / f'movie{path.suffix}'
        animation.save(made, writer=writer, dpi=100)
        with replacing(path, parents=True) as part:
            part.write_bytes(made.read_bytes())


def _writer(path: Path, per_second: float) -> PillowWriter | FFMpegWriter:
    if path.suffix == '.gif':
        return PillowWriter(fps=per_second)
    if path.suffix == '.mp4' and shutil.which('ffmpeg'):
        return FFMpegWriter(fps=per_second)
    raise UsageError(
        f'{path}: write a .gif{"" if path.suffix != ".mp4" else "; an .mp4 needs ffmpeg"}'
    )
