"""Speed and memory of restoration: tiled and whole, beside mmagic's own inference.

    python benchmarks/restore.py --sides 512 1024 2048 --repeats 5
    python benchmarks/restore.py --tiled-only 16384

One U-net with random weights (configs/ssim_unet_sem.py) on a random image of 8 bits. `mmagic` is
BaseEditModel.test_step on the packed sample, what its inferencers and test loop call. All run in
turn; medians and quartiles of the rounds. Memory is the highest use of the process during a run
above that at its start (VmHWM); the result is one float32 a pixel.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import DefaultScope

from mmclarity.engine.config import load_config
from mmclarity.restoration import Restorer
from mmclarity.utils.files import write_text
from timing import (
    PeakMemory,
    machine_line,
    measure,
    quartiles,
    table,
)

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', type=Path, default=ROOT / 'configs/ssim_unet_sem.py')
    parser.add_argument(
        '--sides',
        type=int,
        nargs='*',
        default=[512, 1024, 2048],
        help='of square images, all contenders',
    )
    parser.add_argument(
        '--tiled-only',
        type=int,
        nargs='*',
        default=[],
        help='sides of images that are restored in tiles alone, once',
    )
    parser.add_argument('--tile', type=int, default=512)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int)
    parser.add_argument('--json', type=Path)
    return parser.parse_args()


def build(args: argparse.Namespace) -> tuple[Restorer, Restorer]:
    """The same random network, in tiles and whole."""
    import tempfile

    from mmagic.registry import MODELS
    from mmengine.logging import MMLogger

    MMLogger.get_instance('benchmark', log_level='ERROR')  # not a word on each weight
    config = load_config(args.config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmagic'):
        model = MODELS.build(config.model)
    model.init_weights()
    dtype = None if args.dtype == 'float32' else args.dtype
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'random.pth'
        torch.save(dict(state_dict=model.state_dict()), path)
        return tuple(Restorer(config, path, tile=tile, dtype=dtype) for tile in (args.tile, 10**6))


def mmagic_inference(restorer: Restorer, image: np.ndarray) -> Callable[[], object]:
    """BaseEditModel's own path: packed sample in, data samples out."""
    from mmagic.datasets.transforms import PackInputs

    model = restorer.models[0]
    pixels = image[..., None].astype(np.float32)
    sample = PackInputs(keys=['img'])(dict(img=pixels, gt=pixels))

    def run() -> object:
        # A fresh copy: the preprocessor writes into the sample.
        data = dict(
            inputs=[sample['inputs'].clone()], data_samples=[sample['data_samples'].clone()]
        )
        with torch.no_grad():
            return model.test_step(data)

    return run


def once(run: Callable[[], object], device: torch.device) -> dict[str, object]:
    """Seconds and peak memory of a single run, without warming up: minutes of work."""
    memory = PeakMemory(device)
    memory.start()
    start = time.perf_counter()
    run()
    return dict(seconds=[time.perf_counter() - start], peak_mb=memory.stop())


def main() -> None:
    """Runs the benchmark."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device('cpu')
    tiled, whole = build(args)
    print(
        f'{machine_line(device)}; torch {torch.__version__}; {args.dtype}; tile {args.tile}, '
        f'overlap {tiled.tiling["overlap"]}; '
        f'median (quartiles) of {args.repeats} rounds\n',
        flush=True,
    )
    rows, everything = [], {}
    for side in [*args.sides, *args.tiled_only]:
        image = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
        runs = {'tiled': lambda i=image: tiled(i)}
        if side in args.sides:
            runs |= {'whole': lambda i=image: whole(i), 'mmagic': mmagic_inference(whole, image)}
            found = measure(runs, args.repeats, device)
        else:
            found = {'tiled': once(runs['tiled'], device)}
        everything[side] = found
        for name, result in found.items():
            speed = [side**2 / 1e6 / s for s in result['seconds']]
            low, median, high = quartiles(speed)
            rows.append(
                [
                    f'{side} x {side}',
                    name,
                    f'{median:.2f} ({low:.2f}-{high:.2f})',
                    f'{result["peak_mb"]:,.0f}',
                    f'{result["peak_mb"] - side**2 * 4 / 2**20:,.0f}',
                ]
            )
        print(f'done: {side}', flush=True)
    print(
        table(
            ['image', 'restored', 'megapixels/s', 'peak memory, MB', 'beside the result, MB'], rows
        )
    )
    if args.json:
        write_text(args.json, json.dumps(everything))


if __name__ == '__main__':
    main()
