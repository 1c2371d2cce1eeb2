"""What mmclarity-train and tools/train.py do, for mmdet's and mmagic's configs alike."""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext

from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmclarity.engine.checks import check_config
from mmclarity.engine.coco_classes import check_coco_classes
from mmclarity.engine.coco_metrics import check_coco_metrics
from mmclarity.engine.config import building, resolve_data_roots
from mmclarity.engine.distributed import close_cpu_processes, is_first
from mmclarity.engine.hooks.freeze import TrainOnlyHook
from mmclarity.engine.work_dir import WorkDirLock
from mmclarity.errors import UsageError
from mmclarity.utils import checkpoints as ckpt
from mmclarity.utils.files import full_disk_told
from mmclarity.utils.models import unwrap
from mmclarity.utils.places import tool

from .main import run
from .options import train_parser
from .prepare import (
    build_runner,
    enable_amp,
    prepare,
    save_whole,
    set_hook,
    try_optimizers,
)


def _set_resume(cfg: Config, args: argparse.Namespace) -> dict | None:
    """Resolve ``--resume``; returns the checkpoint that training goes on from."""
    if args.resume is None and not cfg.get('resume'):
        return None
    path = args.resume if args.resume not in (None, 'auto') else None
    if path is None:
        path = (cfg.get('load_from') if args.resume is None else None) or ckpt.find_latest(
            cfg.work_dir
        )
    if path is None:
        print(f'No checkpoint in {cfg.work_dir}: training starts from the beginning.')
        cfg.resume = False
        return None
    cfg.resume, cfg.load_from = True, str(path)
    if not ckpt.is_local(cfg.load_from):
        return None
    checkpoint = ckpt.load_checkpoint_file(cfg.load_from)
    if 'optimizer' not in checkpoint or 'epoch' not in checkpoint.get('meta', {}):
        raise UsageError(
            f'checkpoint {path} holds no optimiser state: training cannot be resumed from it. '
            f'To start from its weights: --cfg-options load_from={path}'
        )
    seed = checkpoint['meta'].get('seed')
    if args.seed is not None and seed is not None and args.seed != seed:
        raise UsageError(
            f'--seed {args.seed}, but {path} was trained with seed {seed}: leave '
            '--seed out, or start a new run'
        )
    if seed is not None:
        # The samplers are built from it; mmengine would set it only after that.
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    return checkpoint


def train(args: argparse.Namespace) -> None:
    """Train as the parsed command line says.

    Raises:
        UsageError: for whatever the caller can mend.
    """
    cfg = prepare(args)
    loaders = [key for key in ('train_dataloader', 'val_dataloader') if cfg.get(key)]
    resolve_data_roots(cfg, tuple(loaders))
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UsageError(
                '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in '
                'the config: N is the batch size its learning rate was chosen for'
            )
        cfg.auto_scale_lr.enable = True
    check_config(cfg)
    check_coco_classes(cfg, loaders)
    check_coco_metrics(cfg, loaders)
    set_hook(cfg, 'RandomStateHook')
    set_hook(cfg, 'EvaluationCheckHook')
    set_hook(cfg, 'ClassListHook')
    set_hook(cfg, 'BareWeightsHook')
    if args.launcher != 'none':
        set_hook(cfg, 'SyncStatisticsHook')
    save_whole(cfg)
    # One process of a training holds the folder for all of them.
    with WorkDirLock(cfg.work_dir) if is_first(args.launcher) else nullcontext():
        _train(cfg, args)
        close_cpu_processes()


def _train(cfg: Config, args: argparse.Namespace) -> None:
    resumed = _set_resume(cfg, args)
    start = None
    if not cfg.get('resume') and cfg.get('load_from') == ckpt.SHIPPED:
        raise UsageError(
            f'load_from={ckpt.SHIPPED}: write the detector that ships as a checkpoint first: '
            f'python {tool("model_converters/shipped_to_checkpoint.py")} two_looks two_looks.pth'
        )
    if not cfg.get('resume') and cfg.get('load_from'):
        read = ckpt.load_checkpoint_file if ckpt.is_local(cfg.load_from) else ckpt.fetch
        start = read(cfg.load_from)
    runner = build_runner(cfg)
    if resumed is not None:
        ckpt.check_fits(resumed, unwrap(runner.model), cfg.load_from)
    if start is not None:
        unused = ckpt.check_start(start, unwrap(runner.model), cfg.load_from)
        _check_frozen(runner, start, cfg.load_from)
        if unused:
            runner.logger.warning(unused)
    del resumed, start  # not kept through the training
    with full_disk_told(cfg.work_dir), building(cfg):  # data sets among it
        _check_batches(runner)
        _check_averages(runner)
        if cfg.get('val_cfg') is not None:
            runner.val_loop  # noqa: B018
        try_optimizers(runner)
    with full_disk_told(cfg.work_dir):
        runner.train()


def _check_batches(runner: Runner) -> None:
    """Build the training loop; without a single batch its epochs would end as they begin."""
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop) and not len(loop.dataloader):
        images, size = len(loop.dataloader.sampler), loop.dataloader.batch_size
        raise UsageError(
            f'train_dataloader gives no batch: {images} images a process, and drop_last leaves '
            f'out a batch of fewer than {size}; lower train_dataloader.batch_size, or set '
            'train_dataloader.drop_last=False'
        )


def _check_averages(runner: Runner) -> None:
    """Say where averaged weights, which are tested and kept, hardly leave those of the start."""
    for hook in runner.hooks:
        if not isinstance(hook, EMAHook) or hook.ema_cfg['type'] != 'ExponentialMovingAverage':
            continue
        steps = runner.train_loop.max_iters
        momentum = hook.ema_cfg.get('momentum', 0.0002)
        left = (1 - momentum) ** steps
        if left > 0.2:
            runner.logger.warning(
                f'EMAHook: after {steps} steps the averaged weights, which are tested and kept, '
                f'still are {100 * left:.0f} % those of the start. So short a training wants '
                f'momentum={min(4 / steps, 0.5):.1g} (now {momentum})'
            )


def _check_frozen(runner: Runner, start: dict, path: str) -> None:
    """What is not trained must come from the checkpoint: else it stays as it was initialised."""
    for hook in runner.hooks:
        if isinstance(hook, TrainOnlyHook):
            model = unwrap(runner.model)
            anew = [name for name in ckpt.not_taken(start, model) if not hook.trains(name)]
            if anew:
                raise UsageError(
                    f'load_from={path}: {len(anew)} weights that TrainOnlyHook freezes are not in '
                    f'it, or of another shape, and would stay as initialised: {anew[0]}, ... Give '
                    'a checkpoint of the same detector without the head'
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run(train, train_parser(), argv)
