"""How does AP fall in fog, snow, rain, darkness, motion blur, noise and JPEG?

    python tools/analysis_tools/robustness.py PLAIN.py PLAIN.pth HEAD.py HEAD.pth \\
        --names plain head --out robustness

Every checkpoint is tested on its config's test images as they are and corrupted at five severities
(by imagecorruptions and albumentations; the same for all checkpoints). Writes OUT.png (AP against
severity), OUT.md, OUT.csv and OUT.json; the last after every test, so that a run that was broken
off goes on from there.
"""

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmclarity.cli.main import finish
from mmclarity.cli.options import ConfigOptions
from mmclarity.cli.test import build_tester, check_test
from mmclarity.detection.datasets.corruptions import CORRUPTIONS, SEVERITIES
from mmclarity.detection.shipped.weights import FILE
from mmclarity.engine.config import content_hash, datasets, load_config
from mmclarity.errors import UsageError
from mmclarity.utils.checkpoints import SHIPPED
from mmclarity.utils.figures import (
    COLOURS,
    MARKERS,
    clean,
    legend,
    new_figure,
    panel_title,
    save,
)
from mmclarity.utils.files import write_text
from mmclarity.utils.json_files import read_json, write_json
from mmclarity.utils.tables import markdown_table, write_csv
from mmclarity.utils.zoo import digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLEAN = 'clean'
NOTHING = float('nan')  # there is nothing to find
Results = dict[str, dict[str, float]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        'detectors',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='pairs of these; the word shipped stands for the weights of the package',
    )
    add('--names', nargs='+', metavar='NAME', help='of the detectors (default: of the configs)')
    add('--corruptions', nargs='+', default=list(CORRUPTIONS), choices=CORRUPTIONS, metavar='NAME')
    add('--severities', nargs='+', type=int, default=list(SEVERITIES), choices=SEVERITIES)
    add('--limit', type=int, help='only the first images')
    add('--metric', default='mAP', help='what the metric calls it, after the last slash (mAP)')
    add('--out', default='robustness', metavar='NAME', help='of the files (%(default)s)')
    add('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='as of test.py')
    args = parser.parse_args(argv)
    if len(args.detectors) % 2:
        parser.error('give a config and a checkpoint for each detector')
    args.pairs = list(zip(args.detectors[::2], args.detectors[1::2]))
    args.names = args.names or _names([config for config, _ in args.pairs])
    if len(set(args.names)) != len(args.pairs):
        parser.error(f'--names: give {len(args.pairs)} different names')
    if args.limit is not None and args.limit < 1:
        parser.error('--limit must be positive')
    return args


def _names(configs: Sequence[str]) -> list[str]:
    names = [Path(config).stem for config in configs]
    twice = len(set(names)) < len(names)
    return [f'{name} {place + 1}' if twice else name for place, name in enumerate(names)]


def conditions(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Clean images first, then every corruption by severity."""
    return [(CLEAN, 0)] + [(c, s) for c in args.corruptions for s in sorted(set(args.severities))]


def build_runner(config: str, checkpoint: str, options: dict | None, folder: str) -> Runner:
    """A runner that tests this checkpoint.

    Raises:
        UsageError: As of test.py: if the config tests nothing, or the checkpoint is of another
            model, for instance.
    """
    cfg = load_config(config, options)
    cfg.work_dir, cfg.launcher = folder, 'none'
    check_test(cfg, config)
    # Nothing is drawn; mmengine keeps a visualizer, and it would write where the first run was.
    cfg.visualizer = None
    return build_tester(cfg, checkpoint)


def corrupted(cfg: Config, corruption: str, severity: int, limit: int | None) -> dict[str, Any]:
    """The config's test data, corrupted as soon as an image is loaded.

    Raises:
        UsageError: If the pipeline does not load images.
    """
    cfg = copy.deepcopy(cfg)
    for dataset in datasets(cfg, 'test_dataloader'):
        if limit is not None:
            dataset['indices'] = limit
        loads = [
            place
            for place, step in enumerate(dataset['pipeline'])
            if str(step.get('type')).endswith('LoadImageFromFile')
        ]
        if not loads:
            raise UsageError('the test pipeline has no LoadImageFromFile to corrupt images after')
        if corruption != CLEAN:
            step = dict(type='CorruptedImage', corruption=corruption, severity=severity)
            dataset['pipeline'].insert(loads[0] + 1, step)
    return cfg.test_dataloader


def evaluate(runner: Runner, data: dict[str, Any], metric: str) -> float:
    """The metric's value on these data, in [0, 1].

    Raises:
        UsageError: If there is no such value.
    """
    runner._test_dataloader = data
    runner._test_evaluator = copy.deepcopy(runner.cfg.test_evaluator)
    runner._test_loop = copy.deepcopy(runner.cfg.test_cfg)
    values = runner.test()
    # CocoMetric measures boxes and masks, and names its numbers by that
    wanted = metric, f'bbox_{metric}'
    found = [values[key] for name in wanted for key in values if key.split('/')[-1] == name]
    if not found:
        raise UsageError(f'--metric {metric}: the test gives {list(values)[:12]}')
    return float(found[0]) if found[0] >= 0 else NOTHING  # COCO writes -1


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What results depend on beside the condition.

    Raises:
        UsageError: If there is no such checkpoint.
    """
    hashes = {}
    for name, (config, checkpoint) in zip(args.names, args.pairs):
        file = Path(checkpoint) if checkpoint != SHIPPED else FILE
        if not file.is_file():
            raise UsageError(
                f'{checkpoint}: no such checkpoint; give the path of a *.pth file, or the word '
                'shipped'
            )
        hashes[name] = [
            Path(config).name,
            digest(file)[:16],
            content_hash(config, args.cfg_options),
        ]
    options = {str(key): str(value) for key, value in (args.cfg_options or {}).items()}
    return {
        'detectors': hashes,
        'limit': args.limit,
        'metric': args.metric,
        'cfg_options': options,
    }


def run(args: argparse.Namespace) -> Results:
    """Tests what is not in OUT.json yet.

    Returns:
        By detector and ``'fog 3'``.

    Raises:
        UsageError: If OUT.json is of other settings, or for whatever else the caller can mend.
    """
    out, wanted = Path(f'{args.out}.json'), settings(args)
    results: Results = {name: {} for name in args.names}
    if out.exists():
        old = read_json(out)
        if not isinstance(old, dict) or old.get('settings') != wanted:
            raise UsageError(
                f'{out} holds results of other detectors or settings; delete it, or give '
                'another --out'
            )
        results = {
            name: {key: NOTHING if value is None else value for key, value in values.items()}
            for name, values in old['results'].items()
        }
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, checkpoint) in zip(args.names, args.pairs):
            runner = None
            for corruption, severity in conditions(args):
                key = f'{corruption} {severity}'
                if key in results[name]:
                    continue
                runner = runner or build_runner(config, checkpoint, args.cfg_options, folder)
                data = corrupted(runner.cfg, corruption, severity, args.limit)
                results[name][key] = evaluate(runner, data, args.metric)
                write_json(out, {'settings': wanted, 'results': _plain(results)})
    return results


def _plain(results: Results) -> dict[str, dict[str, float | None]]:
    """For JSON, which has no NaN."""
    return {
        name: {key: None if math.isnan(value) else value for key, value in values.items()}
        for name, values in results.items()
    }


def table(results: Results, args: argparse.Namespace) -> list[list[str]]:
    """Per cent by corruption: at each severity, their mean, and what is left of the clean value."""
    severities = sorted(set(args.severities))
    rows = [['', 'corruption', *(f'{s}' for s in severities), 'mean', 'of clean']]
    for name, values in results.items():
        whole = values[f'{CLEAN} 0']
        rows.append([name, CLEAN, *[''] * len(severities), _cell(whole), '100 %'])
        for corruption in args.corruptions:
            numbers = [values[f'{corruption} {s}'] for s in severities]
            mean = sum(numbers) / len(numbers)
            left = f'{100 * mean / whole:.0f} %' if whole > 0 and mean >= 0 else '-'
            rows.append([name, corruption, *map(_cell, numbers), _cell(mean), left])
    return rows


def _cell(value: float) -> str:
    return '-' if math.isnan(value) else f'{100 * value:.1f}'


def figure(results: Results, args: argparse.Namespace) -> 'Figure':
    """One panel for each corruption; one line for each detector, from clean images on."""
    count = len(args.corruptions)
    columns = min(4, count)
    rows = -(-count // columns)
    drawing = new_figure(2.3 * columns + 0.6, 2.1 * rows + 0.6)
    panels = drawing.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    severities = [0, *sorted(set(args.severities))]
    for axes, corruption in zip(panels, args.corruptions):
        for place, (name, values) in enumerate(results.items()):
            keys = [f'{CLEAN} 0', *(f'{corruption} {s}' for s in severities[1:])]
            axes.plot(
                severities,
                [100 * values[key] for key in keys],
                color=COLOURS[place % len(COLOURS)],
                marker=MARKERS[place % len(MARKERS)],
                markersize=4,
                linewidth=1.5,
                label=name,
            )
        panel_title(axes, corruption)
        clean(axes)
        axes.set_xticks(severities, ['clean', *map(str, severities[1:])])
        axes.set_xlabel('severity', fontsize=8)
        axes.label_outer()
    for axes in panels[count:]:
        axes.set_visible(False)
    panels[0].set_ylim(bottom=0)  # of all; set earlier, higher values of later panels are cut off
    for axes in panels[::columns]:
        axes.set_ylabel(f'{args.metric} (per cent)', fontsize=8)
    legend(drawing, panels[0])
    return drawing


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    return finish(_main, parse_args(argv), 'robustness.py')


def _main(args: argparse.Namespace) -> None:
    results = run(args)
    header, *rows = table(results, args)
    text = markdown_table(header, rows, 'll' + 'r' * (len(header) - 2))
    write_text(f'{args.out}.md', text + '\n')
    lines = [
        (name, *key.rsplit(' ', 1), value)
        for name, values in results.items()
        for key, value in values.items()
    ]
    write_csv(f'{args.out}.csv', ('detector', 'corruption', 'severity', args.metric), lines)
    save(figure(results, args), f'{args.out}.png')
    print(text)
    print(f'written: {args.out}.png, .md, .csv, .json')


if __name__ == '__main__':
    sys.exit(main())
