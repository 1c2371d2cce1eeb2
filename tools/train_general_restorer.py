"""Train the general restorer that ships with the package.

    python tools/train_general_restorer.py --data ../shared/data --minutes 40
    python tools/train_general_restorer.py --data DATA --device cuda --workers 5 --batch 64

Clean images (sem_pairs/high without those that judge, sem_superalloy) and simulated ones are made
worse as they are drawn. The learning rate follows the clock: it has fallen to zero when the minutes
are over, whatever the machine. Interrupted, the same command goes on where the last checkpoint was
written; --start takes weights that are trained further, with a clock of its own; with --widths they
grow first into a wider network that gives the same. The weights (an average over the last steps) go
to --work-dir as half-precision safetensors.

The marks of doubt are fitted to the network: afterwards, tools/fit_doubts.py --ship.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmclarity.cli.main import finish
from mmclarity.errors import CheckpointError
from mmclarity.utils.files import replacing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DECAY = 0.999  # of the average of weights
REPORTED = 100  # steps between two lines of the log
SAVED = 120  # seconds between two checkpoints


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder of the two data sets')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/general'))
    parser.add_argument('--start', type=Path, help='weights to go on from: last.pth or safetensors')
    parser.add_argument(
        '--widths',
        type=int,
        nargs='+',
        help='channels at 1/2, 1/4, ... of the size; at least those of --start, which are the '
        'default',
    )
    parser.add_argument('--minutes', type=float, default=40.0)
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--workers', type=int, default=0, help='processes that draw examples')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--size', type=int, default=128, help='of patches')
    parser.add_argument('--lr', type=float, default=4e-4)
    parser.add_argument('--warm', type=int, default=300, help='steps until it is reached')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--structures', type=int, default=240)
    parser.add_argument('--sharp', type=int, default=240)
    parser.add_argument('--phantoms', type=int, default=48)
    parser.add_argument(
        '--renewed', type=float, default=0.0, help='chance that a simulated image is made anew'
    )
    parser.add_argument(
        '--shares',
        type=_share,
        nargs='+',
        default=(),
        metavar='KIND=SHARE',
        help='of the examples: spheres, alloy, phantom, structure, sharp',
    )
    return parser.parse_args(argv)


def _share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition('=')
    return kind, float(share)


class Training:
    """The network, the average of its weights, the optimiser and the clock.

    Args:
        device: of torch.
        lr: highest rate of learning.
        widths: of the network; by default those of ``start``, or of the one that ships.
        start: weights that are trained further, :meth:`save`'s or safetensors; those of a narrower
            network grow. Their steps are counted on, rate and moments start anew.

    Raises:
        CheckpointError: the weights are of another network, or wider.
    """

    def __init__(
        self,
        device: torch.device,
        lr: float,
        widths: Sequence[int] | None = None,
        start: Path | None = None,
    ) -> None:
        import torch

        from mmclarity.restoration.general import GeneralUNet
        from mmclarity.restoration.general.network import WIDTHS, grown, widths_of

        self.device, self.lr, self.step, self.spent = device, lr, 0, 0.0
        state: dict[str, Tensor] = {}
        if start:
            state, self.step = _read(start)
            try:
                widths = widths or widths_of(state)
                state = grown(state, widths)
            except (KeyError, ValueError) as error:
                raise CheckpointError(
                    f'{start}: {error}; give weights of this tool, and --widths at least as large'
                ) from error
        self.net = GeneralUNet(widths or WIDTHS)
        if state:
            self.net.load_state_dict(state)
        self.net = self.net.to(device, memory_format=torch.channels_last)
        self.average = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr, weight_decay=1e-4)

    @classmethod
    def resumed(cls, device: torch.device, lr: float, path: Path) -> Training:
        """One that goes on as if it had never been interrupted, as wide as it was."""
        import torch

        from mmclarity.restoration.general.network import widths_of

        saved = torch.load(path, map_location=device, weights_only=True)
        training = cls(device, lr, widths_of(saved['net']))
        training.net.load_state_dict(saved['net'])
        training.optimiser.load_state_dict(saved['optimiser'])
        training.step, training.spent = saved['step'], saved['spent']
        for name, value in saved['average'].items():
            training.average[name].copy_(value)
        return training

    def save(self, path: Path) -> None:
        """Writes the checkpoint that :meth:`resumed` takes."""
        import torch

        state = dict(net=self.net.state_dict(), optimiser=self.optimiser.state_dict())
        state |= dict(average=self.average, step=self.step, spent=self.spent)
        with replacing(path) as part:
            torch.save(state, part)

    def train(self, noisy: Tensor, clean: Tensor, noise: Tensor, rate: float) -> Tensor:
        """One step at a share of the learning rate; the loss, not yet waited for."""
        import torch

        from mmclarity.restoration.losses.ssim import mean_ssim

        for group in self.optimiser.param_groups:
            group['lr'] = self.lr * rate
        noisy, clean, noise = (
            value.to(self.device, non_blocking=True) for value in (noisy, clean, noise)
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.net(noisy, noise)
        similar = mean_ssim(out, clean, data_range=1.0, border='reflect').mean()
        loss = 1 - similar + (out - clean).abs().mean()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for weight in self.net.parameters():
            # of a step that overflowed nothing is learnt; asking whether it did would wait for it
            weight.grad.nan_to_num_(0.0, 0.0, 0.0)
        self.optimiser.step()
        self.step += 1
        decay = min(DECAY, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.values()), list(self.net.state_dict().values()), 1 - decay
            )
        return loss.detach()


def run(args: argparse.Namespace) -> None:
    """Trains and writes the weights."""
    begun = time.monotonic()  # the minutes include all preparation
    import torch

    from mmclarity.restoration.general.examples import ExampleBatches, example_loader

    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    args.work_dir.mkdir(parents=True, exist_ok=True)
    last = args.work_dir / 'last.pth'
    device = torch.device(args.device)
    if last.exists():
        training = Training.resumed(device, args.lr, last)
    else:
        training = Training(device, args.lr, args.widths, args.start)
    batches = ExampleBatches(
        args.data,
        args.batch,
        args.size,
        args.seed + training.step,
        args.phantoms,
        args.structures,
        args.sharp,
        args.renewed,
        shares=dict(args.shares),
    )
    first, budget = training.step, 60 * args.minutes
    begun, saved = begun - training.spent, time.monotonic()
    losses: list[Tensor] = []
    # kept by its name, so that the workers end after the weights are on the disk
    drawn = iter(example_loader(batches, args.workers, training.device))
    for batch in drawn:
        training.spent = time.monotonic() - begun
        if training.spent >= budget:
            break
        warm = min(1.0, (training.step - first + 1) / max(args.warm, 1))
        rate = warm * 0.5 * (1 + math.cos(math.pi * training.spent / budget))
        losses.append(training.train(*batch, rate))
        if len(losses) == REPORTED:
            loss = float(torch.stack(losses).mean())
            losses.clear()
            print(
                f'step {training.step}  {training.spent / 60:.1f} min  loss {loss:.4f}', flush=True
            )
        if time.monotonic() - saved > SAVED:
            saved = time.monotonic()
            training.save(last)
    took = max(time.monotonic() - begun, 1e-9)
    print(f'{training.step - first} steps, {(training.step - first) / took:.1f} a second in all')
    training.save(last)
    _save(training, args.work_dir / 'general.safetensors')


def _read(path: Path) -> tuple[dict[str, Tensor], int]:
    """The averaged weights of a training and their steps."""
    import torch
    from safetensors import safe_open

    if path.suffix != '.safetensors':
        saved = torch.load(path, map_location='cpu', weights_only=True)
        return saved['average'], saved['step']
    with safe_open(path, 'pt') as file:
        names, told = file.keys(), file.metadata() or {}
        return {name: file.get_tensor(name) for name in names}, int(told.get('steps', 0))


def _save(training: Training, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = {
        name: value.to('cpu', torch.float16).contiguous()
        for name, value in training.average.items()
    }
    metadata = dict(network='GeneralUNet', steps=str(training.step))
    with replacing(path) as part:
        save_file(weights, part, metadata=metadata)
    print(f'written: {path} ({training.step} steps)')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return finish(run, parse_args(argv), 'train_general_restorer.py')


if __name__ == '__main__':
    sys.exit(main())
