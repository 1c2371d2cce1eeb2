"""Forward and backward of SSIM as a loss, beside the field's libraries, in one run.

    python benchmarks/ssim_loss.py --threads 2 --json benchmark.json

Every contender computes 1 - SSIM with an 11-tap Gaussian window of sigma 1.5 and its gradient by
the first image, in float32. They run in turn (A B C A B C ...). Peers that are not installed are
left out (requirements-dev.txt has them). `error` is the distance of value and gradient from the
same loss in float64, each by its own borders: torchmetrics and kornia count mirrored borders.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mmclarity.restoration.losses import SSIMLoss
from mmclarity.utils.files import write_text
from timing import (
    machine_line,
    measure,
    megabytes,
    milliseconds,
    quartiles,
    table,
)

SHAPES = ((8, 1, 256, 256), (4, 3, 256, 256), (1, 1, 1024, 1024))
OURS = 'mmclarity'
Loss = Callable[[Tensor, Tensor], Tensor]


def msssim_loss() -> Loss:
    from pytorch_msssim import ssim

    return lambda x, y: 1 - ssim(x, y, data_range=1.0)


def piq_loss() -> Loss:
    from piq import SSIMLoss as Peer

    return Peer(data_range=1.0, downsample=False)


def torchmetrics_loss() -> Loss:
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    return lambda x, y: 1 - ssim(x, y, sigma=1.5, data_range=1.0)


def kornia_loss() -> Loss:
    from kornia.metrics import ssim

    return lambda x, y: 1 - ssim(x, y, 11, max_val=1.0, padding='valid').mean()


PEERS = {
    'pytorch_msssim': msssim_loss,
    'piq': piq_loss,
    'torchmetrics': torchmetrics_loss,
    'kornia': kornia_loss,
}


def contenders() -> dict[str, Loss]:
    """Ours and every peer that is installed."""
    found: dict[str, Loss] = {OURS: SSIMLoss(1.0)}
    for package, build in PEERS.items():
        if importlib.util.find_spec(package) is None:
            print(f'{package} is not installed and left out')
        else:
            found[package] = build()
    return found


def gradient(loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient by x."""
    x = x.detach().requires_grad_()
    value = loss(x, y)
    return value.detach(), torch.autograd.grad(value, x)[0]


def errors(loss: Loss, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Of the value, and of the gradient by its largest entry, against float64."""
    value, grad = gradient(loss, x, y)
    exact, exact_grad = gradient(loss, x.double(), y.double())
    return (
        abs(value.item() - exact.item()),
        ((grad - exact_grad).abs().max() / exact_grad.abs().max()).item(),
    )


def benchmark(shape: tuple[int, ...], repeats: int, device: torch.device) -> list[dict]:
    """One row a contender."""
    torch.manual_seed(0)
    y = torch.nn.functional.avg_pool2d(torch.rand(*shape[:2], shape[2] + 4, shape[3] + 4), 5, 1)
    x = (y + 0.05 * torch.randn_like(y)).clamp(0, 1).to(device)
    y, losses = y.to(device), contenders()
    timed = measure(
        {name: partial(gradient, loss, x, y) for name, loss in losses.items()}, repeats, device
    )
    rows = []
    for name, result in timed.items():
        value_error, gradient_error = errors(losses[name], x, y)
        ratios = [peer / own for peer, own in zip(result['seconds'], timed[OURS]['seconds'])]
        rows.append(
            dict(
                loss=name,
                shape=list(shape),
                ratios=ratios,
                value_error=value_error,
                gradient_error=gradient_error,
                **result,
            )
        )
    return rows


def rows_table(rows: list[dict]) -> str:
    lines = []
    for r in rows:
        low, median, high = quartiles(r['ratios'])
        lines.append(
            [
                r['loss'],
                ' x '.join(map(str, r['shape'])),
                milliseconds(r['seconds']),
                f'{median:.1f} ({low:.1f}-{high:.1f})',
                megabytes(r['peak_mb']),
                f'{r["value_error"]:.0e}',
                f'{r["gradient_error"]:.0e}',
            ]
        )
    return table(
        [
            'loss',
            'images',
            'forward + backward, ms',
            'times ours',
            'peak, MB',
            'value error',
            'gradient error',
        ],
        lines,
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=15, help='rounds that are timed')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, help="CPU threads; default: torch's choice")
    parser.add_argument('--json', type=Path, metavar='OUT', help='also write every timing there')
    parser.add_argument('--quick', action='store_true', help='one small size, two rounds')
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error('--repeats must be positive')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: torch sees no CUDA device; use --device cpu')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    warnings.filterwarnings('ignore')  # the peers' own
    device = torch.device(args.device)
    shapes, repeats = (((2, 1, 64, 64),), 2) if args.quick else (SHAPES, args.repeats)
    machine = machine_line(device)
    print(
        f'{machine}; torch {torch.__version__}; float32; median (quartiles) of {repeats} rounds\n'
    )
    rows = [row for shape in shapes for row in benchmark(shape, repeats, device)]
    print(rows_table(rows))
    if args.json:
        write_text(
            args.json,
            json.dumps(dict(machine=machine, torch=torch.__version__, rows=rows), indent=1),
        )


if __name__ == '__main__':
    main()
