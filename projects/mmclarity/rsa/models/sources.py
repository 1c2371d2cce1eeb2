"""Networks of other libraries and of the user: timm, Hugging Face, torch.hub, Python files."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmclarity.errors import LayerError

from .normalisation import of_processor

RANDOM = 'none'
# Name of the part of a Hugging Face model that sees images (CLIP, SigLIP, BLIP).
VISION = 'vision_model'


def from_timm(name: str, checkpoint: str | None) -> tuple[nn.Module, str, dict[str, Any]]:
    """A model of timm with the mean and deviation it was trained with.

    Raises:
        ModuleNotFoundError: If timm is missing, with the command.
        LayerError: If it has no such model, or its weights cannot be had.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{name} needs timm; install it with `pip install timm`'
        ) from error
    if not timm.is_model(name):
        near = timm.list_models(f'*{name.split(".")[0].split("_")[0]}*')[:5]
        raise LayerError(f'timm has no model {name!r}; nearest: {", ".join(near) or "none"}')
    model = _with_weights(
        lambda: timm.create_model(name, pretrained=checkpoint is None), f'timm:{name}'
    )
    cfg = model.pretrained_cfg
    details = dict(mean=cfg['mean'], std=cfg['std'], side=cfg['input_size'][-1])
    return model, f'timm {timm.__version__}', details


def from_hugging_face(name: str, checkpoint: str | None) -> tuple[nn.Module, str, dict[str, Any]]:
    """A vision model of transformers by name or folder; of models of two kinds, the vision part.

    Raises:
        ModuleNotFoundError: If transformers is missing, with the command.
        LayerError: If there is no such model, or its weights cannot be had.
    """
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModel
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'hf:{name} needs transformers; install it with `pip install transformers`'
        ) from error
    source = f'hf:{name}'
    if checkpoint is None:
        model = _with_weights(lambda: AutoModel.from_pretrained(name), source)
    else:
        config = _with_weights(lambda: AutoConfig.from_pretrained(name), source)
        model = AutoModel.from_config(config)
    details: dict[str, Any] = {}
    try:
        details = of_processor(AutoImageProcessor.from_pretrained(name, use_fast=False))
    except (OSError, ValueError):
        warnings.warn(
            f'{source} has no image processor that says how its images are normalised; they are '
            "shown by ImageNet's mean and deviation",
            stacklevel=2,
        )
    if hasattr(model, VISION):
        details['module'] = VISION
    return model, 'Hugging Face', details


def from_hub(spec: str, checkpoint: str | None) -> tuple[nn.Module, str, dict[str, Any]]:
    """An entry of a local ``torch.hub`` repository, ``folder:entry``.

    Raises:
        LayerError: If there is no such folder or entry, or it gives no module.
    """
    folder, _, entry = spec.rpartition(':')
    if not folder or not (Path(folder) / 'hubconf.py').is_file():
        raise LayerError(
            f'hub:{spec}: write hub:FOLDER:ENTRY; FOLDER must hold hubconf.py, {folder!r} does not'
        )
    module = _imported(Path(folder) / 'hubconf.py')
    known = [n for n, v in vars(module).items() if inspect.isfunction(v) and not n.startswith('_')]
    if entry not in known:
        raise LayerError(f'hub:{spec}: there is no {entry!r}; it has {", ".join(known)}')
    parameters = inspect.signature(getattr(module, entry)).parameters
    untrained = dict(pretrained=False, weights=None) if checkpoint is not None else {}
    arguments = {name: value for name, value in untrained.items() if name in parameters}
    model = _with_weights(
        lambda: torch.hub.load(folder, entry, source='local', **arguments), f'hub:{spec}'
    )
    return checked(model, f'hub:{spec}'), f'torch.hub ({folder})', {}


def from_file(spec: str) -> Any:
    """What a function of a Python file returns: ``file.py:function``, called without arguments.

    Raises:
        LayerError: If the file or the function is missing, fails, or gives no module.
    """
    file, _, name = spec.rpartition(':')
    path = Path(file)
    if not path.is_file():
        raise LayerError(f'{spec}: there is no file {path} (absolute: {path.absolute()})')
    module = _imported(path)
    function = getattr(module, name, None)
    if not callable(function):
        own = [n for n, v in vars(module).items() if callable(v) and not n.startswith('_')]
        raise LayerError(f'{spec}: {path} has no function {name!r}; it has {", ".join(own)}')
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise LayerError(
            f'{spec}: {name}() could not be called without arguments: {error}'
        ) from error
    except ValueError:
        pass  # what C code takes is not known
    try:
        return function()
    except Exception as error:
        raise LayerError(f'{spec}: {name}() fails, {_what_and_where(error, path)}') from error


def checked(model: Any, source: str) -> nn.Module:
    """The model, if it is one."""
    if not isinstance(model, nn.Module):
        raise LayerError(f'{source} gives a {type(model).__name__}; a torch.nn.Module is needed')
    return model


def _imported(path: Path) -> Any:
    """The module of a file, whose own folder it may import from."""
    spec = importlib.util.spec_from_file_location(f'_model_of_{path.stem}', path)
    if spec is None or spec.loader is None:
        raise LayerError(f'{path} is no Python file')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LayerError(f'{path} cannot be run: {_what_and_where(error, path)}') from error
    finally:
        sys.path.remove(str(path.parent.absolute()))
    return module


def _what_and_where(error: Exception, path: Path) -> str:
    """An error in a file of the user's, with the last line there that led to it."""
    steps = traceback.extract_tb(error.__traceback__)
    lines = [step.lineno for step in steps if Path(step.filename) == path.absolute()]
    where = f' ({path}, line {lines[-1]})' if lines else ''
    return f'{type(error).__name__}: {error}{where}'


def _with_weights(build: Callable[[], Any], source: str) -> Any:
    """A model whose weights may have to come from the net; without it, where to put them."""
    try:
        return build()
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        # LocalEntryNotFoundError and HTTP errors are OSErrors; a wrong name is one as well.
        raise LayerError(
            f'{source}: its weights are not here and cannot be downloaded '
            f'({_first_line(error)}). {cache_hint()}, give --checkpoint FILE, or --checkpoint '
            f'{RANDOM} for random weights'
        ) from error


def cache_hint(file: str | None = None) -> str:
    """Where weights are looked for on this machine."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    if file is not None:
        return f'Put {file} into {folder} (TORCH_HOME moves it)'
    try:
        from huggingface_hub.constants import HF_HUB_CACHE as hub
    except ImportError:
        return f'Put them into {folder} (TORCH_HOME moves it)'
    return f'Put them into {folder} or {hub} (TORCH_HOME and HF_HOME move these)'


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
