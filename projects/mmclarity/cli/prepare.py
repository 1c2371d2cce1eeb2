"""From a command line to a Runner: what training and testing share."""

import argparse
import logging
import os
import os.path as osp
import warnings
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmclarity.engine.allocator import keep_freed_memory
from mmclarity.engine.config import building, load_config
from mmclarity.engine.distributed import setup_cpu_processes
from mmclarity.engine.hooks.checkpoint import write_whole_files
from mmclarity.engine.logs import stop_at_full_disk
from mmclarity.errors import UsageError
from mmclarity.utils.files import full_disk_told


def prepare(args: argparse.Namespace) -> Config:
    """The config of a command line, with its options, its launcher and a work directory.

    Raises:
        UsageError: for a config that cannot be read, or one of several processes that does not know
            of the others.
    """
    world = os.environ.get('WORLD_SIZE', '1')
    if args.launcher == 'none' and 'RANK' in os.environ and world != '1':
        raise UsageError(
            f'RANK={os.environ["RANK"]} and WORLD_SIZE={world} are set, as torchrun does, but '
            '--launcher is not: each process would do all of the work on its own, in one folder. '
            'Give --launcher pytorch (tools/dist_train.sh and dist_test.sh do), or unset them'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if get_device() == 'cpu':
        keep_freed_memory()
    write_whole_files()
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


def save_whole(cfg: Config) -> None:
    """Put AtomicCheckpointHook in the place of mmengine's, however the config names that.

    Without or with a scope, as a class, among the default hooks or the custom ones, or not at all
    (mmengine then adds its own); a ``checkpoint`` of None stays so.
    """
    defaults = dict(cfg.get('default_hooks') or {})
    if 'checkpoint' not in defaults:
        defaults['checkpoint'] = dict(type='CheckpointHook', interval=1)
    cfg.default_hooks = defaults
    for hook in (cfg.default_hooks.checkpoint, *(cfg.get('custom_hooks') or ())):
        if not isinstance(hook, dict):
            continue
        kind = hook.get('type')
        name = kind.rpartition('.')[2] if isinstance(kind, str) else kind
        if name in ('CheckpointHook', CheckpointHook):
            hook['type'] = 'AtomicCheckpointHook'


def build_runner(cfg: Config) -> Runner:
    """The Runner of a config.

    Raises:
        UsageError: if a part of it cannot be built, with what the part says.
    """
    setup_cpu_processes(cfg)
    with full_disk_told(cfg.work_dir), building(cfg):
        runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    stop_at_full_disk(runner.logger)
    return runner


def try_optimizers(runner: Runner) -> None:
    """Build optimisers and schedulers once and forget them: mmengine builds them in its training.

    What the parts say there of a key or value would come without the config's name; some of it
    (a period of 0) only when a scheduler is asked for the second time.
    """
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers
    if not isinstance(runner, Runner) or not isinstance(wrapper, dict):
        return
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # a line for every parameter, which comes again
    try:
        runner.optim_wrapper = runner.build_optim_wrapper(wrapper)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the optimiser has not stepped
            built = runner.build_param_scheduler(schedulers) if schedulers is not None else []
            for group in built.values() if isinstance(built, dict) else [built]:
                for scheduler in group:
                    if not getattr(scheduler, 'need_val_args', False):
                        scheduler.step()
    finally:
        runner.optim_wrapper = wrapper
        logging.disable(before)
