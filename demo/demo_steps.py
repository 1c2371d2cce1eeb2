"""What the three demos share: steps run as tools, and trainings that go on where they stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

STATE = 'demo.json'


class DemoError(RuntimeError):
    """A step failed; the message says which and what to do."""


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
    state.write_text(json.dumps(wanted))
    return folder


def last_checkpoint(folder: Path) -> Path:
    """What a training left.

    Raises:
        DemoError: If that is nothing.
    """
    pointer = folder / 'last_checkpoint'
    checkpoint = Path(pointer.read_text().strip()) if pointer.is_file() else None
    if checkpoint is None or not checkpoint.is_file():
        raise DemoError(f'the training left no checkpoint in {folder}; add --restart')
    return checkpoint


def read_state(path: Path) -> dict | None:
    """What the training in the work directory was started with; None if unknown."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
