"""Restoration at small scale: from simulated quick scans back to clean images, judged honestly.

    make demo-sem          (or: python demo/demo_sem.py)
    make demo-sem DEMO_ARGS=--no-training

First a micrograph as a microscope stores it is restored by the network that comes with the package
(seconds). Then a network is trained as one would for a microscope of one's own: the phantom is
made (spheres, every one known), a small U-net learns from artificially degraded clean images and
restores the noisy validation images as files, and what was won, invented and lost is printed and
painted. A run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from demo_steps import (
    REMEDY,
    DemoError,
    last_checkpoint,
    make_data,
    parser_of,
    resolve_folders,
    run_step,
    train_config,
    training_folder,
)

CONFIG = 'configs/ssim_unet_phantom.py'
QUICK_SCENES, QUICK_ITERS = dict(train=3, val=2, size=128), 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the repository."""
    parser = parser_of(__doc__, 'demo_sem', 'sem_phantom')
    parser.add_argument('--config', default=CONFIG, help=f'config to train (default {CONFIG})')
    parser.add_argument(
        '--no-training', action='store_true', help='only the network that comes with the package'
    )
    parser.add_argument('--iters', type=int, help='instead of the number in the config')
    args = parser.parse_args(argv)
    if args.iters is None and args.quick:
        args.iters = QUICK_ITERS
    if args.iters is not None and args.iters < 1:
        parser.error('--iters must be at least 1')
    resolve_folders(args)
    return args


def out_of_the_box(args: argparse.Namespace) -> None:
    """Restores a micrograph without any training, as its users do."""
    from sem_micrograph import draw, make_micrograph

    folder = args.work_dir / 'out_of_the_box'
    folder.mkdir(parents=True, exist_ok=True)
    noisy, restored = folder / 'micrograph.tif', folder / 'micrograph_restored.tif'
    clean = make_micrograph(noisy, (221, 256) if args.quick else (884, 1024))
    run_step(
        '1/5 A micrograph restored out of the box: no training, no settings',
        ['tools/restore.py', str(noisy), str(restored), '--overwrite'],
        REMEDY,
    )
    draw(folder / 'pictures.png', noisy, restored, clean)
    print(f'   pictures: {folder / "pictures.png"}; the restored file: {restored}', flush=True)


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
    train_config('3/5 Training (loss and ETA below)', args.config, folder, options)
    return last_checkpoint(folder)


def judge(args: argparse.Namespace, restored: Path) -> None:
    """Table and pictures: noisy, smoothed and restored images against the truth."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    from mmclarity.restoration import Restorer, list_images, read_sem
    from mmclarity.restoration.evaluation.report import RestorationReport

    val = args.data_root / 'val'
    names = [path.name for path in list_images(val / 'low')]
    pairs = [tuple(read_sem(val / kind / name).unit for kind in ('low', 'high')) for name in names]
    report = RestorationReport(pairs)
    results = iter([read_sem(restored / name).unit for name in names])
    report.add('noisy image', lambda image: image)
    report.add('Gaussian, sigma 1.5', lambda image: gaussian_filter(image, 1.5))
    report.add('trained for it', lambda image: next(results))
    general = Restorer()
    report.add('the network that ships', lambda image: general(image, data_range=1.0))
    print('\n' + report.markdown() + '\n')
    print(
        'fabricated: particles that are not there; missed: particles that are lost (per image, '
        'mean over\nfour thresholds). blur: width of edges beyond the reference. The network '
        'trained for it knows the\nnoise of these pictures; the one that ships measures it.'
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
    restored = args.work_dir / 'restored'
    try:
        out_of_the_box(args)
        if args.no_training:
            return 0
        make_data(
            '2/5 The phantom: spheres on a dark substrate',
            'make_sem_phantom.py',
            args,
            QUICK_SCENES,
        )
        checkpoint = train(args)
        run_step(
            '4/5 Restoring the noisy validation images as files',
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
        print('\n== 5/5 What was won, invented and lost', flush=True)
        judge(args, restored)
    except DemoError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
