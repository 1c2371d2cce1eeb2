"""Restoration at small scale: from simulated quick scans back to clean images, judged honestly.

    make demo-sem          (or: python demo/demo_sem.py)

Makes the phantom (spheres, every one known), trains a small U-net on artificially degraded clean
images, restores the noisy validation images as files, and prints and paints what was won, invented
and lost. A run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from demo_steps import REPO, DemoError, last_checkpoint, run_step, training_folder

CONFIG = 'configs/ssim_unet_phantom.py'
QUICK = dict(train=3, val=2, size=128, iters=10)
REMEDY = 'Run the same command again to go on from the last checkpoint, or add --restart'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the repository."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=CONFIG, help=f'config to train (default {CONFIG})')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo_sem'))
    parser.add_argument(
        '--data-root',
        type=Path,
        help='folder of the phantom (default '
        'data/sem_phantom; with --quick data/sem_phantom_quick)',
    )
    parser.add_argument('--iters', type=int, help='instead of the number in the config')
    parser.add_argument('--quick', action='store_true', help='seconds: shows that everything runs')
    parser.add_argument('--restart', action='store_true', help='train anew')
    args = parser.parse_args(argv)
    if args.iters is None and args.quick:
        args.iters = QUICK['iters']
    if args.iters is not None and args.iters < 1:
        parser.error('--iters must be at least 1')
    if args.data_root is None:
        args.data_root = Path('data/sem_phantom_quick' if args.quick else 'data/sem_phantom')
    args.work_dir = (REPO / args.work_dir.expanduser()).resolve()
    args.data_root = (REPO / args.data_root.expanduser()).resolve()
    return args


def train(args: argparse.Namespace) -> Path:
    """Trains, or goes on; returns the checkpoint."""
    folder = training_folder(
        args.work_dir,
        args.restart,
        config=str(args.config),
        data_root=str(args.data_root),
        iters=args.iters,
    )
    options = [f'data_root={args.data_root}/']
    if args.iters is not None:
        options += [f'train_cfg.max_iters={args.iters}', f'train_cfg.val_interval={args.iters}']
    run_step(
        '2/4 Training (loss and ETA below)',
        [
            'tools/train.py',
            args.config,
            '--work-dir',
            str(folder),
            '--resume',
            '--cfg-options',
            *options,
        ],
        REMEDY,
    )
    return last_checkpoint(folder)


def judge(args: argparse.Namespace, restored: Path) -> None:
    """Table and pictures: noisy, smoothed and restored images against the truth."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    from mmclarity.restoration import list_images, read_sem
    from mmclarity.restoration.evaluation.report import RestorationReport

    val = args.data_root / 'val'
    names = [path.name for path in list_images(val / 'low')]
    pairs = [tuple(read_sem(val / kind / name).unit for kind in ('low', 'high')) for name in names]
    report = RestorationReport(pairs)
    results = iter([read_sem(restored / name).unit for name in names])
    report.add('noisy image', lambda image: image)
    report.add('Gaussian, sigma 1.5', lambda image: gaussian_filter(image, 1.5))
    report.add('restored', lambda image: next(results))
    print('\n' + report.markdown() + '\n')
    print(
        'fabricated: particles that are not there; missed: particles that are lost (per image, '
        'mean over\nfour thresholds). blur: width of edges beyond the reference.'
    )
    with open(val / 'particles' / f'{Path(names[0]).stem}.csv', encoding='utf-8') as file:
        radii = np.array([float(row['radius']) for row in csv.DictReader(file)])
    print(
        f'The first image holds {len(radii)} spheres, of {2 * radii.min():.0f} to '
        f'{2 * radii.max():.0f} pixels.'
    )
    side = min(256, *pairs[0][0].shape)
    report.figure(args.work_dir / 'pictures.png', window=(slice(0, side), slice(0, side)))
    print(f'pictures: {args.work_dir / "pictures.png"}; restored files: {restored}')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit status."""
    args = parse_args(argv)
    make = ['tools/dataset_generators/make_sem_phantom.py', str(args.data_root)]
    if args.quick:
        make += [f'--{key}={QUICK[key]}' for key in ('train', 'val', 'size')]
    restored = args.work_dir / 'restored'
    try:
        run_step(
            '1/4 The phantom: spheres on a dark substrate',
            make,
            'To use another folder: --data-root DIR',
        )
        checkpoint = train(args)
        run_step(
            '3/4 Restoring the noisy validation images as files',
            [
                'tools/restore.py',
                str(args.data_root / 'val/low'),
                str(restored),
                '--config',
                args.config,
                '--checkpoint',
                str(checkpoint),
                '--overwrite',
            ],
            REMEDY,
        )
        print('\n== 4/4 What was won, invented and lost', flush=True)
        judge(args, restored)
    except DemoError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
