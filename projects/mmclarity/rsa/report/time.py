"""Figure of RSA by time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import style as parts

# Of clusters that are marked.
SIGNIFICANT = 0.05


def time_figure(
    courses: np.ndarray,
    clusters: Mapping[str, list],
    name: str,
    path: str | Path,
    times: np.ndarray | None = None,
    remark: str = '',
) -> None:
    """Mean over subjects and its standard error by layer; bars where clusters have p < .05.

    Layers have colours from early to late, no two the same.

    Args:
        courses: (L, S, T), see :func:`time_courses`.
        clusters: Of every layer, see :func:`cluster_test`.
        name: Of the area.
        path: A .png, .pdf or .svg.
        times: (T,) of the horizontal axis; counted if they are not known.
        remark: How the numbers were made.
    """
    columns = 4
    rows = -(-len(clusters) // columns)
    figure = parts.new_figure(7, 4.2 + 0.2 * rows)
    axes = figure.add_subplot()
    means, subjects = courses.mean(1), courses.shape[1]
    known = means[np.isfinite(means)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    step = 0.03 * (high - low or 1)
    axes.axhline(0, color=parts.FAINT, linewidth=0.8)
    label = 'time (samples)' if times is None else 'time'
    times = np.arange(courses.shape[2]) if times is None else times
    for k, (layer, course) in enumerate(zip(clusters, courses)):
        colour, mean = parts.ramp(len(clusters))[k], course.mean(0)
        axes.plot(times, mean, color=colour, linewidth=1.7, label=layer)
        if subjects > 1:
            error = course.std(0, ddof=1) / np.sqrt(subjects)
            axes.fill_between(times, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
        for cluster in clusters[layer]:
            if cluster.p < SIGNIFICANT and cluster.mass > 0:
                ends, height = times[[cluster.start, cluster.stop - 1]], low - (k + 1) * step
                marker = 'o' if cluster.stop - cluster.start == 1 else None  # of one time
                axes.plot(ends, [height] * 2, color=colour, lw=2.5, marker=marker, markersize=2.5)
    axes.set_xlabel(label, fontsize=parts.NORMAL, color=parts.INK)
    axes.set_ylabel('likeness', fontsize=parts.NORMAL, color=parts.INK)
    parts.clean(axes)
    parts.legend(figure, axes, columns)
    remarks = [remark] if remark else []
    if subjects > 1:
        remarks += [
            f'{subjects} subjects, bands: standard error',
            f'lines below: clusters with p < {SIGNIFICANT}',
        ]
    parts.title(figure, f'When layers are like {name}', parts.SEPARATOR.join(remarks))
    parts.save(figure, path)
