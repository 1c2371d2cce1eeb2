"""What tiles cost, and how far they are from the image at once.

    taskset -c 0 python benchmarks/restore_tiles.py --rounds 9 --threads 1

An image of 2048 x 2048, two networks: the one that ships (`general`) and the U-net of
configs/ssim_unet_sem.py with random weights (`unet`). In each round every contender runs once:

tiles      tiles of 1024, so that there are several
default    what Restorer does by itself
whole      the image at once, in the precision of `tiles`

each of them also in float32. `seconds` is processor time (user and system), median and quartiles of
the rounds: on a machine that others use too, the clock says how busy they are; --clock takes it all
the same, for a quiet one with several threads. `of whole` is the ratio to `whole` in the same
precision and round, median and quartiles: where the speed of the cores changes, it says more than
the seconds. --page puts the table between the marks `NETWORK tiles` of a page. `dB` and `most`
compare with the whole image at once in float32: peak signal-to-noise ratio and largest difference,
for a range of one.
"""

from __future__ import annotations

import argparse
import functools
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmclarity.restoration import Restorer
from mmclarity.utils.allocator import keep_freed_memory
from mmclarity.utils.tables import markdown_table, replace_part
from timing import machine_line, table

ROOT = Path(__file__).resolve().parents[1]
HUGE = 1 << 20
# In pairs side by side: their ratio is what counts.
CONTENDERS = ('tiles', 'whole', 'default', 'tiles, float32', 'whole, float32')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--side', type=int, default=2048)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--networks', nargs='+', default=['general', 'unet'])
    parser.add_argument('--only', nargs='+', choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument('--clock', action='store_true', help='elapsed time')
    parser.add_argument('--page', type=Path, help='Markdown page to write into')
    return parser.parse_args()


def seconds(run: Callable[[], object], clock: bool = False) -> float:
    """Processor time of one run, or time elapsed."""
    if clock:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    before = resource.getrusage(resource.RUSAGE_SELF)
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def micrograph(side: int) -> np.ndarray:
    """(side, side) uint8: discs under noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    discs = (rows % 90 - 45) ** 2 + (columns % 70 - 35) ** 2 < 24**2
    return (80 + 90 * discs + random.normal(0, 20, discs.shape)).clip(0, 255).astype(np.uint8)


def random_unet(folder: Path) -> tuple[Path, Path]:
    """Config and checkpoint; the last layer too is random, so that something is added."""
    from mmagic.registry import MODELS
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    from mmclarity.engine.config import load_config

    MMLogger.get_instance('benchmark', log_level='ERROR')
    config = ROOT / 'configs/ssim_unet_sem.py'
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmagic'):
        model = MODELS.build(load_config(config).model)
    model.init_weights()
    torch.nn.init.normal_(model.generator.last.weight, std=0.01)
    torch.save(dict(state_dict=model.state_dict()), folder / 'random.pth')
    return config, folder / 'random.pth'


def contenders(network: str, folder: Path) -> dict[str, Restorer]:
    """The restorers by name."""
    model = () if network == 'general' else random_unet(folder)
    made = {}
    for name in CONTENDERS:
        kind, _, dtype = name.partition(', ')
        tile = dict(tiles=1024, whole=HUGE).get(kind)
        made[name] = Restorer(*model, tile=tile, dtype=dtype or None)
    return made


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return f'{median:.2f} ({low:.2f}-{high:.2f})'


def measured(network: str, image: np.ndarray, args: argparse.Namespace) -> list[list[str]]:
    """The rows of one network."""
    with tempfile.TemporaryDirectory() as folder:
        restorers = contenders(network, Path(folder))
    exact = restorers['whole, float32'](image).astype(np.float64)
    names = [name for name in CONTENDERS if name in args.only]
    differ = {name: restorers[name](image) - exact for name in names}  # warms up, and fits overlaps
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            run = functools.partial(restorers[name], image)
            times[name].append(seconds(run, args.clock))
    rows = []
    for name in names:
        _, comma, dtype = name.partition(', ')
        error = float(np.mean(differ[name] ** 2))
        whole = times.get(f'whole{comma}{dtype}')
        rows.append(
            [
                f'{network}: {name}',
                str(restorers[name].dtype or torch.float32).removeprefix('torch.'),
                str(restorers[name].tiling['overlap']),
                spread(times[name]),
                spread(np.divide(times[name], whole)) if whole else '',
                f'{args.side**2 / 1e6 / statistics.median(times[name]):.2f}',
                'same' if not error else f'{-10 * np.log10(error):.1f}',
                f'{np.abs(differ[name]).max():.4f}',
            ]
        )
    return rows


def main() -> None:
    """Runs the benchmark."""
    args = parse_args()
    warnings.simplefilter('ignore')
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    image = micrograph(args.side)
    kind = 'elapsed' if args.clock else 'of the processor'
    about = (
        f'{machine_line(torch.device("cpu"))}; {args.side} x {args.side}, {args.rounds} rounds, '
        f'{args.threads} thread(s), seconds {kind}'
    )
    print(about)
    head = ['', 'precision', 'overlap', 'seconds', 'of whole', 'MP/s', 'dB', 'most']
    for network in args.networks:
        rows = measured(network, image, args)
        print(table(head, rows))
        if args.page:
            text = markdown_table(head, rows)
            replace_part(args.page, f'{network} tiles', f'{about}:\n\n{text}')


if __name__ == '__main__':
    main()
