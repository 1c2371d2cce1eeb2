"""Figure of RSA by time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmclarity.utils.figures import clean, new_figure, save


def time_figure(
    courses: np.ndarray,
    clusters: Mapping[str, list],
    name: str,
    path: str | Path,
    times: np.ndarray | None = None,
) -> None:
    """Mean over subjects and its standard error by layer; bars where clusters have p < .05.

    Args:
        courses: (L, S, T), see :func:`time_courses`.
        clusters: Of every layer, see :func:`cluster_test`.
        name: Of the area.
        path: A .png, .pdf or .svg.
        times: (T,) of the horizontal axis; counted if they are not known.
    """
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    means = courses.mean(1)
    known = means[np.isfinite(means)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    step = 0.03 * (high - low or 1)
    label = 'time (samples)' if times is None else 'time'
    times = np.arange(courses.shape[2]) if times is None else times
    for k, (layer, course) in enumerate(zip(clusters, courses)):
        colour, mean = f'C{k % 10}', course.mean(0)
        axes.plot(times, mean, color=colour, label=layer)
        if len(course) > 1:
            error = course.std(0, ddof=1) / np.sqrt(len(course))
            axes.fill_between(times, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
        for cluster in clusters[layer]:
            if cluster.p < 0.05 and cluster.mass > 0:
                height = low - (k + 1) * step
                axes.plot(
                    times[[cluster.start, cluster.stop - 1]], [height] * 2, color=colour, lw=2
                )
    axes.set_xlabel(label)
    axes.set_ylabel(f'likeness to {name}')
    axes.legend(fontsize=7)
    clean(axes)
    save(figure, path)
