"""Arrays of napari's layers restored plane by plane: all but Qt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.errors import UsageError, said

from ..inference.restorer import Restorer
from ..inference.slow_levels import SlowLevels
from ..io.micrograph import from_array

__all__ = ['Cancelled', 'Restored', 'restore_planes', 'restored_layers', 'sample']

# Types whose black and white are known; others become float32, between their darkest and brightest.
KEPT = ('uint8', 'uint16', 'int16', 'float32')


class Cancelled(Exception):
    """The user has stopped the work."""


@dataclass
class Restored:
    """What became of a layer.

    Attributes:
        data: of the shape of the layer's, and its type where that is one of ``KEPT``.
        particles: (K, number of axes) of the doubtful ones.
        sizes: their diameters in pixels, (K,).
        said: lines of plain words about the first plane, and warnings about any.
        levels: the grey levels that were given: the layer's own, or those of a slow scan.
    """

    data: np.ndarray
    particles: np.ndarray
    sizes: np.ndarray
    said: list[str] = field(default_factory=list)
    levels: SlowLevels = field(default_factory=SlowLevels)


def restore_planes(
    restorer: Restorer,
    data: Any,
    doubts: bool = False,
    progress: Callable[[float], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Restored:
    """Restores the planes of an array, the last two axes, each measured by itself.

    Args:
        restorer: the general network, or one of the user's own.
        data: (..., H, W), NumPy's or lazy (dask, zarr): one plane is read at a time.
        doubts: look for doubtful particles, which takes four times as long.
        progress: called with the share that is done, 0 to 1.
        stopped: asked after each tile.

    Raises:
        UsageError: fewer than two axes, no pixels, or values that are no grey levels.
        Cancelled: ``stopped`` said so.
    """
    shape, dtype = tuple(data.shape), np.dtype(data.dtype)
    if len(shape) < 2 or 0 in shape or dtype.kind not in 'uifb':
        raise UsageError(f'a grey image of two or more axes is needed, not {dtype} of {shape}')
    out = np.empty(shape, dtype if dtype.name in KEPT else np.float32)
    count = int(np.prod(shape[:-2], dtype=int))
    result = Restored(out, np.empty((0, len(shape))), np.empty(0))
    result.levels = restorer.levels
    _check_levels(restorer.levels, out.dtype)
    result.said += _network(restorer)
    points: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    kinds: set[str] = set()
    for i, index in enumerate(np.ndindex(shape[:-2])):

        def tell(done: int, total: int, i: int = i) -> None:
            if stopped():
                raise Cancelled
            if progress is not None:
                progress((i + done / total) / count)

        plane = np.asarray(data[index])
        restorer.tell = result.said.append if i == 0 else None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always', UserWarning)
            try:
                out[index], particles = _restore(restorer, plane, out.dtype, doubts, tell)
            except UsageError as error:
                if count == 1:
                    raise
                place = ', '.join(map(str, index))
                raise UsageError(f'plane {place}: {said(error)}') from error
        for line in (str(w.message) for w in caught):
            kind = re.sub('[0-9.]+', '', line)  # planes differ in numbers only
            if kind not in kinds:
                kinds.add(kind)
                result.said.append(line)
        points.append(np.hstack([np.tile(index, (len(particles), 1)), particles[:, :2]]))
        sizes.append(2 * particles[:, 2])
    result.said = [
        line.removeprefix('the image: ').removeprefix('the image ') for line in result.said
    ]
    result.particles, result.sizes = np.concatenate(points), np.concatenate(sizes)
    return result


def _check_levels(levels: SlowLevels, dtype: np.dtype) -> None:
    """Refuses levels of a slow scan that a layer's own black and white do not tell.

    The restorer refuses them too, and names options of the command line.
    """
    remedy = "take the tick off 'grey levels of a slow scan'"
    if levels.wanted and dtype.kind != 'u':
        raise UsageError(
            f'{dtype} has no black and white of its own, so that grey levels of slow scans are not '
            f'known; {remedy}, or open the scan in 8 or 16 bit as the microscope wrote it'
        )
    if levels.wanted and levels.white is not None:
        raise UsageError(
            f'these weights learnt the grey levels of slow scans with {levels.white:g} as white, '
            f'which a layer cannot be given; {remedy}, or restore by mmclarity-restore '
            f'--data-range {levels.white:g}'
        )


def _network(restorer: Restorer) -> Iterator[str]:
    """What restores, where it is not the network of the package as it is."""
    if restorer.weights:
        yield f'restored with {", ".join(Path(path).name for path in restorer.weights)}'
    if restorer.levels.wanted:
        yield 'grey levels are those of a slow scan'


def _restore(
    restorer: Restorer,
    plane: np.ndarray,
    dtype: np.dtype,
    doubts: bool,
    tell: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """One plane in its own type, and its doubtful particles (K, 4)."""
    image = from_array(plane.astype(dtype, copy=False), 'measured')
    particles = np.empty((0, 4))
    if doubts:
        found = restorer.with_doubts(image, progress=tell)
        levels, particles = found.restored, found.particles[found.doubtful]
        if restorer.tell is not None:
            restorer.tell(found.describe())
    else:
        levels = restorer(image, progress=tell)
    values = image.black + levels.astype(np.float64) * (image.data_range - image.black)
    return (np.rint(values) if dtype.kind != 'f' else values).astype(dtype), particles


def restored_layers(layer: Any, restored: Restored) -> Iterator[tuple[np.ndarray, dict, str]]:
    """What napari shows of a restoration: name, scale, units, place and colours of the original.

    Args:
        layer: the image layer that was restored.
        restored: what became of it.

    Yields:
        Data, attributes and kind of the image, and of the doubtful particles if there are any.
    """
    place = {
        name: getattr(layer, name)
        for name in (
            'scale',
            'translate',
            'rotate',
            'shear',
            'affine',
            'units',
            'axis_labels',
        )
        if hasattr(layer, name)
    }
    yield (
        restored.data,
        dict(
            name=f'{layer.name} restored',
            colormap=layer.colormap.name,
            contrast_limits=_limits(layer.contrast_limits, restored),
            gamma=layer.gamma,
            metadata={**layer.metadata, 'mmclarity': restored.said},
            **place,
        ),
        'image',
    )
    if len(restored.particles):
        yield (
            restored.particles,
            dict(
                name=f'{layer.name} doubtful',
                size=restored.sizes + 4,
                face_color='transparent',
                border_color='#ff5a36',
                border_width=0.08,
                **place,
            ),
            'points',
        )


def _limits(limits: Iterable[float], restored: Restored) -> tuple[float, ...]:
    """What shows the restoration as bright as its layer is shown with these limits."""
    if not restored.levels.wanted:
        return tuple(limits)
    gain, offset = restored.levels.gain, restored.levels.offset
    white = np.iinfo(restored.data.dtype).max  # others have no levels of slow scans
    return tuple((limit - offset * white) / gain for limit in limits)


def sample() -> list[tuple[np.ndarray, dict, str]]:
    """A simulated micrograph of spheres under the noise of a quick scan; pixels of 2 nm."""
    from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

    clean = make_phantom(PhantomSettings(512, median_radius=9), 4).image
    random = np.random.default_rng(0)
    noisy = clean + np.sqrt(0.004 + 0.02 * clean) * random.standard_normal(clean.shape)
    pixels = (noisy * 230 + 15).clip(0, 255).astype(np.uint8)
    return [(pixels, dict(name='noisy micrograph', scale=(2.0, 2.0), units=('nm', 'nm')), 'image')]
