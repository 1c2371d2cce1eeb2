"""Time of whole detectors beside plain Faster R-CNN, on a GPU.

    python benchmarks/detector_speed.py --device cuda --json results.json
    python benchmarks/detector_speed.py --json results.json --page docs/benchmarks/cost.md

Part `heads`: a training step (forward, backward, SGD) and an inference of Faster R-CNN R-50 FPN
with each head, on random pictures of 1280x736. All have the same trunk, of random weights; each box
head's logits are stretched and moved so that one in fifty of its scores is above 0.05, as a trained
detector has few where a random one calls everything an object. Part `small`: inference of the
detectors that ship, on generated scenes of 960x540 in the computer's memory, until the scores are
back there.

All detectors of a table run in turn, every round beginning with another one, so that a change in
the machine's load meets all of them; a ratio to plain is that of two runs of the same round. Kept
are quartiles, and the peak of memory above what rests (see region_attention.py). A part that is not
measured stays as it is in the results. With --page nothing is measured: the tables of the results
are written between the marks `gpu` of a page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

import mmclarity.detection  # noqa: F401  (registers the heads; makes mmdet importable)
from mmclarity.detection.shipped import shipped_config, shipped_weights
from mmclarity.engine.config import load_config
from mmclarity.engine.hooks.precision import keep_float32
from mmclarity.errors import UsageError
from mmclarity.synthetic.murky import make_scene
from mmclarity.utils.allocator import keep_freed_memory
from mmclarity.utils.files import write_text
from mmclarity.utils.tables import replace_part
from timing import machine_line, measure, quartiles, table

PLAIN = 'plain'
# What a config is called here, and whether its second look goes without attention.
HEADS = {
    PLAIN: ('frcnn_bdd100k.py', False),
    'lambda': ('lambda_frcnn_bdd100k.py', False),
    'self-attention': ('sa_frcnn_t032_bdd100k.py', False),
    'source-target attention': ('sta_frcnn_t032_bdd100k.py', False),
    'two looks': ('context_frcnn_bdd100k.py', True),
    'two looks and attention': ('context_frcnn_bdd100k.py', False),
}
SHIPPED = (PLAIN, 'two_looks', 'context')
DTYPES = ('bfloat16', 'float32', 'float16')
OBJECTS, CLASSES = 18, 10  # of a frame of BDD100K, on average


def detectors(device: torch.device, proposals: int) -> dict[str, nn.Module]:
    """Those of HEADS, the same trunk in all of them."""
    models, trunk = {}, None
    for name, (config, alone) in HEADS.items():
        cfg = load_config(config)
        model_cfg = cfg.model
        model_cfg.backbone.init_cfg = None
        model_cfg.train_cfg.rpn_proposal.update(max_per_img=proposals)
        model_cfg.test_cfg.rpn.update(max_per_img=proposals)
        if alone:
            model_cfg.roi_head.bbox_head[1].update(cfg.heads.alone)
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(model_cfg)
            model.init_weights()
        trunk = trunk or {k: v for k, v in model.state_dict().items() if 'roi_head' not in k}
        model.load_state_dict(trunk, strict=False)
        models[name] = model.to(device)
    return models


def samples_of(batch: int, size: tuple[int, int], device: torch.device) -> list[DetDataSample]:
    """Objects at random places of pictures of this height and width."""
    samples, (height, width) = [], size
    for _ in range(batch):
        corner = torch.rand(OBJECTS, 2) * torch.tensor([width * 0.8, height * 0.8])
        side = torch.rand(OBJECTS, 2) * min(size) * 0.2 + 8
        same = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), size)
        sample = DetDataSample(metainfo=dict(same, scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1).to(device),
            labels=(torch.arange(OBJECTS) % CLASSES).to(device),
        )
        sample.ignored_instances = sample.gt_instances[:0]
        samples.append(sample)
    return samples


def calibrate(model: nn.Module, run: Callable[[], object], share: float = 0.02) -> None:
    """Gives each box head scores as of a trained one, in place.

    Its logits get a spread of 1.5, its background a surplus so that this share of the pairs of
    proposal and class has a score above 0.05.
    """
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
        seen: list[Tensor] = []
        hook = head.fc_cls.register_forward_hook(lambda *call: seen.append(call[2].float()))  # noqa: B023
        run()
        hook.remove()
        logits = torch.cat(seen)
        factor = 1.5 / max(float(logits.std()), 1e-6)
        low, high = -5.0, 30.0
        for _ in range(25):
            middle = (low + high) / 2
            moved = logits * factor
            moved[:, -1] += middle
            above = float((moved.softmax(1)[:, :-1] > 0.05).float().mean())
            low, high = (middle, high) if above > share else (low, middle)
        with torch.no_grad():
            head.fc_cls.weight.mul_(factor)
            head.fc_cls.bias.mul_(factor)
            head.fc_cls.bias[-1] += high


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple, dtype: torch.dtype
) -> None:
    """A training step; the sampler draws the same regions each time."""
    model.train()
    torch.manual_seed(0)
    with torch.autocast(data[0].device.type, dtype, enabled=dtype != torch.float32):
        losses = model(*data, mode='loss')
    total = sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if 'loss' in k)
    total.backward()
    optimizer.step()
    optimizer.zero_grad()


def inference(model: nn.Module, data: tuple, dtype: torch.dtype) -> list[DetDataSample]:
    """Detections of a batch that is on the device."""
    model.eval()
    with (
        torch.no_grad(),
        torch.autocast(data[0].device.type, dtype, enabled=dtype != torch.float32),
    ):
        return model(*data, mode='predict')


def use(
    model: nn.Module, frames: list[Tensor], device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """Scores of what is in frames (3, H, W) of uint8, from memory to memory."""
    size = tuple(frames[0].shape[1:])
    samples = [
        DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
        for _ in frames
    ]
    data = model.data_preprocessor(dict(inputs=list(frames), data_samples=samples), False)
    found = inference(model, (data['inputs'], data['data_samples']), dtype)
    return [one.pred_instances.scores.cpu() for one in found]


def benchmark_heads(args: argparse.Namespace, device: torch.device) -> dict[str, dict]:
    """By kind, such as 'step, float32', and detector."""
    models, size = detectors(device, args.proposals), args.heads_size
    torch.manual_seed(0)
    data = torch.randn(args.batch, 3, *size, device=device), samples_of(args.batch, size, device)
    for model in models.values():
        calibrate(model, partial(inference, model, (data[0][:2], data[1][:2]), torch.float32))
    kinds = {}
    for name in args.dtype:
        dtype = getattr(torch, name)
        if dtype != torch.float16:  # whose gradients would have to be scaled
            runs = {}
            for key, model in models.items():
                # The learning rate is nought, so that every round does the same work.
                optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
                runs[key] = partial(step, model, optimizer, data, dtype)
            kinds[f'step, {name}'] = summary(measure(runs, args.rounds, device, rotated=True))
            for model in models.values():
                model.zero_grad(set_to_none=True)
        runs = {key: partial(inference, model, data, dtype) for key, model in models.items()}
        kinds[f'inference, {name}'] = summary(measure(runs, args.rounds, device, rotated=True))
    return kinds


def benchmark_small(args: argparse.Namespace, device: torch.device) -> dict[str, dict]:
    """By number of frames at a time and type, such as '8, float32', and detector."""
    models, (height, width) = {}, args.small_size
    for name in SHIPPED:
        model = MODELS.build(ConfigDict(shipped_config(name)['model'], _scope_='mmdet'))
        model.load_state_dict(shipped_weights(name))
        keep_float32(model)  # as Detector does
        models[name] = model.to(device, memory_format=torch.channels_last).eval()
    scenes = [make_scene('val', i, 0, 0.5)[0] for i in range(args.batch)]
    frames = [
        torch.from_numpy(np.array(scene.resize((width, height)))[..., ::-1].copy()).permute(2, 0, 1)
        for scene in scenes
    ]
    kinds = {}
    for batch in sorted({1, args.batch}):
        for name in args.dtype:
            runs = {
                key: partial(use, model, frames[:batch], device, getattr(torch, name))
                for key, model in models.items()
            }
            kinds[f'{batch}, {name}'] = summary(measure(runs, args.rounds, device, rotated=True))
    return kinds


def summary(results: dict[str, dict]) -> dict[str, dict]:
    """Quartiles of the times in ms and of the ratios to plain in the same round."""
    plain, rows = results[PLAIN]['seconds'], {}
    for name, one in results.items():
        ratios = [a / b for a, b in zip(one['seconds'], plain, strict=True)]
        rows[name] = dict(
            ms=[round(1000 * value, 2) for value in quartiles(one['seconds'])],
            ratio=[round(value, 4) for value in quartiles(ratios)],
            rounds=len(ratios),
            peak_mb=None if one['peak_mb'] is None else round(one['peak_mb']),
        )
    return rows


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Both parts, or the one that is asked for."""
    device, results = torch.device(args.device), {}
    torch.backends.cudnn.benchmark = True
    parts = dict(heads=benchmark_heads, small=benchmark_small)
    for part in parts if args.part == 'all' else [args.part]:
        size = args.heads_size if part == 'heads' else args.small_size
        about = dict(machine=machine_line(device), torch=torch.__version__, size=list(size))
        if part == 'heads':
            about.update(batch=args.batch, proposals=args.proposals)
        results[part] = dict(about, kinds=parts[part](args, device))
    return results


