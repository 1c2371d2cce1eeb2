"""What tools/train.py and tools/test.py do, for mmdet's and mmagic's configs alike."""

import argparse
import os
import os.path as osp
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mmclarity import compat

compat.install()

from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.registry import RUNNERS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmclarity.engine.allocator import keep_freed_memory  # noqa: E402
from mmclarity.engine.config import load_config, resolve_data_roots  # noqa: E402
from mmclarity.engine.distributed import close_cpu_processes, setup_cpu_processes  # noqa: E402
from mmclarity.errors import UsageError  # noqa: E402
from mmclarity.utils import checkpoints as ckpt  # noqa: E402
from mmclarity.utils.models import unwrap  # noqa: E402

from .show import set_up_dump, set_up_show, set_up_tta  # noqa: E402


def _common_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file; also looked for in the repository')
    parser.add_argument(
        '--work-dir', help='folder for logs and results (default: work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on CUDA, bfloat16 on a CPU that has it',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings that replace those of the config, e.g. data_root=PATH '
        'train_cfg.max_epochs=3 key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes',
    )
    # torch.distributed.launch passes it with a hyphen, older versions with an underscore.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def train_parser() -> argparse.ArgumentParser:
    """Command line of tools/train.py."""
    parser = _common_parser('Train a model')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or without a value from the latest of the work directory',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size actually used',
    )
    parser.add_argument('--seed', type=int, help='random seed (replaces randomness.seed)')
    return parser


def test_parser() -> argparse.ArgumentParser:
    """Command line of tools/test.py."""
    parser = _common_parser('Test a model')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to this file')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir', metavar='NAME', help='write painted images to WORK_DIR/TIMESTAMP/NAME'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each window stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    return parser


def _prepare(args: argparse.Namespace) -> Config:
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if get_device() == 'cpu':
        keep_freed_memory()
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def _wrappers(cfg: Config) -> list[dict]:
    """The optimiser wrapper configs: one, or one per network of a GAN."""
    wrapper = cfg.get('optim_wrapper')
    if not wrapper:
        raise UsageError('the config has no optim_wrapper: it cannot be trained')
    if 'constructor' in wrapper and 'optimizer' not in wrapper:
        return [value for value in wrapper.values() if isinstance(value, dict)]
    return [wrapper]


def enable_amp(cfg: Config, train: bool = True) -> None:
    """Mixed precision: mmengine's way on CUDA, ours on the CPU (there in validation too).

    An ``AutocastOptimWrapper`` that the config has already keeps its own type on CUDA as well.

    On a CPU without bfloat16 units all stays in float32, which is faster there.
    """
    cuda = get_device() != 'cpu'
    for wrapper in _wrappers(cfg) if train else ():
        kind = wrapper.get('type', 'OptimWrapper')
        if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper'):
            raise UsageError(f'--amp cannot be combined with optim_wrapper type {kind!r}')
        if kind != 'AutocastOptimWrapper':
            wrapper['type'] = 'AmpOptimWrapper' if cuda else 'AutocastOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    if cuda and train:
        return
    set_hook(cfg, 'MixedPrecisionHook', evaluation=True)


def set_hook(cfg: Config, name: str, **options: Any) -> None:
    """Give a hook of ``custom_hooks`` these options; it is appended if it is not there."""
    hooks = list(cfg.get('custom_hooks') or [])
    mine = [hook for hook in hooks if isinstance(hook, dict) and hook.get('type') == name]
    for hook in mine:
        hook.update(options)
    cfg.custom_hooks = hooks if mine else [*hooks, dict(type=name, **options)]


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


def _build_runner(cfg: Config) -> Runner:
    setup_cpu_processes(cfg)
    return Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)


def train(args: argparse.Namespace) -> None:
    """Train as the parsed command line says.

    Raises:
        UsageError: for whatever the caller can mend.
    """
    cfg = _prepare(args)
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
    set_hook(cfg, 'RandomStateHook')
    set_hook(cfg, 'ClassListHook')
    saving = (cfg.get('default_hooks') or {}).get('checkpoint')
    if saving and saving.get('type') == 'CheckpointHook':
        saving['type'] = 'AtomicCheckpointHook'
    resumed = _set_resume(cfg, args)
    start = None
    if not cfg.get('resume') and cfg.get('load_from') and ckpt.is_local(cfg.load_from):
        start = ckpt.load_checkpoint_file(cfg.load_from)
    runner = _build_runner(cfg)
    if resumed is not None:
        ckpt.check_fits(resumed, unwrap(runner.model), cfg.load_from)
    if start is not None:
        unused = ckpt.check_start(start, unwrap(runner.model), cfg.load_from)
        if unused:
            runner.logger.warning(unused)
    del resumed, start  # not kept through the training
    runner.train()


def test(args: argparse.Namespace) -> None:
    """Test as the parsed command line says.

    Raises:
        UsageError: for whatever the caller can mend.
    """
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise UsageError(f'--out {args.out}: the name must end in .pkl or .pickle')
    cfg = _prepare(args)
    if not cfg.get('test_dataloader'):
        raise UsageError(f'config {args.config} has no test_dataloader')
    resolve_data_roots(cfg, ('test_dataloader',))
    cfg.load_from, cfg.resume = args.checkpoint, False
    loaded = None
    if ckpt.is_local(args.checkpoint):
        loaded = ckpt.load_checkpoint_file(args.checkpoint)
    if args.amp:
        enable_amp(cfg, train=False)
    if args.show or args.show_dir:
        set_up_show(cfg, args.show, args.show_dir, args.wait_time)
    if args.tta:
        set_up_tta(cfg)
    set_hook(cfg, 'ClassListHook')
    runner = _build_runner(cfg)
    if loaded is not None:
        model = unwrap(runner.model)
        ckpt.check_fits(loaded, model.module if args.tta else model, args.checkpoint)
        del loaded
    if args.out is not None:
        set_up_dump(runner, args.out)
    runner.test()


def run(
    command: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, run, and print a :class:`UsageError` without a traceback; returns the exit status."""
    args = parser.parse_args(argv)
    try:
        command(args)
        close_cpu_processes()
    except UsageError as error:
        print(f'{parser.prog}: error: {error}', file=sys.stderr)
        return 2
    return 0
