"""A small AlexNet compared with a model of V1 while it learns to name surfaces.

    make demo-rsa      (or: python demo/demo_rsa.py)

Makes the data set from photographs that scikit-image ships, trains with the hook on, prints which
layer is most like which area before and after, and says where the figures are. A run that was
broken off goes on where it stopped; one of other settings starts anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo_steps import (
    DemoError,
    make_data,
    parser_of,
    resolve_folders,
    train_config,
    training_folder,
)
from mmclarity.rsa.report import tables as report

CONFIG = 'configs/alexnet_surfaces_rsa.py'
# Seconds of work, for the tests: it shows that every step runs, not what is learned.
QUICK = dict(train=4, val=2, stimuli=2)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the repository."""
    parser = parser_of(__doc__, 'demo_rsa', 'surfaces')
    parser.add_argument('--epochs', type=int, help='instead of the number in the config')
    args = parser.parse_args(argv)
    if args.epochs is not None and args.epochs < 1:
        parser.error('--epochs must be at least 1')
    resolve_folders(args)
    if args.epochs is None and args.quick:
        args.epochs = 1
    return args


def prepare(args: argparse.Namespace) -> Path:
    """The folder to train in: going on from a run of other stimuli would mix them in one curve."""
    return training_folder(
        args.work_dir,
        args.restart,
        data_root=str(args.data_root),
        epochs=args.epochs,
        quick=args.quick,
    )


def options(args: argparse.Namespace) -> list[str]:
    """Overrides of the config: the folder of the data, and the number of epochs."""
    found = [f'data_root={args.data_root}/']  # stimuli and areas follow
    if args.epochs is not None:
        found += [f'train_cfg.max_epochs={args.epochs}']
    return found


def summarise(folder: Path) -> None:
    """Prints the table of the last epoch, and the best layers before training and after.

    Raises:
        DemoError: If the training wrote no analysis.
    """
    found = {int(path.stem.split('_')[1]): path for path in folder.glob('epoch_*.npz')}
    if not found:
        raise DemoError(f'the training wrote no analysis to {folder}; delete it and start again')
    for epoch in sorted({min(found), max(found)}):
        result = report.load_npz(found[epoch])
        for area in result.areas:
            layer, score = result.best_layer(area) or ('none', float('nan'))
            print(f'   epoch {epoch:>3}: most like {area} is {layer} ({score:.3f})')
    print('\n' + report.markdown(report.load_npz(found[max(found)])))
    for path in sorted(folder.glob('*.png')) + [folder / 'scores.csv']:
        inside = path.is_relative_to(Path.cwd())
        print(f'   {path.stem:<14} {os.path.relpath(path) if inside else path}')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all steps; returns the exit status."""
    args = parse_args(argv)
    start = time.monotonic()
    try:
        make_data(
            '1/2 The data set: crops of eight surfaces, answers of a model V1',
            'make_surfaces.py',
            args,
            QUICK,
        )
        folder = prepare(args)
        train_config(
            '2/2 Training, with an analysis after every epoch', CONFIG, folder, options(args)
        )
        print(f'\n== How alike layers and model areas are ({CONFIG})')
        summarise(folder / 'rsa')
    except DemoError as error:
        print(f'\ndemo: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ndemo: stopped; run the same command again to go on', file=sys.stderr)
        return 130
    print(f'   {"time":<14} {(time.monotonic() - start) / 60:.1f} min')
    return 0


if __name__ == '__main__':
    sys.exit(main())
