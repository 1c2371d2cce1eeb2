"""Do data, model and checkpoint speak of the same classes? Asked before the first iteration."""

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from mmclarity.errors import UsageError
from mmclarity.utils.models import unwrap

Names = tuple[str, ...]


@HOOKS.register_module()
class ClassListHook(Hook):
    """Stops a run whose class lists do not match, with both lists in the message.

    Compared are the classes of the training data with those of the validation data, of each data
    set with the ``num_classes`` of the model's box and mask heads, and, when a checkpoint is tested
    or resumed, with the classes that were written into it. Lists of other lengths, and one class at
    two places, are errors: a model would learn, or be credited with, the wrong names. Other
    names of the same number of classes are only warned about: they may be spellings.

    What has no class list, such as data for restoration, is left alone.

    Raises:
        UsageError: Naming the two parties, the first difference and the remedy.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._saved: Names = ()
        self._saved_in = 'the checkpoint'
        self._remedy = ''

    def weights_know(self, names: Sequence[str], whose: str, remedy: str) -> None:
        """Tell what weights know that were not read from a checkpoint.

        Args:
            names: Of the classes.
            whose: What the weights are called in a message.
            remedy: What to do if the data has other classes.
        """
        self._saved, self._saved_in, self._remedy = tuple(names), whose, remedy

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the classes of a checkpoint that is tested or resumed.

        One that training only starts from may have other classes: its last layers are learnt anew.
        """
        training = _is_training(runner) and not getattr(runner, '_resume', False)
        meta = checkpoint.get('meta') or {}
        self._saved = () if training else _names(meta.get('dataset_meta'))
        self._remedy = (
            'Give a checkpoint that was trained on the classes of the data'
            if not _is_training(runner)
            else ''
        )

    def before_train(self, runner: Runner) -> None:
        """Compare training data, validation data and model."""
        train = _names(_metainfo(runner._train_loop))
        self._check(runner, 'the training data', train)
        if runner._val_loop is not None:
            val = _names(_metainfo(runner._val_loop))
            self._check(runner, 'the validation data', val)
            compare(runner, 'the training data', train, 'the validation data', val)

    def before_val(self, runner: Runner) -> None:
        """Compare validation data and model, when nothing is trained."""
        if not _is_training(runner):
            self._check(runner, 'the validation data', _names(_metainfo(runner._val_loop)))

    def before_test(self, runner: Runner) -> None:
        """Compare test data, model and checkpoint."""
        self._check(runner, 'the test data', _names(_metainfo(runner._test_loop)))

    def _check(self, runner: Runner, party: str, names: Names) -> None:
        if not names:
            return
        compare(runner, self._saved_in, self._saved, party, names, self._remedy)
        wrong = {head: n for head, n in _head_classes(runner.model) if n != len(names)}
        if wrong:
            head, count = next(iter(wrong.items()))
            options = ' '.join(f'model.{one}.num_classes={len(names)}' for one in wrong)
            raise UsageError(
                f'model.{head} has num_classes={count}, but {party} has {len(names)} classes: '
                f'{", ".join(names)}. Set num_classes={len(names)} there (--cfg-options '
                f'{options}), or metainfo=dict(classes=...) of the data set'
            )


def _is_training(runner: Runner) -> bool:
    """Whether this run trains: a loop that is not needed stays a config."""
    return isinstance(runner._train_loop, BaseLoop)


def compare(
    runner: Runner, one: str, left: Names, other: str, right: Names, remedy: str = ''
) -> None:
    """Refuse lists of other lengths or order; warn of other names.

    Args:
        runner: for its logger.
        one: whose list ``left`` is, for the message.
        left: class names; empty if unknown: nothing is compared then.
        other: whose list ``right`` is.
        right: class names.
        remedy: for the message, if there is another one than to bring them to one list.

    Raises:
        UsageError: see :class:`ClassListHook`.
    """
    if not left or not right or left == right:
        return
    moved = [name for name in left if name in right and left.index(name) != right.index(name)]
    lists = f'{one}: {", ".join(left)}\n  {other}: {", ".join(right)}'
    if moved or len(left) != len(right):
        what = (
            f'{moved[0]!r} is class {left.index(moved[0])} of one and '
            f'{right.index(moved[0])} of the other'
            if moved
            else f'{len(left)} against {len(right)}'
        )
        same = 'set metainfo=dict(classes=...) of the data sets to one list, in one order'
        remedy = f'{remedy}. If they are the same classes, {same}' if remedy else f'S{same[1:]}'
        raise UsageError(f'class lists do not match ({what}):\n  {lists}\n  {remedy}')
    runner.logger.warning(f'Class names differ; are they spellings of one another?\n  {lists}')


def _metainfo(loop: Any) -> Any:
    """Of a loop's data set; loops over several data sets at once (mmagic) have none to compare."""
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    return getattr(dataset, 'metainfo', None)


def _names(metainfo: Any) -> Names:
    names = None
    if isinstance(metainfo, dict):
        names = metainfo.get('classes', metainfo.get('CLASSES'))
    if not isinstance(names, Sequence) or isinstance(names, str):
        return ()
    return tuple(map(str, names))


def _head_classes(model: Any) -> list[tuple[str, int]]:
    """Name and number of classes of every box and mask head."""
    return [
        (name, module.num_classes)
        for name, module in unwrap(model).named_modules()
        if {'bbox_head', 'mask_head'} & set(name.split('.'))
        and isinstance(getattr(module, 'num_classes', None), int)
    ]
