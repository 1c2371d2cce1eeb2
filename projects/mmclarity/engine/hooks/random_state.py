"""Random states that travel in the checkpoint, so that a resumed run repeats the unbroken one."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner

KEY = 'random_state'


def get_random_state() -> dict[str, Any]:
    """States of python's, numpy's and torch's generators, in types ``weights_only`` loads.

    Returns:
        ``python``: list of version, list of 625 integers, and ``None`` or a float; ``numpy``: list
        of name, (624,) int64 tensor, position, flag, float; ``torch``: uint8 tensor; ``cuda``:
        uint8 tensor of the current device, or ``None``.
    """
    version, internal, gauss = random.getstate()
    state: Any = np.random.get_state()
    name, keys, position, has_gauss, cached = state
    keys = torch.from_numpy(keys.astype(np.int64))
    return dict(
        python=[version, list(internal), gauss],
        numpy=[name, keys, int(position), int(has_gauss), float(cached)],
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    )


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what :func:`get_random_state` returned."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state['numpy']
    keys = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, cached))
    # A checkpoint may have been loaded onto another device; generators take host tensors.
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


class _RestoringIterator:
    """Passes items on; just before item number ``skip`` is fetched, it calls ``restore``.

    mmengine's iteration-based loop fetches and drops all batches that were trained on before the
    break, which draws random numbers in the data pipeline; there is no hook between that and the
    first new batch.
    """

    def __init__(self, iterator: Iterator, skip: int, restore: Callable[[], None]) -> None:
        self._iterator, self._left, self._restore = iterator, skip, restore

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self._left == 0:
            self._restore()
        self._left -= 1
        return next(self._iterator)


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random states in every checkpoint and restores them on ``--resume``.

    With a checkpoint per epoch (iteration-based loop: at any iteration), ``num_workers=0`` and the
    CPU, a run that is killed and resumed ends with the same weights as one that is not.
    Validation does not disturb training: the states before it are put back after it, because a
    resumed run does not repeat the validation that followed its checkpoint.

    In a distributed run every process has its own states; they are gathered when a checkpoint is
    due and restored if the number of processes is the same. Worker processes of a data loader
    have generators of their own, seeded by mmengine; those are not restored.
    """

    # After the hooks that draw random numbers, before CheckpointHook (VERY_LOW).
    priority = 'LOW'

    def __init__(self) -> None:
        self._loaded: list[dict] | None = None
        self._gathered: list[dict] | None = None
        self._before_val: dict | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states of all processes, as a list by rank (main process only)."""
        if get_world_size() > 1 and self._gathered is not None:
            checkpoint[KEY] = self._gathered
        else:
            checkpoint[KEY] = [self._before_val or get_random_state()]

    def _gather(self) -> None:
        # Checkpoints are written by the main process alone: it asks the others beforehand.
        if get_world_size() > 1:
            self._gathered = all_gather_object(get_random_state())

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather the states for the checkpoint of this epoch."""
        self._gather()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Gather the states if a checkpoint is due after this iteration."""
        if get_world_size() > 1 and any(is_due(hook, runner) for hook in runner.hooks):
            self._gather()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the states of a checkpoint that training is resumed from."""
        self._loaded = checkpoint.get(KEY) if getattr(runner, '_resume', False) else None

    def before_train_epoch(self, runner: Runner) -> None:
        """Restore the states once, as late as the kind of loop allows."""
        if self._loaded is None:
            return
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop) and loop.iter > 0:
            loop.dataloader_iterator = _RestoringIterator(
                loop.dataloader_iterator, loop.iter, lambda: self._restore(runner)
            )
        else:
            self._restore(runner)

    def _restore(self, runner: Runner) -> None:
        states, self._loaded = self._loaded or [], None
        if len(states) != get_world_size():
            runner.logger.warning(
                f'The checkpoint holds random states of {len(states)} processes, this run has '
                f'{get_world_size()}: they are not restored, the run goes on with other draws.'
            )
            return
        set_random_state(states[get_rank()])

    def before_val(self, runner: Runner) -> None:
        """Note the states that training will go on with."""
        self._before_val = get_random_state()
        self._gather()

    def after_val(self, runner: Runner) -> None:
        """Put them back."""
        if self._before_val is not None:
            set_random_state(self._before_val)
            self._before_val = None


def is_due(hook: Hook, runner: Runner) -> bool:
    """Whether ``hook`` writes a checkpoint at the end of the current iteration."""
    if not isinstance(hook, CheckpointHook) or hook.by_epoch:
        return False
    return hook.every_n_train_iters(runner, hook.interval, hook.save_begin) or (
        hook.save_last and hook.is_last_train_iter(runner)
    )
