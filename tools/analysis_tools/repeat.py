"""Train configs with several seeds and tabulate the mean and standard deviation of their metrics.

    python tools/analysis_tools/repeat.py configs/*_murky.py --seeds 5 --jobs 2 \\
        --cfg-options data_root=data/murky/

Each training has its own folder WORK_DIR/CONFIG/seed_N. Broken-off trainings go on where they
stopped, finished ones (which hold a file "finished") are not repeated; with --report nothing is
trained, and those that are not finished are named.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmclarity.cli.main import DONE, MISTAKE, finish
from mmclarity.engine.config import content_hash, find_config
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import find_latest
from mmclarity.utils.cpus import available_cpus
from mmclarity.utils.json_files import read_json, write_json

REPO = Path(__file__).resolve().parents[2]

# Stands in the folder of a training that came to its end.
FINISHED = 'finished'
# What it was begun with: a series of several settings would be one row.
SETTINGS = 'settings.json'
# What lines of a log have beside metrics; those with a rate are of training steps.
CLOCKS = ('data_time', 'time', 'memory', 'step', 'epoch', 'iter')
PREFIXES = ('bdd/', 'coco/bbox_')
AP = 'mAP'
METRICS = ('mAP', 'mAP_50', 'mAP_s', 'mAP_m', 'mAP_l', 'mAP_degraded', 'mAP_clear')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'configs', nargs='+', type=Path, help='also looked for in the repository, as by train.py'
    )
    parser.add_argument('--seeds', type=int, default=3, help='seeds 0 .. N-1 (default 3)')
    parser.add_argument(
        '--jobs', type=int, default=1, help='trainings at a time, with the cores divided among them'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/repeat'))
    parser.add_argument(
        '--prefix',
        help="before the metrics in the log (default bdd/, or CocoMetric's coco/bbox_, or none)",
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        help='metrics to tabulate; those a config does not report are left out (default: AP, '
        'or of what has none all that its validations tell)',
    )
    parser.add_argument('--report', action='store_true', help='tabulate what is there')
    parser.add_argument('--json', type=Path, help='write the metrics of every training here')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='handed to tools/train.py')
    args = parser.parse_args(argv)
    try:
        args.configs = [find_config(str(config)) for config in args.configs]
    except UsageError as error:
        parser.error(str(error))
    stems = [config.stem for config in args.configs]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:  # they would share folders and a row, and one would stand for both
        parser.error(f'several configs are called {", ".join(twice)}: give them different names')
    if min(args.seeds, args.jobs) < 1:
        parser.error('--seeds and --jobs must be at least 1')
    return args


def last_metrics(folder: Path, prefix: str | None = None) -> dict[str, float] | None:
    """The last validation a training wrote, or None if it has not got there.

    Args:
        folder: Of the training.
        prefix: Of its metrics; None takes the first of :data:`PREFIXES` that there is, and where
            there is no AP all metrics by their whole names.
    """
    if prefix is None:
        found = (last_metrics(folder, one) for one in (*PREFIXES, ''))
        return next((metrics for metrics in found if metrics), None)
    result: dict[str, float] = {}
    validated = False
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in log.read_text(encoding='utf-8').splitlines():
            try:
                scalars = json.loads(line)
            except ValueError:  # the last line of a training that was killed, cut off
                continue
            if {'lr', 'base_lr', 'loss'} & set(scalars):
                continue
            told = {
                k.removeprefix(prefix): v
                for k, v in scalars.items()
                if k.startswith(prefix) and k not in CLOCKS
            }
            # Hooks write lines of their own between validations: each name's last value counts.
            result = {**result, **told} if prefix == '' else told or result
            validated |= prefix != '' or 'time' in scalars
    return result if result and validated else None


def folder_of(config: Path, seed: int, args: argparse.Namespace) -> Path:
    """Where one training works."""
    return args.work_dir / config.stem / f'seed_{seed}'


def check_settings(config: Path, seed: int, args: argparse.Namespace) -> None:
    """Refuses to count, or to train on, what was begun with another config or other options.

    Raises:
        UsageError: Naming the folder and the remedy.
    """
    folder = folder_of(config, seed, args)
    wanted = {
        'config': content_hash(str(config)),
        'cfg_options': list(args.cfg_options),
    }
    file = folder / SETTINGS
    if file.is_file():
        changed = [key for key, value in wanted.items() if read_json(file).get(key) != value]
        if changed:
            raise UsageError(
                f'{folder} was begun with another {" and other ".join(changed)}: give another '
                f'--work-dir, delete it, or delete {file} to count it all the same'
            )
    elif not folder.exists():
        folder.mkdir(parents=True)
        write_json(file, wanted)


def train(config: Path, seed: int, args: argparse.Namespace) -> None:
    """Run one training to its end; its output goes to train.log in its folder."""
    folder = folder_of(config, seed, args)
    if (folder / FINISHED).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        str(REPO / 'tools' / 'train.py'),
        str(config),
        '--work-dir',
        str(folder),
        '--seed',
        str(seed),
        '--resume',
        'auto',
    ]
    if args.cfg_options:
        command += ['--cfg-options', *args.cfg_options]
    threads = str(max(1, available_cpus() // args.jobs))
    print(f'{config.stem} seed {seed}: started', flush=True)
    with open(folder / 'train.log', 'a', encoding='utf-8') as log:
        code = subprocess.run(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, OMP_NUM_THREADS=threads),
        ).returncode
    outcome = 'done' if code == 0 else f'FAILED with status {code}: see {folder / "train.log"}'
    if code == 0 and last_metrics(folder, args.prefix):
        (folder / FINISHED).touch()
    elif code == 0:  # killed between its last checkpoint and the validation, or it has none
        wanted = args.prefix or PREFIXES[0] + AP
        outcome = (
            f'ended without {wanted} or another result of a validation. If it was killed in its '
            f'last one, delete {find_latest(folder)}: the training goes on from the checkpoint '
            'before, or anew'
        )
    print(f'{config.stem} seed {seed}: {outcome}', flush=True)


def _known(run: dict, metric: str) -> bool:
    value = run.get(metric, math.nan)
    return not math.isnan(value) and not (value == -1 and metric.startswith(AP))


def _cell(values: list[float], metric: str) -> str:
    if not values:
        return ''
    mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
    if metric.startswith(AP):
        return f'{100 * mean:.1f}' + ('' if spread is None else f' ± {100 * spread:.1f}')
    return f'{mean:.4g}' + ('' if spread is None else f' ± {spread:.2g}')


def table(results: dict[str, list[dict]], metrics: list[str] | None = None) -> str:
    """Markdown, one row a config: mean and standard deviation over seeds; AP times 100.

    Args:
        results: By config, the metrics of each seed.
        metrics: Columns; None takes :data:`METRICS`, or all that there is if none of these is.
    """
    names = [name for runs in results.values() for run in runs for name in run]
    if metrics is None:
        metrics = [name for name in METRICS if name in names] or list(dict.fromkeys(names))
    # NaN, or -1 by COCO's metric: there is nothing to find (no large object, say).
    present = [m for m in metrics if any(_known(r, m) for rs in results.values() for r in rs)]
    lines = ['| model | seeds | ' + ' | '.join(present) + ' |', '|---' * (len(present) + 2) + '|']
    for name, runs in results.items():
        cells = [_cell([run[m] for run in runs if _known(run, m)], m) for m in present]
        lines.append(f'| {name} | {len(runs)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def repeat(args: argparse.Namespace) -> int:
    """Trains what is not trained yet, and prints the table; returns the exit status."""
    if not args.report:
        # Seed by seed, so that a broken-off series has every config equally often.
        tasks = [(config, seed) for seed in range(args.seeds) for config in args.configs]
        for task in tasks:
            check_settings(*task, args)
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda task: train(*task, args), tasks))
    results, missing, unfinished = {}, False, []
    for config in args.configs:
        folders = [folder_of(config, seed, args) for seed in range(args.seeds)]
        found = {folder: last_metrics(folder, args.prefix) for folder in folders}
        results[config.stem] = [metrics for metrics in found.values() if metrics]
        missing |= not all(found.values())
        unfinished += [
            str(folder) for folder in folders if found[folder] and not (folder / FINISHED).exists()
        ]
    if args.json:
        plain = {
            name: [{k: None if v != v else v for k, v in run.items()} for run in runs]
            for name, runs in results.items()
        }
        write_json(args.json, plain)
    print(table(results, args.metrics))
    if missing:
        print(f'some of the {args.seeds} seeds have no result yet', file=sys.stderr)
    if unfinished:
        print(
            'not finished, their last validation is tabulated (start again without --report to '
            f'train on): {", ".join(unfinished)}',
            file=sys.stderr,
        )
    return MISTAKE if missing or unfinished else DONE


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(repeat, parse_args(argv), 'repeat.py')


if __name__ == '__main__':
    sys.exit(main())
