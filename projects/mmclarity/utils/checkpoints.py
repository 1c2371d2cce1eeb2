"""Finding checkpoints, and telling whether one belongs to a model."""

import pickle
import re
from pathlib import Path

import torch
from torch import nn

from mmclarity.errors import UsageError

_NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
_SHOWN = 8


def find_latest(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a work directory, or ``None``.

    ``last_checkpoint`` names it; where that file is missing, empty, or names a place that no
    longer exists (the directory was moved), the highest ``epoch_N.pth`` or ``iter_N.pth`` is it.
    """
    folder = Path(work_dir)
    note = folder / 'last_checkpoint'
    named = note.read_text().strip() if note.is_file() else ''
    if named:
        # The directory itself first: after a copy, the name still points to the original.
        for path in (folder / Path(named).name, Path(named)):
            if path.is_file():
                return path
    numbered = [
        (int(match[1]), file.stat().st_mtime, file)
        for file in folder.glob('*.pth')
        if (match := _NUMBERED.fullmatch(file.name))
    ]
    return max(numbered)[2] if numbered else None


def is_local(path: str) -> bool:
    """Whether a checkpoint's name is a file on this machine, not an address."""
    return '://' not in path


def load_checkpoint_file(path: str) -> dict:
    """Read a checkpoint onto the CPU with ``weights_only=True``.

    Raises:
        UsageError: if the file is missing, empty, cut off, or no checkpoint.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f'checkpoint not found: {path} (absolute: {file.absolute()})')
    try:
        checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f'checkpoint {path} ({file.stat().st_size} bytes) cannot be read: it is damaged or no '
            'checkpoint, or it holds python objects beside tensors. '
            f'torch says: {_first_line(error)}'
        ) from error
    except Exception as error:  # a file of other bytes makes the reader fail in any way
        raise UsageError(
            f'checkpoint {path} ({file.stat().st_size} bytes) is cut off or no checkpoint: copy it '
            f'again, or take an earlier one. torch says: {_first_line(error)}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise UsageError(f'checkpoint {path} holds a {type(checkpoint).__name__}, not a dict')
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict):
        raise UsageError(
            f'checkpoint {path}: state_dict is a {type(weights).__name__}, not a dict of tensors'
        )
    return checkpoint


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _listing(names: list[str]) -> str:
    shown = ', '.join(names[:_SHOWN])
    return f'{shown}, ... ({len(names)} in all)' if len(names) > _SHOWN else shown


def _compare(checkpoint: dict, model: nn.Module) -> tuple[dict[str, list[str]], int]:
    """What does not fit, by kind, and how many weights do."""
    state = checkpoint.get('state_dict', checkpoint)
    there = {
        re.sub(r'^module\.', '', name): value
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    wanted = model.state_dict()
    problems = {
        # Batch norm's counter of steps changes nothing in testing; old checkpoints lack it.
        'missing in the checkpoint': [
            name
            for name in wanted
            if name not in there and not name.endswith('num_batches_tracked')
        ],
        'unknown to the model': [name for name in there if name not in wanted],
        'of another shape': [
            f'{name} (checkpoint {tuple(there[name].shape)}, model {tuple(value.shape)})'
            for name, value in wanted.items()
            if name in there and there[name].shape != value.shape
        ],
    }
    fitting = sum(
        name in there and there[name].shape == value.shape for name, value in wanted.items()
    )
    return {title: names for title, names in problems.items() if names}, fitting


def _lines(problems: dict[str, list[str]]) -> str:
    return ''.join(f'\n  {title}: {_listing(names)}' for title, names in problems.items())


def check_fits(checkpoint: dict, model: nn.Module, path: str) -> None:
    """Compare a checkpoint's weights with a model's, by name and shape.

    mmengine loads what fits and only logs the rest, so that a checkpoint of another model would be
    tested with weights that are partly random.

    Args:
        checkpoint: with ``state_dict``, or a bare state dict; a prefix ``module.`` is ignored.
        model: the unwrapped model.
        path: for the message.

    Raises:
        UsageError: naming the weights that are missing, unknown, or of another shape.
    """
    problems, _ = _compare(checkpoint, model)
    if problems:
        raise UsageError(
            f'checkpoint {path} is of another model than the config describes.{_lines(problems)}\n'
            '  Give the config it was trained with (a copy lies beside it).'
        )


def check_start(checkpoint: dict, model: nn.Module, path: str) -> str | None:
    """Compare a checkpoint that training only starts from (``load_from``) with a model.

    It may lack what is new (a head put into a trained detector) and differ where classes do.

    Args:
        checkpoint: with ``state_dict``, or a bare state dict; a prefix ``module.`` is ignored.
        model: the unwrapped model.
        path: for the message.

    Returns:
        What of the model starts anew and what of the checkpoint is not used; None if all fits.

    Raises:
        UsageError: if none of its weights fits the model by name and shape.
    """
    problems, fitting = _compare(checkpoint, model)
    if not fitting:
        raise UsageError(
            f'load_from={path}: none of its weights fits the model.{_lines(problems)}\n  Give a '
            "checkpoint of this kind of model; a backbone's weights alone go into "
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    if not problems:
        return None
    return f'load_from={path}: {fitting} weights are taken over, not these:{_lines(problems)}'
