"""Curves of any of our runs, overlaid: loss, AP, PSNR, RSA, whatever a run has logged.

    python tools/analysis_tools/curves.py work_dirs/frcnn_murky work_dirs/lambda_frcnn_murky

A run is a work directory (all its logs, a resumed one goes on where it was), or one scalars.json.
Without --keys every family that the runs have gets a panel: loss, mean AP, PSNR, SSIM, RSA.
"""

import argparse
import fnmatch
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmclarity.cli.main import finish
from mmclarity.errors import UsageError
from mmclarity.utils import figures

FAMILIES = ('loss', 'bdd/mAP', 'coco/bbox_mAP', '*psnr', '*ssim', 'rsa/*')
MOST_PANELS = 9
#: Not results: what every log line has beside them.
PASSIVE = {'lr', 'base_lr', 'data_time', 'time', 'epoch', 'iter', 'step', 'memory'}
Points = dict[str, tuple[np.ndarray, np.ndarray]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='curves.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('runs', nargs='+', metavar='RUN', help='work directory or scalars.json')
    add('--names', nargs='+', help='of the runs (default: of their folders)')
    add('--keys', nargs='+', metavar='KEY', help="what to draw; patterns too: 'bdd/*'")
    add('--out', default='curves.png', help='PNG, PDF or SVG (default %(default)s)')
    add('--smooth', type=int, default=1, metavar='N', help='mean over N points of training')
    add('--list', action='store_true', help='only list what the runs have logged')
    args = parser.parse_args(argv)
    if args.names is None:
        args.names = [Path(run).parent.name if Path(run).suffix else Path(run).name
                      for run in map(str.strip, args.runs)]  # fmt: skip
    if len(args.names) != len(args.runs) or len(set(args.names)) != len(args.names):
        parser.error(f'--names: give {len(args.runs)} different names, one a run')
    if args.smooth < 1:
        parser.error('--smooth must be 1 or more')
    return args


def read_run(place: str | Path) -> Points:
    """What a run has logged: by key the iterations (or epochs) and the values.

    Points of validation are logged by epoch; where the run tells how many iterations an epoch has,
    they are put at the iteration; where it counts iterations only (mmengine may write each time
    that this is epoch 0), at the last one before them. A later log replaces the earlier ones from
    its first iteration on: a resumed run goes on from there, and one begun anew in the same folder
    begins anew.

    Raises:
        UsageError: If there is no log.
    """
    place = Path(place).expanduser()
    files = [place] if place.is_file() else sorted(place.glob('*/vis_data/scalars.json'))
    if not files:
        raise UsageError(f'{place}: no log in it (TIMESTAMP/vis_data/scalars.json)')
    ends: dict[int, int] = {}
    values: dict[str, dict[float, float]] = {}
    for file in files:
        _add(_entries(file), ends, values)
    if not values:
        raise UsageError(f'{place}: nothing is logged there; a log has one JSON object a line')
    found = {}
    for key, points in values.items():
        if not points:
            continue
        steps = sorted(points)
        found[key] = np.array(steps, float), np.array([points[step] for step in steps], float)
    return found


def _add(
    entries: Sequence[dict], ends: dict[int, int], values: dict[str, dict[float, float]]
) -> None:
    """Adds one log to what earlier ones hold: last iterations of epochs, and points by key."""
    own: dict[int, int] = {}
    for entry in entries:
        if 'epoch' in entry and 'iter' in entry:
            own[entry['epoch']] = max(own.get(entry['epoch'], 0), entry['iter'])
    first = min((entry['iter'] for entry in entries if 'iter' in entry), default=float('inf'))
    for points in values.values():
        for at in [at for at in points if at >= first]:
            del points[at]
    ends.update(own)
    at = last = 0
    for entry in entries:
        step = entry.get('step', 0)
        if 'iter' in entry:
            at = last = entry['iter']
        else:
            at = ends.get(step, step) if ends else max(step, last)
        for key, value in entry.items():
            if key not in PASSIVE and isinstance(value, int | float):
                values.setdefault(key, {})[at] = value


def _entries(file: Path) -> list[dict]:
    entries = []
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f'{file}: no log: it is not text') from error
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if number > 1:  # of a run that was killed while it wrote
                continue
            raise UsageError(f'{file}: line {number} is no JSON: {error.msg}') from error
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def chosen_keys(runs: Sequence[Points], patterns: Sequence[str] | None) -> list[str]:
    """Keys to draw, in the order of the patterns; capitals and small letters are the same.

    Raises:
        UsageError: If no run has any, or none fits a pattern that was asked for.
    """
    there = sorted({key for run in runs for key in run})
    keys: list[str] = []
    for pattern in patterns or FAMILIES:
        fitting = [key for key in there if fnmatch.fnmatchcase(key.lower(), pattern.lower())]
        if patterns and not fitting:
            raise UsageError(f'--keys {pattern}: no run has it; there are {", ".join(there)}')
        keys += [key for key in fitting if key not in keys]
    if not keys:
        raise UsageError(f'nothing to draw by default; --keys: {", ".join(there) or "none logged"}')
    return keys[:MOST_PANELS] if patterns is None else keys


def smoothed(values: np.ndarray, count: int) -> np.ndarray:
    """Mean over the last ``count`` points; fewer at the start. What is not finite stays so, alone.

    Examples:
        >>> smoothed(np.array([1.0, 3.0, 5.0]), 2).tolist()
        [1.0, 2.0, 4.0]
    """
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.where(finite, values, 0).cumsum()])
    numbers = np.concatenate([[0], finite.cumsum()])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - count, 0)
    means = (sums[ends] - sums[starts]) / np.maximum(numbers[ends] - numbers[starts], 1)
    return np.where(finite, means, values)


def draw(runs: dict[str, Points], keys: Sequence[str], smooth: int):
    """One panel a key, one line a run."""
    rows, columns = figures.panel_grid(len(keys), 3)
    figure = figures.new_figure(4.2 * columns, 2.7 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, key in zip(panels, keys):
        for place, (name, points) in enumerate(runs.items()):
            colour = figures.COLOURS[place % len(figures.COLOURS)]
            if key not in points:
                axes.plot([], [], color=colour, label=name)
                continue
            steps, values = points[key]
            training = len(values) > 30
            if training and smooth > 1:
                values = smoothed(values, smooth)
            marker = '' if training else figures.MARKERS[place % len(figures.MARKERS)]
            axes.plot(steps, values, color=colour, label=name, marker=marker, ms=4, lw=1.5)
        figures.clean(axes)
        figures.panel_title(axes, key)
        axes.set_xlabel('iteration', fontsize=figures.SMALL, color=figures.GREY)
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    figures.legend(figure, panels[0])
    return figure


def run(args: argparse.Namespace) -> None:
    """Reads, draws and writes."""
    runs = dict(zip(args.names, map(read_run, args.runs)))
    if args.list:
        for name, points in runs.items():
            for key, (steps, values) in sorted(points.items()):
                print(f'{name}  {key}  {len(steps)} points, last {values[-1]:.4g}')
        return
    keys = chosen_keys(list(runs.values()), args.keys)
    try:
        figures.save(draw(runs, keys, args.smooth), args.out)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(f'written: {args.out}: {", ".join(keys)}')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(run, parse_args(argv), 'curves.py')


if __name__ == '__main__':
    sys.exit(main())
