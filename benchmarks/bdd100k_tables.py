"""The tables of docs/benchmarks/bdd100k.md, from result files of its detectors.

    python benchmarks/bdd100k_tables.py measure RUNS --results RESULTS.json    (minutes)
    python benchmarks/bdd100k_tables.py write --results RESULTS.json --pages docs/benchmarks

``measure`` reads what ``tools/test.py`` and ``tools/train.py`` wrote with ``outfile_prefix``; the
page has the commands:

    RUNS/validation/DETECTOR.bbox.json and plain.gt.json: what ships, on the 1,000 validation frames
    RUNS/heads/DETECTOR_s{0,1,2}/val.bbox.json and plain_s0/val.gt.json: heads on one trunk, on the
        frames held out

``write`` makes the tables anew from the file that the documentation keeps, between their marks.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bdd100k_report as reports

from mmclarity.detection.evaluation.ceilings import (
    count_near_sure,
    evaluate_ceilings_of,
    share_found,
)
from mmclarity.detection.evaluation.comparison import Comparison, Estimate, compare
from mmclarity.detection.evaluation.comparison_report import is_thin
from mmclarity.detection.evaluation.label_files import read_labels, read_results
from mmclarity.detection.evaluation.labelled import Labelled
from mmclarity.errors import UsageError
from mmclarity.utils.json_files import write_json

AREA_SCALE = 4.0  # frames of 640x360, sizes as in 1280x720
SIX = ('pedestrian', 'car', 'truck', 'bus', 'traffic light', 'traffic sign')
SEEDS = (0, 1, 2)
SHIPPED = ('plain', 'plain_soft', 'two_looks', 'context')
PUBLISHED = ('plain', 'lambda', 'sa32', 'sa032', 'sta32', 'sta032')


@dataclass(frozen=True)
class Part:
    """Detectors that are compared, each with those before it.

    Attributes:
        folder: Of the result files, in RUNS.
        detectors: Names as in the names of the files.
        firsts: Those that others are compared with.
        classes: Evaluated; all with objects if None.
        by: Attributes of the frames by which to split.
    """

    folder: str
    detectors: tuple[str, ...]
    firsts: tuple[str, ...] = ('plain',)
    classes: tuple[str, ...] | None = None
    by: tuple[str, ...] = ()


WEATHER = ('weather', 'timeofday', 'weather+timeofday')
PARTS = {
    'validation': Part('validation', SHIPPED, SHIPPED[:-1], by=('weather', 'timeofday', 'scene')),
    'six classes': Part('validation', SHIPPED[:3], SHIPPED[:2], SIX, WEATHER),
    'cars': Part('validation', SHIPPED[:3], SHIPPED[:2], ('car',), WEATHER),
    'heads': Part('heads', SHIPPED, SHIPPED[:-1]),
    'published heads': Part('heads', PUBLISHED),
}


def measure(runs: Path, draws: int) -> dict[str, Any]:
    """All numbers of the tables, in [0, 1].

    Raises:
        OSError: a result file is missing.
        UsageError: a result file is of other images or classes.
    """
    found = {name: _measure_part(runs, part, draws) for name, part in PARTS.items()}
    return found | {'ceilings': _ceilings(runs)}


def _files(runs: Path, folder: str, detector: str) -> list[Path]:
    if folder == 'validation':
        return [runs / folder / f'{detector}.bbox.json']
    return [runs / folder / f'{detector}_s{seed}' / 'val.bbox.json' for seed in SEEDS]


def _labels(runs: Path, folder: str) -> Labelled:
    name = 'plain' if folder == 'validation' else 'plain_s0/val'
    return read_labels(runs / folder / f'{name}.gt.json')


def _measure_part(runs: Path, part: Part, draws: int) -> dict[str, Any]:
    labelled = _labels(runs, part.folder)
    results = {
        name: [read_results(file, labelled) for file in _files(runs, part.folder, name)]
        for name in part.detectors
    }
    found: dict[str, Any] = dict(draws=draws, parts={}, values={}, seeds={}, differences={})
    found['over_seeds'] = {}
    for first in part.firsts:
        start = part.detectors.index(first)
        compared = compare(
            labelled,
            {name: results[name] for name in part.detectors[start:]},
            labelled.chosen(part.classes),
            labelled.groups(part.by),
            draws,
            area_scale=AREA_SCALE,
        )
        _take(found, compared)
    return found


def _take(found: dict[str, Any], compared: Comparison) -> None:
    """All six numbers of all frames and AP of the rest, in their place."""
    first = compared.names[0]
    for row in compared.rows:
        if row.part != 'all' and row.number != 'mAP':
            continue
        found['parts'][row.part] = [row.images, row.objects, is_thin(row)]
        for place, name in enumerate(compared.names):
            values = found['values'].setdefault(name, {}).setdefault(row.part, {})
            values[row.number] = _rounded(row.values[place].value)
            if (row.part, row.number) == ('all', 'mAP'):
                found['seeds'][name] = [_rounded(value) for value in row.seed_values[place]]
        for place, name in enumerate(compared.names[1:]):
            pair = f'{name} - {first}'
            changes = found['differences'].setdefault(pair, {}).setdefault(row.part, {})
            changes[row.number] = _limits(row.differences[place])
            if compared.seeds > 1:
                wide = found['over_seeds'].setdefault(pair, {}).setdefault(row.part, {})
                wide[row.number] = _limits(row.over_seeds[place])


def _ceilings(runs: Path) -> dict[str, Any]:
    """What each kind of mistake of the plain detector that ships (seed 0) costs."""
    labelled = _labels(runs, 'heads')
    detections = read_results(_files(runs, 'heads', 'plain')[0], labelled)
    classes, images = labelled.chosen(None), len(labelled.names)
    summaries = evaluate_ceilings_of(
        labelled.gts, detections, images, list(classes), area_scale=AREA_SCALE
    )['all']
    rows = {}
    for name, summary in summaries.items():
        values = [*summary.numbers().values(), *(summary.average(category_id=k) for k in classes)]
        rows[name] = [_rounded(value) for value in values]
    return dict(
        classes=list(classes.values()),
        rows=rows,
        found=_rounded(share_found(labelled.gts, detections, images)),
        wrong_names={
            f'{least:g}': list(count_near_sure(labelled.gts, detections, images, least))
            for least in (0.05, 0.3)
        },
    )


def _limits(estimate: Estimate) -> list[float | None]:
    return [_rounded(value) for value in (estimate.value, estimate.low, estimate.high)]


def _rounded(value: float) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest='step', required=True)
    measuring = steps.add_parser('measure', help='compare the result files')
    measuring.add_argument('runs', type=Path, metavar='RUNS')
    measuring.add_argument('--draws', type=int, default=10_000)
    writing = steps.add_parser('write', help='the tables of the pages')
    writing.add_argument('--pages', type=Path, required=True, help='folder of bdd100k.md')
    for step in (measuring, writing):
        step.add_argument('--results', type=Path, required=True, help='JSON')
    args = parser.parse_args(argv)
    try:
        if args.step == 'measure':
            write_json(args.results, measure(args.runs, args.draws))
        else:
            reports.write(json.loads(args.results.read_text(encoding='utf-8')), args.pages)
    except (OSError, UsageError) as error:
        raise SystemExit(f'bdd100k_tables.py: {error}') from error


if __name__ == '__main__':
    main()
