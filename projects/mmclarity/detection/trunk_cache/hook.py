"""A cache serves the trunk that made it and no other."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.errors import UsageError
from mmclarity.utils.models import innermost, unwrap

from .files import settings_fingerprint, trunk_fingerprint


def trunk_settings(cfg: dict) -> dict:
    """What of a model's config decides about maps and proposals, beside the weights."""
    kept = {key: cfg.get(key) for key in ('backbone', 'neck', 'rpn_head')}
    kept['backbone'] = {
        key: value
        for key, value in (kept['backbone'] or {}).items()
        if key not in ('pretrained', 'init_cfg', 'frozen_stages', 'norm_eval')
    }
    pre = cfg.get('data_preprocessor') or {}
    kept['data_preprocessor'] = {
        key: pre.get(key) for key in ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor')
    }
    train, test = cfg.get('train_cfg') or {}, cfg.get('test_cfg') or {}
    return dict(kept, train=train.get('rpn_proposal'), test=test.get('rpn'))


@HOOKS.register_module()
class TrunkCacheHook(Hook):
    """Before training, validation and testing: the model's trunk must be the cache's.

    Compared are fingerprints of the weights that the model has now, whatever file they came from,
    and of the settings that decide about maps and proposals. Data sets that are no cache are passed
    over.

    Raises:
        UsageError: If weights or settings are others, or proposals of training are to be tested
            on or the other way round.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training set."""
        self._check(runner, runner.train_dataloader, 'train')

    def before_val(self, runner: Runner) -> None:
        """Check the validation set."""
        self._check(runner, runner.val_dataloader, 'test')

    def before_test(self, runner: Runner) -> None:
        """Check the test set."""
        self._check(runner, runner.test_dataloader, 'test')

    def _check(self, runner: Runner, loader: object, mode: str) -> None:
        for dataset in innermost(loader.dataset):
            manifest = getattr(dataset, 'manifest', None)
            if manifest is None:
                continue
            place = dataset.cache.folder
            remedy = (
                'give the checkpoint that it was made from (--cfg-options load_from=PATH), '
                'or make a cache of this one with tools/cache_trunk.py'
            )
            if manifest['mode'] != mode:
                raise UsageError(
                    f'{place}: a cache for {manifest["mode"]}ing, not for {mode}ing: '
                    'the numbers of proposals differ'
                )
            if manifest['trunk'] != trunk_fingerprint(unwrap(runner.model)):
                raise UsageError(
                    f'{place}: made by another trunk than this model has (backbone, '
                    f'neck and RPN have other weights); {remedy}'
                )
            if manifest['settings'] != settings_fingerprint(trunk_settings(runner.cfg.model)):
                raise UsageError(
                    f'{place}: made with other settings of backbone, neck, RPN or '
                    f'preprocessor than this config has; {remedy}'
                )
