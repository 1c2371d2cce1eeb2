"""Time and memory of attention among regions, beside public peers and beside plain Faster R-CNN.

    python benchmarks/region_attention.py --quick
    python benchmarks/region_attention.py --device cuda --json benchmark.json

Part `modules`: each module alone, forward and forward with backward, on one image's regions of
1024 dimensions, beside torch's nn.MultiheadAttention and, where it is installed, lambda-networks'
LambdaLayer. Part `steps`: a whole training step (forward, backward, SGD) and a whole inference of
Faster R-CNN R-50 FPN (random weights, one random image) with each head. All contenders of a table
run in turn (A B C A B C ...), so that a change in the machine's load meets all of them; a ratio is
that of two runs of the same round, and the table gives medians with the quartiles.

Memory is the highest use during a run above that at its start: on CUDA, of torch's allocator; on
Linux' CPU, of the process (VmHWM, reset through /proc/self/clear_refs); elsewhere it is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from region_modules import CONTENT, DIMS, cell_modules, region_modules
from torch import Tensor, nn

import mmclarity.detection  # noqa: F401  (registers the heads; makes mmdet importable)
from mmclarity.engine.allocator import keep_freed_memory
from mmclarity.utils.files import write_text
from timing import (
    machine_line,
    measure,
    megabytes,
    milliseconds,
    quartiles,
    table,
)

ROOT = Path(__file__).resolve().parents[1]


HEADS = {
    'plain': None,
    'self-attention': dict(attention=dict(type='RegionSelfAttention', temperature=0.32)),
    'source-target': dict(attention=dict(type='RegionSourceTargetAttention', temperature=0.32)),
    'lambda, content': dict(attention=dict(type='RegionLambda')),
    'lambda, + position': dict(attention=dict(type='RegionLambda', position=True)),
    'intra-region attention': dict(intra_attention=dict(type='IntraRegionAttention')),
    'intra-region lambda': dict(intra_attention=dict(type='IntraRegionAttention', kind='lambda')),
}


def benchmark_modules(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """One row a module and number of regions."""
    cases = [(n, (n, DIMS), region_modules(n, device, None)) for n in args.proposals]
    cases += [(n, (n, 256, 7, 7), cell_modules()) for n in args.proposals]
    cases += [
        (n, (n, DIMS), region_modules(n, device, [CONTENT]))
        for n in args.lambda_regions
        if n not in args.proposals
    ]
    rows = []
    for count, shape, modules in cases:
        x = torch.randn(shape, device=device)
        runs = {}
        for name, (module, call) in modules.items():
            module.to(device).train()
            runs[f'forward:{name}'] = partial(inference, module, call, x)
            runs[f'backward:{name}'] = partial(training, module, call, x)
        results = measure(runs, args.repeats, device)
        for name in modules:
            rows.append(
                dict(
                    module=name,
                    regions=count,
                    forward=results[f'forward:{name}'],
                    forward_backward=results[f'backward:{name}'],
                )
            )
        progress(f'modules, {shape}')
    return rows


def inference(module: nn.Module, call: Callable, x: Tensor) -> None:
    with torch.no_grad():
        call(module, x)


def training(module: nn.Module, call: Callable, x: Tensor) -> None:
    """Forward and backward, with the gradient of the input as inside a network."""
    x = x.detach().requires_grad_()
    call(module, x).sum().backward()
    module.zero_grad()


def detector(attention: dict | None, proposals: int) -> nn.Module:
    """Faster R-CNN R-50 FPN of 10 classes that samples and tests `proposals` regions."""
    cfg = Config.fromfile(ROOT / 'configs' / 'frcnn_bdd100k.py').model
    cfg.backbone.init_cfg = None
    if attention is not None:
        cfg.roi_head.type = 'RegionAttentionRoIHead'
        cfg.roi_head.bbox_head.update(type='RegionAttentionBBoxHead', **attention)
    cfg.train_cfg.rpn_proposal.update(nms_pre=2 * proposals, max_per_img=max(2 * proposals, 1000))
    cfg.train_cfg.rcnn.sampler.num = proposals
    cfg.test_cfg.rpn.update(nms_pre=2 * proposals, max_per_img=proposals)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
        model.init_weights()
    return model


def sample(height: int, width: int, device: torch.device) -> DetDataSample:
    """Twelve ground-truth boxes in an image."""
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(12, 2, generator=g) * torch.tensor([width * 0.8, height * 0.8])
    size = torch.rand(12, 2, generator=g) * min(width, height) * 0.2 + 8
    out = DetDataSample(
        metainfo=dict(
            img_shape=(height, width),
            ori_shape=(height, width),
            pad_shape=(height, width),
            batch_input_shape=(height, width),
            scale_factor=(1.0, 1.0),
        )
    )
    out.gt_instances = InstanceData(
        bboxes=torch.cat([corner, corner + size], 1).to(device),
        labels=(torch.arange(12) % 10).to(device),
    )
    out.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4, device=device),
        labels=torch.zeros(0, dtype=torch.long, device=device),
    )
    return out


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor, samples: list[DetDataSample]
) -> None:
    """Losses, gradients, SGD; the sampler draws the same regions each time."""
    torch.manual_seed(0)
    model.train()
    losses = model(image, samples, mode='loss')
    total = sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k)
    total.backward()
    optimizer.step()
    optimizer.zero_grad()


def test_step(model: nn.Module, image: Tensor, samples: list[DetDataSample]) -> None:
    """Detections of one image."""
    model.eval()
    with torch.no_grad():
        model(image, samples, mode='predict')


def count_regions(counts: dict, name: str, layer: nn.Module, args: tuple, out: Tensor) -> None:
    """A forward hook: how many regions were really classified (the RPN may yield fewer)."""
    counts[f'{"train" if layer.training else "test"}:{name}'] = len(out)


def benchmark_steps(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """One row a head and number of proposals, with time ratios to the plain detector."""
    height, width = (32 * max(1, round(s * args.scale / 32)) for s in (720, 1280))
    image = torch.randn(1, 3, height, width, device=device)
    samples = [sample(height, width, device)]
    rows = []
    for proposals in args.proposals:
        runs, regions = {}, {}
        for name, attention in HEADS.items():
            model = detector(attention, proposals).to(device)
            # The learning rate is nought, so that every round does the same work.
            optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
            model.roi_head.bbox_head.fc_cls.register_forward_hook(
                partial(count_regions, regions, name)
            )
            runs[f'train:{name}'] = partial(train_step, model, optimizer, image, samples)
            runs[f'test:{name}'] = partial(test_step, model, image, samples)
        results = measure(runs, args.repeats, device)
        for name in HEADS:
            row = dict(head=name, proposals=proposals, height=height, width=width)
            for kind in ('train', 'test'):
                own, plain = results[f'{kind}:{name}'], results[f'{kind}:plain']['seconds']
                ratios = [a / b for a, b in zip(own['seconds'], plain)]
                row[kind] = dict(own, ratios=ratios, regions=regions[f'{kind}:{name}'])
            rows.append(row)
        progress(f'steps, {proposals} proposals')
    return rows


def progress(text: str) -> None:
    """To stderr, so that stdout is the tables alone."""
    print(f'{time.strftime("%H:%M:%S")} done: {text}', file=sys.stderr, flush=True)


def module_table(rows: list[dict]) -> str:
    return table(
        [
            'module',
            'regions',
            'forward, ms',
            'forward + backward, ms',
            'peak forward, MB',
            'peak forward + backward, MB',
        ],
        [
            [
                r['module'],
                r['regions'],
                milliseconds(r['forward']['seconds']),
                milliseconds(r['forward_backward']['seconds']),
                megabytes(r['forward']['peak_mb']),
                megabytes(r['forward_backward']['peak_mb']),
            ]
            for r in rows
        ],
    )


def step_table(rows: list[dict], kind: str) -> str:
    lines = []
    for r in rows:
        low, median, high = quartiles(r[kind]['ratios'])
        lines.append(
            [
                r['head'],
                r['proposals'],
                r[kind]['regions'],
                milliseconds(r[kind]['seconds']),
                f'{median:.3f} ({low:.3f}-{high:.3f})',
                megabytes(r[kind]['peak_mb']),
            ]
        )
    name = dict(train='training step', test='inference')[kind]
    return table(
        [f'{name} with', 'proposals', 'regions judged', 'ms', 'ratio to plain', 'peak, MB'], lines
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--part', choices=['all', 'modules', 'steps'], default='all')
    parser.add_argument('--proposals', type=int, nargs='+', default=[512, 1000, 4000])
    parser.add_argument(
        '--lambda-regions',
        type=int,
        nargs='+',
        default=[8000, 16000],
        help=f'further numbers of regions for {CONTENT} alone',
    )
    parser.add_argument('--repeats', type=int, default=9, help='rounds that are timed')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--threads', type=int, help="CPU threads; default: torch's choice")
    parser.add_argument(
        '--scale', type=float, help='of the 1280x720 image; default 0.5 on the CPU, else 1'
    )
    parser.add_argument(
        '--keep-memory',
        action='store_true',
        help='let the process keep freed memory, as tools/train.py does',
    )
    parser.add_argument('--json', metavar='OUT', help='also write every timing there')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a trial of all parts in a minute; its numbers mean little',
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.proposals, args.lambda_regions, args.repeats, args.scale = [64, 128], [512], 2, 0.2
    if args.repeats < 1 or min(args.proposals + args.lambda_regions) < 1:
        parser.error('--repeats, --proposals and --lambda-regions must be positive')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: torch sees no CUDA device; use --device cpu')
    if args.scale is None:
        args.scale = 0.5 if args.device == 'cpu' else 1.0
    if args.scale <= 0:
        parser.error(f'--scale must be positive, got {args.scale}')
    if args.json and not Path(args.json).resolve().parent.is_dir():
        parser.error(f'--json {args.json}: the folder does not exist')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.keep_memory:
        keep_freed_memory()
    MMLogger.get_current_instance().setLevel('WARNING')  # init_weights logs each parameter
    warnings.filterwarnings('ignore', message='.*(pkg_resources|torch.meshgrid)')
    device = torch.device(args.device)
    machine = machine_line(device)
    results = dict(machine=machine, torch=torch.__version__, arguments=vars(args))
    print(
        f'{machine}; torch {torch.__version__}; float32; median (quartiles) of {args.repeats} '
        'rounds\n'
    )
    if args.part != 'steps':
        results['modules'] = benchmark_modules(args, device)
        print(module_table(results['modules']) + '\n')
    if args.part != 'modules':
        results['steps'] = rows = benchmark_steps(args, device)
        print(f'Faster R-CNN R-50 FPN, one image of {rows[0]["width"]}x{rows[0]["height"]}\n')
        print(step_table(rows, 'train') + '\n\n' + step_table(rows, 'test'))
    if args.json:
        write_text(args.json, json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
