"""Options of tools/test.py: painted images, dumped predictions, test-time augmentation."""

import os
import warnings
from copy import deepcopy

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.runner import Runner

from mmclarity.engine.config import datasets
from mmclarity.engine.distributed import is_first
from mmclarity.errors import UsageError


def set_up_show(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Turn the config's visualisation hook on.

    Raises:
        UsageError: if the config has none.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not hook:
        raise UsageError(
            '--show and --show-dir need default_hooks.visualization in the config, e.g. '
            "visualization=dict(type='DetVisualizationHook')"
        )
    processes = os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or '1'
    launcher = cfg.get('launcher', 'none')
    if launcher != 'none' and processes != '1' and is_first(launcher):
        warnings.warn(
            f'in {processes} processes only the images of the first are painted, one in '
            f'{processes}; for all of them, test in one process',
            stacklevel=2,
        )
    hook['draw'] = True
    if show:
        hook['show'] = True
        hook['wait_time'] = wait_time
    if show_dir:
        hook['test_out_dir'] = show_dir
        if hook.get('type') in ('DetVisualizationHook', 'mmdet.DetVisualizationHook'):
            from mmclarity.detection.viewer import painting  # noqa: F401, registers it

            hook['type'] = 'mmdet.ApartVisualizationHook'


def set_up_dump(runner: Runner, path: str) -> None:
    """Have the predictions written to ``path`` (pickle) at the end of the test."""
    if runner.default_scope.scope_name == 'mmdet':
        from mmdet.evaluation import DumpDetResults

        metric = DumpDetResults(out_file_path=path)
    else:
        metric = DumpResults(out_file_path=path)
    runner.test_evaluator.metrics.append(metric)


def set_up_tta(cfg: Config) -> None:
    """Wrap model and pipeline for test-time augmentation; mmdet's horizontal flip by default.

    Raises:
        UsageError: for another scope whose config defines none, and for masks, which mmdet's
            ``DetTTAModel`` cannot join.
    """
    kind = str((cfg.get('tta_model') or {}).get('type', 'DetTTAModel'))
    head = cfg.model.get('roi_head') if cfg.get('default_scope') == 'mmdet' else None
    if kind.endswith('DetTTAModel') and (head or {}).get('mask_head'):
        raise UsageError(
            "--tta: mmdet's DetTTAModel joins boxes, no masks: test this model without it, or give "
            'the config a tta_model of your own'
        )
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        if cfg.get('default_scope') != 'mmdet':
            raise UsageError('--tta needs tta_model and tta_pipeline in the config')
        cfg.setdefault(
            'tta_model',
            dict(
                type='DetTTAModel',
                tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
            ),
        )
        if 'tta_pipeline' not in cfg:
            cfg.tta_pipeline = _flip_pipeline(next(datasets(cfg, 'test_dataloader')).pipeline)
    for dataset in datasets(cfg, 'test_dataloader'):
        dataset['pipeline'] = deepcopy(cfg.tta_pipeline)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _flip_pipeline(pipeline: list[dict]) -> list[dict]:
    pack = deepcopy(pipeline[-1])
    keys = tuple(
        pack.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
    )
    pack['meta_keys'] = (*keys, *(key for key in ('flip', 'flip_direction') if key not in keys))
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    return [*deepcopy(pipeline[:-1]), dict(type='TestTimeAug', transforms=[flips, [pack]])]
