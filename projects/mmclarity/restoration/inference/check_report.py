"""What a slow scan says of a restoration, as text, Markdown, JSON and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmclarity.utils.figures import COLOURS, INK, SMALL, new_figure, panel_title, save
from mmclarity.utils.tables import markdown_table, number

from ..evaluation.report import circle
from .check import KINDS, RECORDED, FieldCheck, Judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INVENTED, MISSED = COLOURS[1], COLOURS[5]
LINES = dict(bright='-', dark=(0, (2, 1.5)))
_SIDE = 4.2  # inches of a panel
_NUMBERS = {'psnr': ('PSNR, dB', 2), 'ssim': ('SSIM', 3), 'blur': ('edges wider by, px', 2)}


def tables(checks: Sequence[FieldCheck]) -> tuple[str, str]:
    """Means over the fields: fidelity of each row, and its particles at each strength."""
    titles = list(checks[0].rows)
    fidelity = [
        [
            title,
            *(
                number(
                    _mean([check.rows[title].numbers[key] for check in checks]), f'.{digits}f', '-'
                )
                for key, (_, digits) in _NUMBERS.items()
            ),
        ]
        for title in titles
    ]
    thresholds = [count['threshold'] for count in checks[0].rows[RECORDED].counts['bright']]
    particles = []
    for title in titles:
        for kind in KINDS:
            cells = []
            for place in range(len(thresholds)):
                counts = [check.rows[title].counts[kind][place] for check in checks]
                invented, missed, present = (
                    float(np.mean([count[key] for count in counts]))
                    for key in ('fabricated', 'missed', 'present')
                )
                cells.append(f'{_few(invented)} / {_few(missed)} of {_few(present)}')
            particles.append([f'{title}, {kind}', *cells])
    return (
        markdown_table(['', *(title for title, _ in _NUMBERS.values())], fidelity),
        markdown_table(['strength', *(f'{value:g}' for value in thresholds)], particles),
    )


def markdown(checks: Sequence[FieldCheck]) -> str:
    """The whole report."""
    fidelity, particles = tables(checks)
    fields = 'one field' if len(checks) == 1 else f'{len(checks)} fields'
    lines = [
        '# Restorations beside slow scans',
        '',
        f'{fields[0].upper()}{fields[1:]}; means. Strengths in units of the contrast: a disc of a '
        'contrast of 4, 7, 11, 16 % has 0.03, 0.05, 0.08, 0.12.',
        '',
        fidelity,
        '',
        'Particles a picture, invented / missed of those in the slow scan:',
        '',
        particles,
        '',
        *(f'- {line}' for check in checks for line in remarks(check)),
    ]
    return '\n'.join(lines) + '\n'


def remarks(check: FieldCheck) -> list[str]:
    """How a pair was brought together, and what to know of it, in plain words."""
    lines = [
        f'{check.name}: noise {100 * check.noise:.1f} % of the contrast, in the slow scan '
        f'{100 * check.slow_noise:.1f} %; levels of the slow scan times {check.gain:.3g} and '
        f'{255 * check.offset:+.1f} of 255; correlation {check.confidence:.3f}'
    ]
    if check.floor > check.rows[RECORDED].counts['bright'][0]['threshold']:
        lines.append(
            f"{check.name}: below a strength of {check.floor:.2f} the slow scan's own noise makes "
            'particles: what is counted as missed or invented there may be that'
        )
    return lines + [f'{check.name}: {line}' for line in check.remarks]


def verdict(checks: Sequence[FieldCheck], title: str) -> str:
    """One row in one sentence, at the lowest strength."""
    parts = []
    for kind in KINDS:
        counts = [check.rows[title].counts[kind][0] for check in checks]
        invented, missed, found, present = (
            float(np.mean([count[key] for count in counts]))
            for key in ('fabricated', 'missed', 'found', 'present')
        )
        parts.append(
            f'{_few(invented)} of {_few(found)} {kind} particles invented, {_few(missed)} of '
            f'{_few(present)} missed'
        )
    least = checks[0].rows[title].counts['bright'][0]['threshold']
    return f'{title}: {"; ".join(parts)} (a picture, strength {least:g} and more)'


def as_json(checks: Sequence[FieldCheck]) -> list[dict[str, Any]]:
    """Everything but the pictures."""
    return [
        dict(
            field=check.name,
            noise=check.noise,
            slow_noise=check.slow_noise,
            noise_strength=check.floor,
            gain=check.gain,
            offset=check.offset,
            correlation=check.confidence,
            remarks=check.remarks,
            rows={title: _row(row) for title, row in check.rows.items()},
        )
        for check in checks
    ]


def _row(row: Judged) -> dict[str, Any]:
    numbers = {key: value if np.isfinite(value) else None for key, value in row.numbers.items()}
    counts = {
        kind: [
            {key: count[key] for key in ('threshold', 'fabricated', 'missed', 'found', 'present')}
            | {
                f'{what}_particles': np.round(count[f'{what}_particles'], 3).tolist()
                for what in ('fabricated', 'missed')
            }
            for count in found
        ]
        for kind, found in row.counts.items()
    }
    return dict(**numbers, **counts)


def draw(check: FieldCheck, path: str | Path, place: int = 1) -> None:
    """Every row beside the slow scan; what it invented is circled in it, what it missed there too.

    Args:
        check: one field.
        path: PNG.
        place: of the strength, among those that were counted.
    """
    titles = list(check.rows)
    height, width = check.slow.shape
    panels = len(titles) + 1
    columns = 2 if panels == 4 else min(panels, 3)
    lines = -(-panels // columns)
    figure = new_figure(columns * _SIDE, lines * (_SIDE * height / width + 0.35) + 0.35)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[panels:]:
        axis.set_axis_off()
    for axis, title in zip(axes, titles):
        row = check.rows[title]
        _panel(axis, row.image, title, _said(row, place))
        if title != RECORDED:
            for kind in KINDS:
                count = row.counts[kind][place]
                circle(axis, count['fabricated_particles'], INVENTED, 1.0, LINES[kind])
                circle(axis, count['missed_particles'], MISSED, 1.0, LINES[kind])
    _panel(axes[len(titles)], check.slow, 'slow scan', '')
    least = check.rows[RECORDED].counts['bright'][place]['threshold']
    figure.supxlabel(
        f'red: invented, blue: missed (strength {least:g} and more); dashed: dark particles',
        fontsize=SMALL,
        color=INK,
    )
    save(figure, path)


def _said(row: Judged, place: int) -> str:
    invented, missed = (
        sum(row.counts[kind][place][key] for kind in KINDS) for key in ('fabricated', 'missed')
    )
    return f'{invented} invented, {missed} missed'


def _panel(axis: Axes, image: np.ndarray, title: str, note: str) -> None:
    axis.imshow(image, cmap='gray', vmin=0, vmax=1, interpolation='nearest')
    axis.set(xticks=[], yticks=[])
    panel_title(axis, title, note)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')


def _few(count: float) -> str:
    """A mean count: whole from ten on."""
    return f'{count:.0f}' if count >= 10 or count == int(count) else f'{count:.1f}'
