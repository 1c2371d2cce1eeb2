"""Train the general restorer that ships with the package.

    python tools/train_general_restorer.py --data ../shared/data --minutes 40

Clean images (sem_pairs/high without those that judge, sem_superalloy) and simulated ones are made
worse as they are drawn. The learning rate follows the clock: it has fallen to zero when the minutes
are over, whatever the machine. Interrupted, the same command goes on where the last checkpoint was
written. The weights (an average over the last steps) go to --out as half-precision safetensors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmclarity.utils.files import replacing

DECAY = 0.999  # of the average of weights
JUDGES = {f'{number:03d}' for number in range(31, 51)}  # 031-035 to choose by, 036-050 to judge by
ALLOY_JUDGES = 5  # the last ones by name
KINDS = ('spheres', 'alloy', 'phantom', 'structure')
SHARES = (0.42, 0.18, 0.15, 0.25)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder of the two data sets')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/general'))
    parser.add_argument('--minutes', type=float, default=40.0)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--size', type=int, default=128, help='of patches')
    parser.add_argument('--lr', type=float, default=4e-4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--structures', type=int, default=240)
    parser.add_argument('--phantoms', type=int, default=48)
    return parser.parse_args(argv)


def clean_images(data: Path, phantoms: int, structures: int) -> dict[str, list]:
    """Clean images by kind, each (H, W) float32 at full contrast."""
    from mmclarity.restoration.general.content import KINDS as SHAPES
    from mmclarity.restoration.general.content import make_structure
    from mmclarity.restoration.general.patches import stretched
    from mmclarity.restoration.io import list_images, read_sem
    from mmclarity.synthetic.phantom import PhantomSettings, make_phantom

    spheres = [p for p in list_images(data / 'sem_pairs/high') if p.stem not in JUDGES]
    alloy = list_images(data / 'sem_superalloy')[:-ALLOY_JUDGES]
    radii = [3.0, 4.5, 8.0, 16.0]
    return dict(
        spheres=[stretched(read_sem(path).unit) for path in spheres],
        alloy=[stretched(read_sem(path).unit) for path in alloy],
        phantom=[
            stretched(make_phantom(PhantomSettings(384, median_radius=radii[i % 4]), i).image)
            for i in range(phantoms)
        ],
        structure=[
            stretched(make_structure(sorted(SHAPES)[i % len(SHAPES)], 384, i))
            for i in range(structures)
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Trains; returns the exit status."""
    args = parse_args(argv)
    import numpy as np
    import torch

    from mmclarity.restoration.general import GeneralUNet
    from mmclarity.restoration.general.patches import draw_example
    from mmclarity.restoration.losses.ssim import mean_ssim

    torch.manual_seed(args.seed)
    images = clean_images(args.data, args.phantoms, args.structures)
    net = GeneralUNet().to(memory_format=torch.channels_last)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), args.lr, weight_decay=1e-4)
    step, spent = 0, 0.0
    args.work_dir.mkdir(parents=True, exist_ok=True)
    last = args.work_dir / 'last.pth'
    if last.exists():
        saved = torch.load(last, weights_only=True)
        net.load_state_dict(saved['net'])
        optimiser.load_state_dict(saved['optimiser'])
        average, step, spent = saved['average'], saved['step'], saved['spent']
    rng = np.random.default_rng([args.seed, step])
    budget, begun, told, losses = 60 * args.minutes, time.monotonic() - spent, time.monotonic(), []
    while (spent := time.monotonic() - begun) < budget:
        warm = min(1.0, (step + 1) / 300)
        for group in optimiser.param_groups:
            group['lr'] = args.lr * warm * 0.5 * (1 + math.cos(math.pi * spent / budget))
        kinds = rng.choice(KINDS, args.batch, p=SHARES)
        batch = [
            draw_example(images[kind][rng.integers(len(images[kind]))], args.size, rng)
            for kind in kinds
        ]
        noisy, clean, noise = (
            torch.from_numpy(np.stack([getattr(example, name) for example in batch]))
            for name in ('noisy', 'clean', 'noise')
        )
        with torch.autocast('cpu', torch.bfloat16):
            out = net(noisy[:, None], noise)
        clean = clean[:, None]
        similar = mean_ssim(out, clean, data_range=1.0, border='reflect').mean()
        loss = 1 - similar + (out - clean).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(DECAY, step / (step + 10))
        for name, value in net.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        losses.append(loss.item())
        if step % 100 == 0 or time.monotonic() - told > 120:
            told = time.monotonic()
            print(
                f'step {step}  {spent / 60:.1f} min  loss {np.mean(losses[-100:]):.4f}', flush=True
            )
            state = dict(net=net.state_dict(), optimiser=optimiser.state_dict())
            with replacing(last) as part:
                torch.save(state | dict(average=average, step=step, spent=spent), part)
    _save(average, args.work_dir / 'general.safetensors', step)
    return 0


def _save(average: dict, path: Path, step: int) -> None:
    import torch
    from safetensors.torch import save_file

    weights = {name: value.to(torch.float16).contiguous() for name, value in average.items()}
    with replacing(path) as part:
        save_file(weights, part, metadata=dict(network='GeneralUNet', steps=str(step)))
    print(f'written: {path}')


if __name__ == '__main__':
    sys.exit(main())
