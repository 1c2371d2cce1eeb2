"""What the three demos share: steps run as tools, and trainings that go on where they stopped."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmclarity.utils.files import write_text

REPO = Path(__file__).resolve().parents[1]

STATE = 'demo.json'
REMEDY = 'Run the same command again to go on from the last checkpoint, or add --restart'


class DemoError(RuntimeError):
    """A step failed; the message says which and what to do."""


def parser_of(description: str, name: str, data: str) -> argparse.ArgumentParser:
    """The options that all demos have.

    Args:
        description: For the help; the module's docstring.
        name: Of the folder below ``work_dirs``.
        data: Of the folder below ``data``; with ``--quick`` it gets ``_quick`` behind it.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs', name),
        help=f'folder for everything but the data (default work_dirs/{name})',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        help=f'folder of the data (default data/{data}; with --quick data/{data}_quick)',
    )
    parser.add_argument(
        '--quick', action='store_true', help='seconds: shows that everything runs, learns nothing'
    )
    parser.add_argument(
        '--restart',
        action='store_true',
        help='train anew instead of going on with what is in --work-dir',
    )
    parser.set_defaults(data=data)
    return parser


def resolve_folders(args: argparse.Namespace) -> None:
    """Makes both folders absolute; they are relative to the repository."""
    if args.data_root is None:
        args.data_root = Path('data', f'{args.data}_quick' if args.quick else args.data)
    args.work_dir = (REPO / args.work_dir.expanduser()).resolve()
    args.data_root = (REPO / args.data_root.expanduser()).resolve()


def make_data(title: str, tool: str, args: argparse.Namespace, few: dict[str, int]) -> None:
    """Makes the data set, unless it is there; few of it with ``--quick``."""
    command = [f'tools/dataset_generators/{tool}', str(args.data_root)]
    for name, count in few.items() if args.quick else ():
        command += [f'--{name}', str(count)]
    run_step(title, command, 'To use another folder: --data-root DIR')


def train_config(title: str, config: str, folder: Path, options: Sequence[str]) -> None:
    """Trains, or goes on where a run was broken off."""
    command = ['tools/train.py', config, '--work-dir', str(folder), '--resume', '--cfg-options']
    run_step(title, [*command, *options], REMEDY)


def run_step(title: str, command: Sequence[str], remedy: str) -> None:
    """Runs a Python tool of the repository, its output passed through.

    Raises:
        DemoError: If it fails.
    """
    print(f'\n== {title}\n   python {" ".join(command)}\n', flush=True)
    start = time.monotonic()
    code = subprocess.run([sys.executable, *command], cwd=REPO, check=False).returncode
    if code:
        raise DemoError(f'{title}: failed with exit status {code} (its message is above). {remedy}')
    print(f'   done in {time.monotonic() - start:.0f} s', flush=True)


def training_folder(work_dir: Path, restart: bool, **wanted: object) -> Path:
    """The folder to train in; what a run of other settings left there is removed."""
    folder, state = work_dir / 'train', work_dir / STATE
    if folder.exists() and (restart or read_state(state) != wanted):
        print(f'\n{folder} is of another run or to be replaced: training starts anew')
        shutil.rmtree(folder)
    work_dir.mkdir(parents=True, exist_ok=True)
    write_text(state, json.dumps(wanted))
    return folder


def last_checkpoint(folder: Path) -> Path:
    """What a training left.

    Raises:
        DemoError: If that is nothing.
    """
    pointer = folder / 'last_checkpoint'
    checkpoint = Path(pointer.read_text(encoding='utf-8').strip()) if pointer.is_file() else None
    if checkpoint is None or not checkpoint.is_file():
        raise DemoError(f'the training left no checkpoint in {folder}; add --restart')
    return checkpoint


def read_state(path: Path) -> dict | None:
    """What the training in the work directory was started with; None if unknown."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
