"""Compute a trained detector's trunk once, for box heads to be trained from what it gives.

    python tools/cache_trunk.py CONFIG CHECKPOINT FOLDER --views 2

writes FOLDER/train and FOLDER/val (or what --splits names): the feature maps and proposals of every
image of the config's data sets. A view is one pass over the training set with the augmentations
drawn anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import mmclarity.detection  # noqa: F401
from mmclarity.cli.main import run
from mmclarity.cli.options import ConfigOptions
from mmclarity.detection.trunk_cache.make import cache_splits


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog='cache_trunk.py', description=__doc__.splitlines()[0])
    options.add_argument('config', help='config of the trained detector')
    options.add_argument('checkpoint', help='its checkpoint')
    options.add_argument('folder', type=Path, help='where the caches go')
    options.add_argument(
        '--splits',
        nargs='+',
        default=['train', 'val'],
        choices=['train', 'val', 'test'],
        help='dataloaders to cache',
    )
    options.add_argument(
        '--views', type=int, default=1, help='passes over the training set, each augmented anew'
    )
    options.add_argument('--seed', type=int, default=0, help='of the augmentations')
    options.add_argument(
        '--dtype',
        choices=['auto', 'bfloat16', 'float16', 'float32'],
        default='auto',
        help='of the maps; auto: what the trunk computes in, '
        'bfloat16 where the device has it and float16 elsewhere',
    )
    options.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the best there is)')
    options.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='settings that replace those of the config',
    )
    return options


def cache(args: argparse.Namespace) -> None:
    """Compute the caches and say where they are."""
    for folder in cache_splits(
        args.config,
        args.checkpoint,
        args.folder,
        args.splits,
        args.views,
        args.seed,
        args.dtype,
        args.cfg_options,
        args.device,
    ):
        print(f'written: {folder}')


if __name__ == '__main__':
    sys.exit(run(cache, parser()))
