"""Checkpoints that are on disk either whole or not at all."""

import os.path as osp
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmclarity.errors import UsageError
from mmclarity.utils.files import write_bytes

BACKEND = 'atomic_local'


class AtomicLocalBackend(LocalBackend):
    """Local disk, each file written beside its place first and then moved onto it.

    See :func:`mmclarity.utils.files.replacing`: whoever looks sees the old file or the new one,
    whenever the writer is killed, and two writers do not mix. What a killed writer leaves behind
    goes with the next write; a full disk is told in one message, and takes no part of a file.
    """

    #: Whether a file is on the disk, safe from a power cut, before it gets its name.
    durable = True

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``, whose folder is made if it is missing."""
        write_bytes(filepath, obj, parents=True, durable=self.durable)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to ``filepath``, as :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


class WholeLocalBackend(AtomicLocalBackend):
    """For results, which can be made again: not synchronised with the disk."""

    durable = False


def write_whole_files() -> None:
    """Have whatever goes through mmengine's file layer on local disks written whole.

    Predictions (``DumpResults``), results of metrics and painted images among it.
    """
    register_backend('local', WholeLocalBackend, force=True, prefixes='')


@HOOKS.register_module()
class BareWeightsHook(Hook):
    """Lets training and testing start from a bare state dict: mmengine's EMAHook takes none.

    ``torch.save(model.state_dict())`` writes one, and so do many who publish weights.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put bare weights where a checkpoint has them, in place."""
        if 'state_dict' not in checkpoint:
            weights = dict(checkpoint)
            checkpoint.clear()
            checkpoint['state_dict'] = weights


class _RemovingLater:
    """A backend that notes what is to be removed and removes nothing."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    rmtree = remove


register_backend(BACKEND, AtomicLocalBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, safe against being killed at any moment.

    Two things differ, both only on a local disk: checkpoints and ``last_checkpoint`` are written
    by :class:`AtomicLocalBackend`, and an outdated checkpoint, or a former best one, is removed
    only after the newer one and ``last_checkpoint`` are in place (mmengine removes it first, so
    that a kill could leave none). A ``save_best`` that the evaluation does not give is told with
    the keys that it does. Arguments are those of ``CheckpointHook``.
    """

    file_backend: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        remote = '://' in str(self.out_dir or '')
        self.backend_args: dict | None
        if self.backend_args is None and self.file_client_args is None and not remote:
            self.backend_args = dict(backend=BACKEND)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._remember(runner, step)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        AtomicLocalBackend().put_text(self.last_ckpt, osp.join(runner.work_dir, 'last_checkpoint'))
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # sharded checkpoints are folders
                self.file_backend.rmtree(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As mmengine does it, but for the order: first write, then remove.

        Raises:
            UsageError: the evaluation gives no such number.
        """
        if not self.save_best:
            return
        missing = [key for key in self.key_indicators if key not in (*metrics, 'auto')]
        if missing or not metrics:
            raise UsageError(
                f'save_best={missing[0] if missing else "auto"!r}: the evaluation gives no such '
                f'number but {", ".join(metrics) or "none"}; name one of these'
            )
        backend = self.file_backend
        self.file_backend = later = _RemovingLater(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
            outdated = later.outdated
        finally:
            self.file_backend = backend
        best = {getattr(self, 'best_ckpt_path', None)}
        best |= set(getattr(self, 'best_ckpt_path_dict', {}).values())
        for path in outdated if is_main_process() else ():
            if path in best:  # written anew under the same name
                continue
            if backend.isfile(path):
                backend.remove(path)
            elif backend.isdir(path):
                backend.rmtree(path)

    def _remember(self, runner: Runner, step: int) -> list[int]:
        """Note that ``step`` is being saved; return the steps that are outdated by it."""
        if self.max_keep_ckpts <= 0:
            return []
        outdated = []
        if step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return outdated