def report(results: dict[str, Any]) -> str:
    """The parts that there are, as text and tables."""
    writers = dict(heads=heads_table, small=small_table)
    return '\n\n'.join(write(results[part]) for part, write in writers.items() if part in results)


def heads_table(found: dict[str, Any]) -> str:
    """A row a head, a column a kind."""
    kinds, rows = found['kinds'], []
    rows.append([f'{PLAIN}, ms', *(milliseconds(kind[PLAIN]) for kind in kinds.values())])
    for name in next(iter(kinds.values())):
        if name != PLAIN:
            rows.append([name, *(ratio(kind[name]) for kind in kinds.values())])
    peaks = [[row['peak_mb'] for row in kind.values()] for kind in kinds.values()]
    if all(map(all, peaks)):
        rows.append(['peak MB, plain / most', *(f'{own[0]:,} / {max(own):,}' for own in peaks)])
    return (
        f'R-50, batches of {found["batch"]} pictures of {extent(found)}, '
        f'{found["proposals"]} proposals, {where(found)}:\n\n{table(["", *kinds], rows)}'
    )


def small_table(found: dict[str, Any]) -> str:
    """A row a kind, a column a detector."""
    names = [name for name in SHIPPED if name != PLAIN]
    rows = []
    for kind, row in found['kinds'].items():
        batch = int(kind.partition(',')[0])
        speed = f'{1000 * batch / row[PLAIN]["ms"][1]:.0f}'
        rows.append([kind, milliseconds(row[PLAIN]), speed, *(ratio(row[name]) for name in names)])
    head = ['frames at a time', f'{PLAIN}, ms', 'frames/s', *(f'`{name}`' for name in names)]
    return f'Small detectors, frames of {extent(found)}, {where(found)}:\n\n{table(head, rows)}'


