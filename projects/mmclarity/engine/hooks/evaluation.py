"""What only the built evaluation can tell, asked before the first epoch and not after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.errors import UsageError


@HOOKS.register_module()
class EvaluationCheckHook(Hook):
    """Refuses, before training, a ``save_best`` that is not measured and groups without data.

    A metric that knows its numbers beforehand says so by a method ``metric_names()``, without the
    prefix; of others only the prefix is compared. What a metric has in its attribute ``by`` must
    be known of the data set's images.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Compare.

        Raises:
            UsageError: naming what there is to choose from.
        """
        if runner.val_loop is None:
            return
        metrics = runner.val_evaluator.metrics
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best:
                for key in hook.key_indicators:
                    if key != 'auto':
                        _check_key(key, metrics)
        for metric in metrics:
            for name in getattr(metric, 'by', None) or ():
                _check_group(name, metric, runner.val_dataloader.dataset)


def _check_key(key: str, metrics: list[Any]) -> None:
    known: list[str] = []
    open_ended = False
    for metric in metrics:
        prefix = f'{metric.prefix}/' if getattr(metric, 'prefix', None) else ''
        names = getattr(metric, 'metric_names', None)
        if callable(names):
            known += [f'{prefix}{name}' for name in names()]
            groups = [*(getattr(metric, 'by', None) or ()), 'class']
            open_ended |= any(key.startswith(f'{prefix}{group}/') for group in groups)
        else:
            open_ended |= key.startswith(prefix)
            known.append(f'{prefix}...')
    if key not in known and not open_ended:
        raise UsageError(
            f'default_hooks.checkpoint.save_best={key!r}: the evaluation gives no such number, '
            f'but {", ".join(known)}'
        )


def _check_group(name: str, metric: Any, dataset: Any) -> None:
    for part in _innermost(dataset):
        info = getattr(part, 'get_data_info', None)
        if info is None or not len(part):
            continue
        known = info(0)
        if name not in known:
            texts = sorted(key for key, value in known.items() if isinstance(value, str))
            raise UsageError(
                f'{type(metric).__name__}: by={list(metric.by)}: the images of '
                f'{type(part).__name__} have no {name!r}; they have {", ".join(texts)}'
            )


def _innermost(dataset: Any) -> Iterator[Any]:
    inner = getattr(dataset, 'datasets', None) or (
        [dataset.dataset] if hasattr(dataset, 'dataset') else []
    )
    if not inner:
        yield dataset
    for part in inner:
        yield from _innermost(part)
