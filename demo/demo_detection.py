"""The main job at small scale: a detector that names unclear objects by their clear neighbours.

    make demo          (or: python demo/demo.py)

Makes the embedded data set, trains Lambda-FRCNN on it, tests it, prints AP by size and on degraded
and clear objects, and paints detections beside the ground truth. A run that was broken off goes on
where it stopped; a finished step is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo_steps import (
    DemoError,
    last_checkpoint,
    make_data,
    parser_of,
    resolve_folders,
    run_step,
    train_config,
    training_folder,
)
from mmclarity.synthetic.murky_pictures import paint_scenes

CONFIG = 'configs/lambda_frcnn_murky.py'
# Seconds of work, for the tests: it shows that every step runs, not that it detects.
QUICK_SCENES, QUICK_EPOCHS = dict(train=16, val=4), 1
NUMBERS = (
    ('mAP', 'AP (IoU 0.5:0.95)'),
    ('mAP_50', 'AP at IoU 0.5'),
    ('mAP_s', 'AP small  (area < 32 x 32 px)'),
    ('mAP_m', 'AP medium (up to 96 x 96 px)'),
    ('mAP_l', 'AP large'),
    ('mAP_clear', 'AP on clear objects'),
    ('mAP_degraded', 'AP on degraded objects'),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the repository."""
    parser = parser_of(__doc__, 'demo', 'murky')
    parser.add_argument(
        '--config',
        default=CONFIG,
        help=f'config to train (default {CONFIG}); frcnn_murky.py is the same '
        'detector without context',
    )
    parser.add_argument('--epochs', type=int, help='instead of the number in the config')
    parser.add_argument('--pictures', type=int, default=8, help='scenes to paint (default 8)')
    args = parser.parse_args(argv)
    if args.pictures < 1 or (args.epochs is not None and args.epochs < 1):
        parser.error('--pictures and --epochs must be at least 1')
    resolve_folders(args)
    if args.epochs is None and args.quick:
        args.epochs = QUICK_EPOCHS
    return args


def train(args: argparse.Namespace) -> Path:
    """Step 2: trains, or goes on; returns the checkpoint.

    Raises:
        DemoError: If the training fails or leaves no checkpoint.
    """
    folder = training_folder(
        args.work_dir,
        args.restart,
        config=str(args.config),
        data_root=str(args.data_root),
        epochs=args.epochs,
        quick=args.quick,
    )
    options = [f'data_root={args.data_root}/']
    if args.epochs is not None:
        options += [f'train_cfg.max_epochs={args.epochs}', f'train_cfg.val_interval={args.epochs}']
    train_config('2/4 Training (loss and ETA below)', args.config, folder, options)
    return last_checkpoint(folder)


def test(args: argparse.Namespace, checkpoint: Path) -> tuple[dict[str, float], Path]:
    """Step 3: tests; returns the numbers without their prefix, and the file of predictions.

    Raises:
        DemoError: If the test fails or reports nothing.
    """
    folder = args.work_dir / 'test'
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    predictions = folder / 'results.pkl'
    run_step(
        '3/4 Testing on scenes with handwriting the training did not see',
        [
            'tools/test.py',
            args.config,
            str(checkpoint),
            '--work-dir',
            str(folder),
            '--out',
            str(predictions),
            '--cfg-options',
            f'data_root={args.data_root}/',
        ],
        'Add --restart if the checkpoint is at fault',
    )
    # mmengine's logger writes the numbers of a test to TIMESTAMP/TIMESTAMP.json.
    logs = sorted(folder.glob('*/*.json'))
    numbers = json.loads(logs[-1].read_text(encoding='utf-8').splitlines()[-1]) if logs else {}
    numbers = {key.removeprefix('bdd/'): value for key, value in numbers.items()}
    if 'mAP' not in numbers or not predictions.is_file():
        raise DemoError(f'the test wrote no numbers or predictions to {folder}')
    return numbers, predictions


def report(
    args: argparse.Namespace, numbers: dict[str, float], checkpoint: Path, sheet: Path
) -> None:
    """Prints the numbers and where everything is."""
    print(f'\n== Result of {args.config} on {args.data_root / "images" / "100k" / "val"}')
    for key, title in NUMBERS:
        # NaN (no object of that size) is the one number that differs from itself.
        if key in numbers and numbers[key] == numbers[key]:
            print(f'   {title:<32} {numbers[key]:.3f}')
    if args.quick:
        print('   (--quick: far too little training to detect anything)')
    for title, path in (
        ('pictures, all', sheet),
        ('pictures, single', sheet.parent),
        ('predictions', args.work_dir / 'test' / 'results.pkl'),
        ('model', checkpoint),
        ('training log', args.work_dir / 'train'),
        ('data', args.data_root),
    ):
        inside = path.is_relative_to(Path.cwd())
        print(f'   {title:<18} {os.path.relpath(path) if inside else path}')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all steps; returns the exit status."""
    args = parse_args(argv)
    start = time.monotonic()
    try:
        make_data(
            '1/4 The data set: scenes in which most objects cannot be named alone',
            'make_murky.py',
            args,
            QUICK_SCENES,
        )
        checkpoint = train(args)
        numbers, predictions = test(args, checkpoint)
        print('\n== 4/4 Pictures', flush=True)
        sheet = paint_scenes(args.data_root, predictions, args.work_dir / 'pictures', args.pictures)
    except DemoError as error:
        print(f'\ndemo: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ndemo: stopped; run the same command again to go on', file=sys.stderr)
        return 130
    report(args, numbers, checkpoint, sheet)
    print(f'   {"time":<18} {(time.monotonic() - start) / 60:.1f} min')
    return 0


if __name__ == '__main__':
    sys.exit(main())
