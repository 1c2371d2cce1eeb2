"""What RSAHook costs a training: the small AlexNet with an analysis after each epoch, and without.

    python benchmarks/rsa_hook.py --epochs 5

Trains configs/alexnet_surfaces_rsa.py on its embedded data, made in a temporary folder where
--data-root names none. For each epoch, validation included, the time inside the hook is set against
the rest; the same epochs without the hook show that the rest is what it was. The analysis before
training (twin, reading) and the figures at its end are timed apart: they are made once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmclarity.engine.config import load_config
from mmclarity.synthetic.surfaces import make_surfaces
from timing import machine_line, quartiles

ROOT = Path(__file__).resolve().parents[1]

CONFIG = 'configs/alexnet_surfaces_rsa.py'
EVENTS = ('before_train', 'after_train_epoch', 'after_train')


class EpochClock(Hook):
    """Seconds from the start of each epoch to the start of the next, or to the end of training."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.starts: list[float] = []

    def before_train_epoch(self, runner: Runner) -> None:
        self.starts.append(time.perf_counter())

    def after_train(self, runner: Runner) -> None:
        self.starts.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [end - start for start, end in zip(self.starts, self.starts[1:])]


def timed(method: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """The method, whose calls add their seconds to the list."""

    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - start)

    return run


def train(
    data_root: Path, folder: Path, epochs: int, with_hook: bool
) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds of every epoch, and of every event of the hook."""
    config = load_config(ROOT / CONFIG, dict(data_root=f'{data_root}/'))
    config.work_dir, config.log_level = str(folder), 'ERROR'
    config.experiment_name = folder.name
    config.train_cfg.max_epochs = epochs
    hooks = [hook for hook in config.custom_hooks if hook.type != 'RSAHook' or with_hook]
    config.custom_hooks = hooks
    runner = Runner.from_cfg(config)
    clock, spent = EpochClock(), {event: [] for event in EVENTS}
    runner.register_hook(clock)
    for hook in runner.hooks:
        if type(hook).__name__ == 'RSAHook':
            for event in EVENTS:
                setattr(hook, event, timed(getattr(hook, event), spent[event]))
    runner.train()
    return clock.seconds, spent


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=5, help='epochs of each run (default 5)')
    parser.add_argument('--data-root', type=Path, help='of make_surfaces.py')
    parser.add_argument('--quick', action='store_true', help='a few crops, in seconds')
    args = parser.parse_args(argv)
    if args.epochs < 1:
        parser.error('--epochs must be positive')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = (args.data_root or folder / 'surfaces').resolve()
        if args.data_root is None:
            make_surfaces(root, **(dict(train=16, val=8, stimuli=4) if args.quick else {}))
        plain, _ = train(root, folder / 'plain', args.epochs, False)
        whole, spent = train(root, folder / 'with_hook', args.epochs, True)
    inside = spent['after_train_epoch']
    share = [100 * s / (w - s) for s, w in zip(inside, whole)]
    rest = [w - s for s, w in zip(inside, whole)]
    print(f'\n{machine_line(torch.device("cpu"))}; median (quartiles) of {args.epochs} epochs')
    for name, values, unit in (
        ('epoch without the hook', plain, 's'),
        ('epoch with it, less the hook', rest, 's'),
        ('inside the hook', inside, 's'),
        ('hook, of the rest', share, '%'),
    ):
        low, median, high = quartiles(values)
        print(f'{name:<30} {median:8.2f} {unit} ({low:.2f}-{high:.2f})')
    print(
        f'{"once, before and after":<30} {spent["before_train"][0]:8.2f} s, '
        f'{spent["after_train"][0]:.2f} s'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
