"""What mmclarity-test and tools/test.py do, for mmdet's and mmagic's configs alike."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from mmclarity.engine.checks import check_config
from mmclarity.engine.coco_classes import check_coco_classes
from mmclarity.engine.coco_metrics import check_coco_metrics
from mmclarity.engine.config import resolve_data_roots
from mmclarity.engine.distributed import close_cpu_processes
from mmclarity.engine.hooks.class_lists import ClassListHook
from mmclarity.errors import UsageError
from mmclarity.utils import checkpoints as ckpt
from mmclarity.utils.files import full_disk_told
from mmclarity.utils.models import unwrap
from mmclarity.utils.places import tool

from .main import run
from .options import test_parser
from .prepare import build_runner, enable_amp, prepare, set_hook
from .show import set_up_dump, set_up_show, set_up_tta


def _read(checkpoint: str) -> dict:
    local = ckpt.is_local(checkpoint)
    return (ckpt.load_checkpoint_file if local else ckpt.fetch)(checkpoint)


def test_model(args: argparse.Namespace) -> None:
    """Test as the parsed command line says.

    Raises:
        UsageError: for whatever the caller can mend.
    """
    _test(args)
    close_cpu_processes()


def _test(args: argparse.Namespace) -> None:
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise UsageError(f'--out {args.out}: the name must end in .pkl or .pickle')
    cfg = prepare(args)
    check_test(cfg, args.config)
    if args.amp:
        enable_amp(cfg, train=False)
    if args.show or args.show_dir:
        set_up_show(cfg, args.show, args.show_dir, args.wait_time)
    if args.tta:
        set_up_tta(cfg)
    runner = build_tester(cfg, args.checkpoint, args.tta)
    if args.out is not None:
        set_up_dump(runner, args.out)
    with full_disk_told(cfg.work_dir):
        runner.test()


def check_test(cfg: Config, config: str) -> None:
    """Refuse, before anything is built, what could not be tested or would count wrongly.

    Args:
        cfg: Its data roots are made those that are there.
        config: What it was read from, for messages.

    Raises:
        UsageError: Naming the place and the remedy.
    """
    if not cfg.get('test_dataloader'):
        raise UsageError(f'config {config} has no test_dataloader')
    resolve_data_roots(cfg, ('test_dataloader',))
    check_config(cfg, training=False)
    check_coco_classes(cfg, ['test_dataloader'])
    check_coco_metrics(cfg, ['test_dataloader'])


def build_tester(cfg: Config, checkpoint: str, tta: bool = False) -> Runner:
    """A runner that tests these weights; they are loaded when it does.

    Args:
        cfg: A checked one, see :func:`check_test`.
        checkpoint: A file, an address, or the word for the weights that ship.
        tta: Whether the model is wrapped for test-time augmentation.

    Raises:
        UsageError: If the checkpoint cannot be read, or is of another model or of other classes.
    """
    shipped = checkpoint == ckpt.SHIPPED
    cfg.load_from, cfg.resume = None if shipped else checkpoint, False
    loaded = None if shipped else _read(checkpoint)
    set_hook(cfg, 'ClassListHook')
    set_hook(cfg, 'BareWeightsHook')
    set_hook(cfg, 'EvaluationCheckHook')
    runner = build_runner(cfg)
    model = unwrap(runner.model)
    model = model.module if tta else model
    if shipped:
        _load_shipped(runner, model)
    else:
        ckpt.check_fits(loaded, model, checkpoint)
    return runner


def _load_shipped(runner: Runner, model: nn.Module) -> None:
    from mmclarity.detection.shipped import load_shipped, shipped_config

    name = load_shipped(model)
    print(f'The weights that ship with the package: {name}')
    for hook in runner.hooks:
        if isinstance(hook, ClassListHook):
            hook.weights_know(
                shipped_config(name)['metainfo']['classes'],
                'the weights that ship',
                'For classes of your own, train on from these weights '
                f'({tool("model_converters/shipped_to_checkpoint.py")} {name} {name}.pth; '
                'docs/user_guides/your_own_data.md)',
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run(test_model, test_parser(), argv)
