"""Several restorers side by side: one table, and one figure each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmclarity.utils.figures import COLOURS, new_figure, panel_title, save
from mmclarity.utils.tables import markdown_table

from .fabrication import THRESHOLDS, count_fabrications, summarise
from .fidelity import fidelity
from .particles import detect_particles
from .sharpness import find_edges, sharpness

Restore = Callable[[np.ndarray], np.ndarray]
# Always together: no fabrications is easy for a blurred image, and sharpness for a noisy one.
COLUMNS = (
    ('psnr', 'PSNR dB', 2),
    ('ssim', 'SSIM', 3),
    ('lpips', 'LPIPS', 3),
    ('fabricated', 'fabricated', 1),
    ('missed', 'missed', 1),
    ('blur', 'blur px', 2),
    ('edge_width', 'edge width px', 2),
    ('frc', 'FRC px', 2),
)
# Beside them once: the former counts, each threshold, and how right the doubts are.
ALL_COLUMNS = (
    *COLUMNS,
    *((f'fabricated@{t:g}', f'fabr. @{t:g}', 1) for t in THRESHOLDS),
    *((f'missed@{t:g}', f'missed @{t:g}', 1) for t in THRESHOLDS),
    ('fabricated_unchecked', 'fabricated (former)', 1),
    ('missed_unchecked', 'missed (former)', 1),
)


@dataclass
class Entry:
    """One row: a restorer, trained with one seed or several."""

    name: str
    seeds: list[dict[str, float]] = field(default_factory=list)


class RestorationReport:
    """Judges restorers on images whose truth is known.

    Args:
        pairs: (low, reference) images (H, W) in [0, 1], registered; or (low,
            reference, particles) with the exact list of y, x, radius.
        thresholds: Of :func:`count_fabrications`.
    """

    def __init__(self, pairs: Iterable[tuple], thresholds: Sequence[float] = THRESHOLDS) -> None:
        # Of a reference without a list, particles are looked for once, not for every restorer.
        self.pairs = [(p[0], p[1], p[2] if len(p) > 2 else detect_particles(p[1])) for p in pairs]
        if not self.pairs:
            raise ValueError('no pair of images to judge on')
        self.thresholds = tuple(thresholds)
        self.edges = [find_edges(reference) for _, reference, _ in self.pairs]
        self.entries: dict[str, Entry] = {}
        self.shown: dict[str, tuple[np.ndarray, dict]] = {}

    def add(self, name: str, restore: Restore, picture: int = 0) -> dict[str, float]:
        """Judge a restorer; the same name again is another seed of it.

        Args:
            name: Row of the table.
            restore: (H, W) in [0, 1] to the same.
            picture: Which pair the figure shows. Defaults to 0.

        Returns:
            Means over the images, see :func:`fidelity`, :func:`sharpness` and
            :func:`summarise`; ``blur`` is the edge width beyond the reference's.
        """
        rows, counts = [], []
        for index, (low, reference, truth) in enumerate(self.pairs):
            restored = np.asarray(restore(low), np.float64)
            count = count_fabrications(restored, reference, self.thresholds, particles=truth)
            row = {
                **fidelity(restored, reference),
                **sharpness(restored, reference, self.edges[index]),
            }
            row['blur'] = row['edge_width'] - row['edge_width_reference']
            rows.append(row)
            counts.append(count)
            if index == picture and name not in self.shown:
                self.shown[name] = (restored, count[len(count) // 2])
        means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
        means.update(summarise(counts))
        self.entries.setdefault(name, Entry(name)).seeds.append(means)
        return means

    def markdown(self, columns: Sequence[tuple[str, str, int]] = COLUMNS) -> str:
        """The table: means, and standard deviations over seeds where there are several.

        A column that was not measured is left out: LPIPS, where its weights are not at hand.
        """
        columns = [
            column
            for column in columns
            if all(column[0] in seed for entry in self.entries.values() for seed in entry.seeds)
        ]
        rows = []
        for entry in self.entries.values():
            cells = [entry.name]
            for key, _, digits in columns:
                values = np.array([seed[key] for seed in entry.seeds])
                text = f'{values.mean():.{digits}f}'
                if len(values) > 1:
                    text += f' ± {values.std(ddof=1):.{digits}f}'
                cells.append(text)
            rows.append(cells)
        return markdown_table(['', *(title for _, title, _ in columns)], rows)

    def figure(
        self,
        path: str | Path,
        names: Sequence[str] | None = None,
        picture: int = 0,
        window: tuple[slice, slice] | None = None,
    ) -> None:
        """Low | restored | reference, and false (red) and missed (blue) particles circled.

        Args:
            path: PNG, PDF or SVG.
            names: Rows to show. Defaults to None: all.
            picture: The pair that was named to :meth:`add`. Defaults to 0.
            window: Part of the image. Defaults to None: all.
        """
        names = list(names or self.shown)
        low, reference, _ = self.pairs[picture]
        window = window or (slice(0, low.shape[0]), slice(0, low.shape[1]))
        height, width = low[window].shape
        figure = new_figure(4 * 3.2, len(names) * 3.2 * height / width + 0.3)
        axes = figure.subplots(len(names), 4, squeeze=False)
        for row, name in zip(axes, names):
            restored, count = self.shown[name]
            # what is circled is what is counted: particles outside of the window are neither
            false, missed = (
                _within(count[f'{kind}_particles'], window) for kind in ('fabricated', 'missed')
            )
            for axis, image, title in zip(
                row,
                (low, restored, reference, restored),
                (
                    'low',
                    name,
                    'reference',
                    f'{len(false)} false, {len(missed)} missed (strength {count["threshold"]:g})',
                ),
            ):
                axis.imshow(image, cmap='gray', vmin=0, vmax=1, interpolation='nearest')
                axis.set(
                    xticks=[],
                    yticks=[],
                    xlim=(window[1].start - 0.5, window[1].stop - 0.5),
                    ylim=(window[0].stop - 0.5, window[0].start - 0.5),
                )
                panel_title(axis, title)
            circle(row[3], false, COLOURS[1])
            circle(row[3], missed, COLOURS[5])
        save(figure, path)


def _within(particles: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Those whose centres lie in a window."""
    inside = np.ones(len(particles), bool)
    for axis, part in enumerate(window):
        inside &= (particles[:, axis] >= part.start) & (particles[:, axis] < part.stop)
    return particles[inside]


def circle(
    axis: Any, particles: np.ndarray, colour: str, width: float = 1.2, line: Any = '-'
) -> None:
    """Draws a circle around each particle (K, >= 3): y, x, radius."""
    from matplotlib.patches import Circle

    for y, x, radius in particles[:, :3]:
        style = dict(fill=False, ec=colour, lw=width, linestyle=line)
        axis.add_patch(Circle((x, y), max(radius + 2, 4), **style))