def extent(found: dict[str, Any]) -> str:
    height, width = found['size']
    return f'{width}x{height}'


def where(found: dict[str, Any]) -> str:
    """Machine, version and number of rounds of a part."""
    counts = sorted({row['rounds'] for kind in found['kinds'].values() for row in kind.values()})
    rounds = f'{counts[0]} to {counts[-1]}' if len(counts) > 1 else f'{counts[0]}'
    return f'{found["machine"]}, torch {found["torch"].partition("+")[0]}, {rounds} rounds'


def milliseconds(row: dict[str, Any]) -> str:
    low, median, high = row['ms']
    digits = 0 if median >= 100 else 1
    return f'{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'


def ratio(row: dict[str, Any]) -> str:
    low, median, high = row['ratio']
    return f'{median:.2f} ({low:.2f} to {high:.2f})'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--part', choices=['all', 'heads', 'small'], default='all')
    parser.add_argument('--device', default='cuda', help='cuda, cuda:N or cpu')
    parser.add_argument('--dtype', nargs='+', choices=DTYPES, default=['bfloat16', 'float32'])
    parser.add_argument('--batch', type=int, default=8, help='pictures at a time')
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--threads', type=int, help='of torch')
    parser.add_argument('--json', type=Path, help='results')
    parser.add_argument('--page', type=Path, help='Markdown page to write the results into')
    parser.add_argument('--quick', action='store_true', help='small pictures: a trial of all parts')
    args = parser.parse_args(argv)
    args.heads_size, args.small_size, args.proposals = (736, 1280), (540, 960), 1000
    if args.quick:
        args.heads_size, args.small_size, args.proposals = (96, 160), (144, 256), 50
    if min(args.batch, args.rounds) < 1:
        parser.error('--batch and --rounds must be positive')
    if args.page:
        if not args.json or not args.json.is_file():
            parser.error('--page takes its numbers from a file: give the results as --json')
        return args
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: torch sees no CUDA device; use --device cpu')
    if args.device == 'cpu' and 'float16' in args.dtype:
        parser.error('--dtype float16 is for a GPU')
    if args.json and not args.json.resolve().parent.is_dir():
        parser.error(f'--json {args.json}: the folder does not exist')
    return args


def main(argv: list[str] | None = None) -> None:
    """Measures, or writes the page."""
    args = parse_args(argv)
    kept = {}
    if args.json and args.json.is_file():
        kept = json.loads(args.json.read_text(encoding='utf-8'))
    if args.page:
        try:
            replace_part(args.page, 'gpu', report(kept))
        except (OSError, UsageError) as error:
            raise SystemExit(f'detector_speed.py: {error}') from error
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed_memory()
    MMLogger.get_instance('mmengine', log_level='ERROR')  # init_weights logs each parameter
    results = measured(args)
    print(report(results))
    if args.json:
        write_text(args.json, json.dumps(kept | results, indent=1))


if __name__ == '__main__':
    main()
