"""Tiles as they are cut now beside how they were: precision, size, overlap, memory kept.

    taskset -c 0 python benchmarks/restore_tiles.py --rounds 3 --threads 1

An image of 2048 x 2048, two networks: the one that ships (`general`) and the U-net of
configs/ssim_unet_sem.py with random weights (`unet`). In each round every contender runs once:

former     tiles of 1024 (unet: 512) that overlap by the theoretical receptive field, four at once
tiles      tiles of 1024 as they are cut now, so that there are several
default    what Restorer does by itself
whole      the image at once, in the precision of `tiles`

`seconds` is processor time (user and system), median and range of the rounds: on a machine that
others use too, the clock says how busy they are; --clock takes it all the same, for a quiet one
with several threads. --page puts the table between the marks `NETWORK tiles` of a page. `dB` and
`most` compare with the whole image at once in float32: peak signal-to-noise ratio and largest
difference, for a range of one.
"""

from __future__ import annotations

import argparse
import functools
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmclarity.restoration import Restorer
from mmclarity.utils.allocator import keep_freed_memory
from mmclarity.utils.tables import markdown_table, replace_part
from timing import machine_line, table

ROOT = Path(__file__).resolve().parents[1]
HUGE = 1 << 20


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--side', type=int, default=2048)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--networks', nargs='+', default=['general', 'unet'])
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
    # what was the default before
    tile, overlap = (1024, 184) if network == 'general' else (512, 208)
    before = None if network == 'general' else 'float32'
    return {
        'former': Restorer(*model, tile=tile, overlap=overlap, batch_size=4, dtype=before),
        'former, float32': Restorer(
            *model, tile=tile, overlap=overlap, batch_size=4, dtype='float32'
        ),
        'tiles, float32': Restorer(*model, tile=1024, dtype='float32'),
        'whole, float32': Restorer(*model, tile=HUGE, dtype='float32'),
        'tiles': Restorer(*model, tile=1024),
        'default': Restorer(*model),
        'whole': Restorer(*model, tile=HUGE),
    }


def main() -> None:
    """Runs the benchmark."""
    args = parse_args()
    warnings.simplefilter('ignore')
    torch.set_num_threads(args.threads)
    image, rows = micrograph(args.side), []
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks:
            restorers = contenders(network, Path(folder))
            # The former ones first: once memory is kept, it is kept for all.
            times = {name: [] for name in restorers}
            for kept in (False, True):
                names = [name for name in restorers if name.startswith('former') is not kept]
                if kept:
                    keep_freed_memory()
                for name in names:  # warms up, and measures the overlap
                    restorers[name](image)
                for _ in range(args.rounds):
                    for name in names:
                        run = functools.partial(restorers[name], image)
                        times[name].append(seconds(run, args.clock))
            exact = restorers['whole, float32'](image).astype(np.float64)
            for name, restorer in restorers.items():
                differ = restorer(image) - exact
                error = float(np.mean(differ**2))
                median = statistics.median(times[name])
                rows.append(
                    [
                        f'{network}: {name}',
                        str(restorer.dtype or torch.float32).removeprefix('torch.'),
                        restorer.tiling['overlap'],
                        f'{median:.2f} ({min(times[name]):.2f}-{max(times[name]):.2f})',
                        f'{args.side**2 / 1e6 / median:.2f}',
                        'same' if not error else f'{-10 * np.log10(error):.1f}',
                        f'{np.abs(differ).max():.4f}',
                    ]
                )
    kind = 'elapsed' if args.clock else 'of the processor'
    about = (
        f'{machine_line(torch.device("cpu"))}; {args.side} x {args.side}, {args.rounds} rounds, '
    )
    about += f'{args.threads} thread(s), seconds {kind}'
    head = ['', 'precision', 'overlap', 'seconds', 'MP/s', 'dB', 'most']
    print(about)
    print(table(head, rows))
    for network in args.networks if args.page else ():
        mine = [[str(cell) for cell in row] for row in rows if row[0].startswith(f'{network}: ')]
        text = markdown_table(head, mine)
        replace_part(args.page, f'{network} tiles', f'{about}:\n\n{text}')


if __name__ == '__main__':
    main()
