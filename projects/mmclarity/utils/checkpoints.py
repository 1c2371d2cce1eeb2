"""Finding checkpoints, and telling whether one belongs to a model."""

import pickle
import re
import warnings
from pathlib import Path

import torch
from torch import nn

from mmclarity.compat import allow_checkpoint_types
from mmclarity.errors import CheckpointError

from .models import unwrap
from .places import tool

#: Given instead of a checkpoint: the weights of the package (a file of this name is ./shipped).
SHIPPED = 'shipped'
_NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
_SHOWN = 8


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint."""


def find_latest(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a work directory, or ``None``.

    ``last_checkpoint`` names it; where that file is missing, empty, or names a place that no
    longer exists (the directory was moved), the highest ``epoch_N.pth`` or ``iter_N.pth`` is it.
    """
    folder = Path(work_dir)
    note = folder / 'last_checkpoint'
    named = note.read_text(encoding='utf-8').strip() if note.is_file() else ''
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


def load_checkpoint_file(path: str | Path) -> dict:
    """Read a checkpoint onto the CPU; no code in it is run (``weights_only=True``).

    Args:
        path: what ``torch.save`` wrote (a state dict, or a dict with ``state_dict``), or
            ``.safetensors``.

    Returns:
        What the file holds; of ``.safetensors``, ``dict(state_dict=...)``.

    Raises:
        CheckpointError: if the file is missing (then also a ``FileNotFoundError``), empty, cut
            off, or no checkpoint.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        if not is_local(str(path)):
            raise MissingCheckpointError(
                f'checkpoint {path} is an address; fetch it and give the path of the file'
            )
        what = 'is a folder' if file.is_dir() else 'not found'
        raise MissingCheckpointError(f'checkpoint {what}: {path} (absolute: {file.absolute()})')
    if file.suffix == '.safetensors':
        return dict(state_dict=_read_safetensors(file))
    allow_checkpoint_types()
    try:
        checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'checkpoint {path} ({file.stat().st_size} bytes) cannot be read: it is damaged or no '
            'checkpoint, or it holds python objects beside tensors. '
            f'torch says: {_reason(error)}'
        ) from error
    except Exception as error:  # a file of other bytes makes the reader fail in any way
        raise CheckpointError(
            f'checkpoint {path} ({file.stat().st_size} bytes) is cut off or no checkpoint: copy it '
            f'again, or take an earlier one. torch says: {_first_line(error)}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(checkpoint).__name__}, not a dict')
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict):
        raise CheckpointError(
            f'checkpoint {path}: state_dict is a {type(weights).__name__}, not a dict of tensors'
        )
    odd = next((name for name in weights if not isinstance(name, str)), None)
    if odd is not None:
        raise CheckpointError(f'checkpoint {path} is damaged: a weight is called {odd!r}')
    return checkpoint


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f'checkpoint {file}: reading it takes a further package: pip install safetensors'
        ) from error
    try:
        return load_file(file)
    except Exception as error:  # its own class of error, without a base to catch it by
        raise CheckpointError(
            f'checkpoint {file} ({file.stat().st_size} bytes) is cut off or no safetensors file: '
            f'copy it again. The reader says: {_first_line(error)}'
        ) from error


def weights_of(checkpoint: dict) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, bare or under ``state_dict``, without a prefix ``module.``."""
    state = checkpoint.get('state_dict', checkpoint)
    return {
        name.removeprefix('module.'): value
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def load_weights(model: nn.Module, path: str | Path, name: str = '') -> None:
    """Load a checkpoint into a model that every weight must fit.

    Batch norm's counter of steps, which old checkpoints lack, may be missing. Names of compiled
    models are read without what ``torch.compile`` put into them. Weights may lie under ``model``,
    as timm, DINO and others have them, or ``model_state_dict``; or, of a part of what was trained
    (``backbone.``, ``model.``), under a prefix, which is told.

    Args:
        model: gets the weights.
        path: of the checkpoint.
        name: of the model, for messages; that of a config has none.

    Raises:
        CheckpointError: see :func:`load_checkpoint_file` and :func:`check_fits`.
    """
    model = unwrap(model)
    weights = weights_of(_nested(load_checkpoint_file(path)))
    checkpoint = {key.replace('_orig_mod.', ''): value for key, value in weights.items()}
    checkpoint = weights_of(checkpoint)  # compiled first and wrapped then, or the other way round
    checkpoint = _of_part(checkpoint, model, path)
    check_fits(checkpoint, model, str(path), name)
    model.load_state_dict(weights_of(checkpoint), strict=False)


def _nested(checkpoint: dict) -> dict:
    """The weights within a checkpoint of other libraries; one of mmengine's as it is."""
    if 'state_dict' in checkpoint or weights_of(checkpoint):
        return checkpoint
    for key in ('model', 'model_state_dict'):
        inner = checkpoint.get(key)
        if isinstance(inner, dict) and all(isinstance(name, str) for name in inner):
            return inner
    return checkpoint


def _of_part(
    checkpoint: dict[str, torch.Tensor], model: nn.Module, path: str | Path
) -> dict[str, torch.Tensor]:
    """The weights under the one prefix at which all of the model are; else all, as they are."""
    wanted = [name for name in model.state_dict() if not name.endswith('num_batches_tracked')]
    if not wanted or not checkpoint.keys().isdisjoint(wanted):
        return checkpoint
    ends = [name for name in checkpoint if name.endswith(f'.{wanted[0]}')]
    prefixes = [name.removesuffix(wanted[0]) for name in ends]
    whole = [start for start in prefixes if all(start + name in checkpoint for name in wanted)]
    if len(whole) != 1:
        return checkpoint
    found = {
        name.removeprefix(whole[0]): value
        for name, value in checkpoint.items()
        if name.startswith(whole[0])
    }
    warnings.warn(
        f'checkpoint {path}: the {len(found)} weights under {whole[0]!r} are taken'
        + (f', {len(checkpoint) - len(found)} others left' if len(checkpoint) > len(found) else ''),
        stacklevel=3,
    )
    return found


def fetch(address: str) -> dict:
    """Read a checkpoint from an address (``https://``, ``torchvision://``, ...), once a machine.

    Raises:
        CheckpointError: if it cannot be fetched or read.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    try:
        return CheckpointLoader.load_checkpoint(address, map_location='cpu', logger=None)
    except Exception as error:  # of the network, of the address, of what came
        raise CheckpointError(
            f'{address} cannot be fetched: {_first_line(error)}. Without a network, fetch the '
            'file elsewhere and give its path'
        ) from error


def _reason(error: Exception) -> str:
    """What torch found, without its advice to switch the check off."""
    _, found, reason = str(error).partition('WeightsUnpickler error:')
    lines = reason.strip().splitlines() if found else [_first_line(error)]
    return lines[0].partition('. Please use')[0] if lines else 'not what it writes'


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _listing(names: list[str]) -> str:
    shown = ', '.join(names[:_SHOWN])
    return f'{shown}, ... ({len(names)} in all)' if len(names) > _SHOWN else shown


def _compare(checkpoint: dict, model: nn.Module) -> tuple[dict[str, list[str]], int]:
    """What does not fit, by kind, and how many weights do."""
    there = weights_of(checkpoint)
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


def not_taken(checkpoint: dict, model: nn.Module) -> list[str]:
    """Names of the model's weights that a checkpoint lacks or has of another shape."""
    there = weights_of(checkpoint)
    return [
        name
        for name, value in model.state_dict().items()
        if not name.endswith('num_batches_tracked')
        and (name not in there or there[name].shape != value.shape)
    ]


def _lines(problems: dict[str, list[str]]) -> str:
    return ''.join(f'\n  {title}: {_listing(names)}' for title, names in problems.items())


def check_fits(checkpoint: dict, model: nn.Module, path: str, name: str = '') -> None:
    """Compare a checkpoint's weights with a model's, by name and shape.

    mmengine loads what fits and only logs the rest, so that a checkpoint of another model would be
    tested with weights that are partly random.

    Args:
        checkpoint: with ``state_dict``, or a bare state dict; a prefix ``module.`` is ignored.
        model: the unwrapped model.
        path: for the message.
        name: of the model; that of a config has none.

    Raises:
        CheckpointError: naming the weights that are missing, unknown, or of another shape.
    """
    problems, _ = _compare(checkpoint, model)
    if problems:
        which = name or 'the config describes'
        remedy = (
            'Give the network it belongs to, or load it in a function of yours (file.py:function)'
            if name
            else 'Give the config it was trained with (a copy lies beside it)'
        )
        raise CheckpointError(
            f'checkpoint {path} is of another model than {which}.{_lines(problems)}\n  {remedy}.'
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
        CheckpointError: if none of its weights fits the model by name and shape.
    """
    problems, fitting = _compare(checkpoint, model)
    if not fitting:
        raise CheckpointError(
            f'load_from={path}: none of its weights fits the model.{_lines(problems)}\n  Give a '
            "checkpoint of this kind of model; a backbone's weights alone go into "
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    if not problems:
        return None
    hint = _stages_hint(problems)
    said = {
        'missing in the checkpoint': 'start anew, missing in the checkpoint',
        'of another shape': 'dropped, of another shape',
        'unknown to the model': 'left, unknown to the model',
    }
    problems = {said[title]: names for title, names in problems.items()}
    return f'load_from={path}: {fitting} weights are taken over, not these:{_lines(problems)}{hint}'


def _stages_hint(problems: dict[str, list[str]]) -> str:
    """What to do where a detector with two looks starts from one whose box head looks once."""
    head = 'roi_head.bbox_head.'
    stages = {
        name[len(head) :].partition('.')[0]
        for name in problems.get('missing in the checkpoint', ())
        if name.startswith(head)
    }
    single = [
        name
        for name in problems.get('unknown to the model', ())
        if name.startswith(head) and not name[len(head)].isdigit()
    ]
    if not single or stages != {'0', '1'}:
        return ''
    return (
        '\n  The box head of the checkpoint, which looks once, is brought into both looks by '
        f'{tool("model_converters/plain_to_stages.py")}'
    )
