"""Make the embedded data set: road-like scenes in BDD100K's layout, most objects unnameable alone.

    python tools/dataset_generators/make_murky.py data/murky

The same settings give the same files, whatever the number of processes. A run with the settings of
a finished data set does nothing; one that was broken off is made anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from mmclarity.cli.main import finish
from mmclarity.synthetic.made import is_made
from mmclarity.utils.files import write_text

# Raised when the same settings give other images.
VERSION = 1
MANIFEST = 'manifest.json'
# Lies in the folder while the data set is made: what is there then is ours to delete.
MARKER = '.making_murky'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='folder to write, e.g. data/murky')
    parser.add_argument('--train', type=int, default=600, help='training scenes (default 600)')
    parser.add_argument('--val', type=int, default=150, help='validation scenes (default 150)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same files (default 0)')
    parser.add_argument(
        '--two-groups',
        type=float,
        default=0.5,
        help='share of scenes with two groups of different classes (default 0.5)',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count() or 1,
        help='processes (default: one for each core)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='remake the data set if there is one'
    )
    args = parser.parse_args(argv)
    if args.train < 1 or args.val < 1 or args.seed < 0 or not 0 <= args.two_groups <= 1:
        parser.error(
            '--train and --val must be at least 1, --seed at least 0, and --two-groups '
            'between 0 and 1'
        )
    if args.jobs < 1:
        parser.error('--jobs must be at least 1')
    return args


def write_scene(task: tuple[str, int], out: Path, seed: int, two_groups: float) -> dict:
    """Writes the image of one scene (split, number) and returns its Scalabel frame."""
    from mmclarity.synthetic.murky import make_scene
    from mmclarity.utils.images import save_picture

    image, frame = make_scene(*task, seed, two_groups)
    save_picture(image, out / 'images' / '100k' / task[0] / frame['name'], quality=95)
    return frame


def check_target(out: Path, settings: dict, overwrite: bool) -> bool:
    """Whether the data set is already there, whole and with these settings.

    Raises:
        DataError: As :func:`mmclarity.synthetic.made.is_made`.
    """
    if (out / MARKER).exists():  # a run of this tool that was broken off
        return False
    return is_made(out, MANIFEST, settings, overwrite) and is_whole(out, settings)


def is_whole(out: Path, settings: dict) -> bool:
    """Whether every image and both label files are there."""
    return all(
        (out / 'labels' / 'det_20' / f'det_{split}.json').is_file()
        and sum(1 for _ in (out / 'images' / '100k' / split).glob('*.jpg')) == settings[split]
        for split in ('train', 'val')
    )


def write_split(out: Path, split: str, settings: dict, jobs: int) -> None:
    """Writes images and labels of a split, and says how many."""
    (out / 'images' / '100k' / split).mkdir(parents=True)
    work = partial(write_scene, out=out, seed=settings['seed'], two_groups=settings['two_groups'])
    tasks = [(split, i) for i in range(settings[split])]
    if jobs > 1:
        with ProcessPoolExecutor(min(jobs, len(tasks))) as pool:
            frames = list(pool.map(work, tasks, chunksize=16))
    else:
        frames = [work(task) for task in tasks]
    write_text(out / 'labels' / 'det_20' / f'det_{split}.json', json.dumps(frames))
    objects = [label for frame in frames for label in frame['labels']]
    degraded = sum(label['attributes']['degraded'] for label in objects)
    print(
        f'{split}: {len(frames)} scenes, {len(objects)} objects, {degraded} of them degraded',
        flush=True,
    )


def make(args: argparse.Namespace) -> None:
    """Makes the data set, unless it is there.

    Raises:
        DataError: As :func:`mmclarity.synthetic.made.is_made`.
    """
    settings = dict(
        version=VERSION, train=args.train, val=args.val, seed=args.seed, two_groups=args.two_groups
    )
    if check_target(args.out, settings, args.overwrite):
        print(f'{args.out} is already made with these settings')
        return
    # Loaded before the processes are forked: they share it instead of loading it again each.
    from mmclarity.synthetic.murky import handwriting

    handwriting()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / MARKER).touch()
    (args.out / MANIFEST).unlink(missing_ok=True)
    for part in ('images', 'labels'):
        if (args.out / part).exists():
            shutil.rmtree(args.out / part)
    (args.out / 'labels' / 'det_20').mkdir(parents=True)
    for split in ('train', 'val'):
        write_split(args.out, split, settings, args.jobs)
    # Last: only a whole data set has a manifest and no marker.
    write_text(args.out / MANIFEST, json.dumps(settings))
    (args.out / MARKER).unlink()
    print(f'written to {args.out}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(make, parse_args(argv), 'make_murky.py')


if __name__ == '__main__':
    sys.exit(main())
