"""Networks by name or config, with what is needed to show them images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmclarity.errors import LayerError, UsageError, said
from mmclarity.utils.checkpoints import load_weights
from mmclarity.utils.efficientnet_lite import MEAN, STD, WEIGHTS, build_efficientnet_lite
from mmclarity.utils.models import unwrap

from .normalisation import IMAGENET_MEAN, IMAGENET_STD, is_known, of_torchvision, preprocessing
from .script import NORMS, ScriptView, opened, refuse_frozen
from .sources import (
    RANDOM,
    cache_hint,
    checked,
    from_file,
    from_hub,
    from_hugging_face,
    from_timm,
)
from .untrained import randomise

SOURCES = {'timm': from_timm, 'hf': from_hugging_face, 'hub': from_hub}
# Endings of files of TorchScript.
SCRIPTS = ('.pt', '.pth', '.ts', '.torchscript')
# Of weights, and of networks that others run.
FILES = ('.onnx', '.safetensors', '.ckpt', '.bin', '.h5', '.keras', '.tflite', '.engine')
LITE0, LITE0_LAYERS = (
    'efficientnet_lite0',
    ('conv_stem', *(f'blocks.{i}' for i in range(7)), 'conv_head', 'global_pool', 'classifier'),
)
# What of an OpenMMLab model is called with plain images, in this order.
MODULES = ('backbone', 'generator')


@dataclass
class Network:
    """A network and how it wants its images.

    Args:
        name: For tables and figures.
        model: In evaluation mode.
        layers: Names of its stages, in network order.
        weights: Where they come from.
        mean: Of RGB images in [0, 1].
        std: Likewise.
        module: Dotted name of the part that is called; '' is the whole model.
        bgr: The part expects blue first.
        side: Of the square pictures it was trained on, in pixels; None: not known.
    """

    name: str
    model: nn.Module
    layers: Sequence[str]
    weights: str
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    module: str = ''
    bgr: bool = False
    side: int | None = None

    def layers_for(self, pool: str | None) -> list[str]:
        """Its stages; for the class token without those where it has not met the image yet.

        Raises:
            LayerError: If they could not be guessed.
        """
        if not self.layers:
            raise LayerError(
                f'{self.name} has no stages that can be guessed; name layers (--layers; '
                '--list-layers shows what there is)'
            )
        if pool != 'cls':
            return list(self.layers)
        return [layer for layer in self.layers if 'embed' not in layer.rpartition('.')[2].lower()]

    def forward(self, model: nn.Module | None = None) -> Callable[[Tensor], Any]:
        """What shows normalised RGB images (b, 3, H, W) to ``model``, or to this one."""
        part = (self.model if model is None else model).get_submodule(self.module)
        return fitting_forward(part, self.bgr)


def load(name: str, checkpoint: str | None = None, module: str | None = None) -> Network:
    """Build a network and load its weights.

    Args:
        name: A torchvision classifier, 'efficientnet_lite0', an OpenMMLab config (.py), a file of
            TorchScript (.pt, .pth, .ts), or
            'timm:NAME', 'hf:NAME' (Hugging Face; a name or a folder), 'hub:FOLDER:ENTRY'
            (torch.hub), 'file.py:function', whose result is a module or a :class:`Network`.
        checkpoint: File of weights, also of safetensors, or 'none' for random ones, also in the
            place of those that a script, a function or an entry brings. Defaults to
            the published weights of a named network; a config needs one.
        module: Part of the model to call. Defaults to ``backbone`` or ``generator`` of a config's
            model, the vision part of one of Hugging Face, or all of it.

    Raises:
        ValueError: If the name, the module or the weights do not fit.
        FileNotFoundError: If the checkpoint is missing.
        ModuleNotFoundError: If a package is missing, with the command that installs it.
    """
    kind, _, rest = name.partition(':')
    if name.endswith('.py'):
        return _from_config(name, checkpoint, module)
    if name.rpartition(':')[0].endswith('.py'):
        network = _of_file(name)
    elif name.endswith(SCRIPTS):
        network = _of_script(name)
    elif kind in SOURCES and rest:
        network = _of_source(name, SOURCES[kind](rest, checkpoint), checkpoint)
    elif name == LITE0:
        network = _lite0(checkpoint)
    else:
        network = _torchvision(name, checkpoint)
    network.model = opened(unwrap(network.model))
    if checkpoint == RANDOM:
        network.weights, network.side = RANDOM, None
        if kind == 'hub' or name.endswith(SCRIPTS) or name.rpartition(':')[0].endswith('.py'):
            randomise(network.model)  # they come with weights, trained or not
    elif checkpoint is not None:
        load_weights(network.model, checkpoint, network.name)
        network.weights = checkpoint
    if module is not None:
        _check_module(network.model, module, name)
        network.module = module
        network.layers = _guessed(network.model.get_submodule(module), module)
    network.model.eval()
    return network


def _of_source(name: str, found: tuple[nn.Module, str, dict], checkpoint: str | None) -> Network:
    model, weights, details = found
    module = details.get('module', '')
    layers = _guessed(model.get_submodule(module), module)
    return Network(name, model, layers, checkpoint or weights, **details)


def _of_file(spec: str) -> Network:
    """A network of the user's: a module, or a :class:`Network` that says more about it."""
    found = from_file(spec)
    if isinstance(found, Network):
        return found
    model = unwrap(checked(found, spec))
    return Network(spec.rpartition(':')[2], model, _guessed(model), spec)


def _of_script(path: str) -> Network:
    """A network that was saved by ``torch.jit.save``."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'--model {path}: there is no such file')
    try:
        with warnings.catch_warnings():
            # Deprecated for those who write scripts; there is no other way to read them.
            warnings.simplefilter('ignore', FutureWarning)
            warnings.simplefilter('ignore', DeprecationWarning)
            model = opened(torch.jit.load(path, map_location='cpu'))
    except RuntimeError as error:
        raise LayerError(
            f'--model {path}: it is not TorchScript (torch.jit.save). Weights are given by '
            '--checkpoint, beside the network they belong to'
        ) from error
    return Network(Path(path).stem, model, _guessed(model), path)


def _check_module(model: nn.Module, module: str, name: str) -> None:
    if module not in dict(model.named_modules()):
        children = ', '.join(child for child, _ in model.named_children())
        raise LayerError(f'{name}: the model has no module {module!r}; its parts are {children}')


def _lite0(checkpoint: str | None) -> Network:
    """EfficientNet-Lite0 with its classifier; trained on RGB of mean 127 and deviation 128."""
    model = build_efficientnet_lite(pretrained=checkpoint is None)
    weights = checkpoint or WEIGHTS.format(0)
    return Network(LITE0, model, LITE0_LAYERS, weights, (MEAN / 255,) * 3, (STD / 255,) * 3)


def _torchvision(name: str, checkpoint: str | None) -> Network:
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'torchvision is missing; install it with `pip install torchvision`'
        ) from error
    known = models.list_models(module=models)
    if name not in known:
        from difflib import get_close_matches

        if Path(name).is_file() or Path(name).suffix in FILES:
            raise LayerError(
                f'--model {name}: {Path(name).suffix or "such"} files are no networks that can be '
                f'looked into; give TorchScript ({", ".join(SCRIPTS)}), or file.py:function, and '
                'weights by --checkpoint'
            )
        near = get_close_matches(name, [*known, LITE0], n=5, cutoff=0.4)
        raise LayerError(
            f'unknown model {name!r}{"; nearest: " if near else ""}{", ".join(near)}. Or give an '
            'OpenMMLab config that ends in .py, timm:NAME, hf:NAME, hub:FOLDER:ENTRY or '
            'file.py:function'
        )
    try:
        published = models.get_model_weights(name).DEFAULT
        model = models.get_model(name, weights='DEFAULT' if checkpoint is None else None)
    except OSError as error:
        file = Path(published.url).name
        raise LayerError(
            f'the ImageNet weights of {name} cannot be downloaded ({error}). {cache_hint(file)}, '
            f'give --checkpoint FILE, or --checkpoint {RANDOM} for random weights'
        ) from error
    # Auxiliary classifiers (GoogLeNet, Inception) are run in training only.
    layers = [layer for layer in default_layers(model) if not layer.lower().startswith('aux')]
    shown = of_torchvision(published.transforms())
    return Network(name, model, layers, checkpoint or 'torchvision (ImageNet)', **shown)


def _from_config(path: str, checkpoint: str | None, module: str | None) -> Network:
    """The model of a config; its data preprocessor says how images are normalised."""
    if checkpoint is None:
        raise LayerError(
            f"{path}: a config needs weights; give --checkpoint FILE, or '{RANDOM}' for random "
            f'ones. Of a script name the function: {path}:FUNCTION'
        )
    from mmengine.registry import MODELS

    from mmclarity.engine.config import building, load_config, scope_of

    cfg = load_config(path)
    if 'model' not in cfg:
        raise LayerError(f'{path} has no model; give a config that trains one')
    with building(cfg), scope_of(cfg):
        model = MODELS.build(cfg.model).eval()
    if checkpoint != RANDOM:
        load_weights(model, checkpoint)
    else:
        randomise(model)
    if module is None:
        module = shown_part(model)
    else:
        _check_module(model, module, path)
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not is_known(preprocessor):
        warnings.warn(
            f'{path}: the data preprocessor of the model does not say how images are normalised; '
            "they are shown red first, by ImageNet's mean and deviation. Where the data set did it "
            'otherwise, give a function that returns a Network (file.py:function)',
            stacklevel=2,
        )
    mean, std, bgr = preprocessing(preprocessor)
    layers = _guessed(model.get_submodule(module), module)
    return Network(Path(path).stem, model, layers, checkpoint, mean, std, module, bgr)


def shown_part(model: nn.Module, names: Sequence[str] = MODULES) -> str:
    """Name of the part of an OpenMMLab model that is called with plain images; '' is all of it.

    mmagic's translation networks (Pix2Pix) hold their generators in a dict by what they make: one
    alone is taken.
    """
    for name in names:
        if hasattr(model, name):
            return name
    several = getattr(model, 'generators', None)
    if isinstance(several, nn.ModuleDict) and len(several) == 1:
        return f'generators.{next(iter(several))}'
    return ''


def fitting_forward(part: nn.Module, bgr: bool = False) -> Callable[[Tensor], Any]:
    """``part`` as it is called with images (b, 3, H, W), red first.

    A network whose first convolution takes one channel gets their mean, one that wants blue first
    gets them in that order.
    """
    first = next((m for m in part.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels == 1:
        return lambda images: part(images.mean(1, keepdim=True))
    return (lambda images: part(images.flip(1))) if bgr else part


def telling(forward: Callable[[Tensor], Any], what: str) -> Callable[[Tensor], Any]:
    """``forward``, whose own errors are of the network and no fault of who calls it.

    Raises:
        LayerError: In their place, beginning with ``what``.
    """

    def run(images: Tensor) -> Any:
        try:
            return forward(images)
        except (UsageError, MemoryError, OSError):
            raise
        except Exception as error:
            plain = isinstance(error, RuntimeError | AssertionError)
            kind = '' if plain else f'{type(error).__name__}: '
            raise LayerError(f'{what}: {kind}{said(error)}') from error

    return run


def _guessed(model: nn.Module, prefix: str = '') -> list[str]:
    """:func:`default_layers`; none where they cannot be guessed, so that layers must be named."""
    refuse_frozen(model)
    try:
        return default_layers(model, prefix)
    except LayerError:
        return []


def default_layers(model: nn.Module, prefix: str = '') -> list[str]:
    """The stages of a network: its children, and what lists of them (``Sequential``) hold.

    Single operations count if they have weights and are no normalisation. Of a child that is
    little more than one list, such as the encoder of a transformer, its stages count.
    """
    refuse_frozen(model)
    found: list[str] = []
    start = f'{prefix}.' if prefix else ''
    for name, child in model.named_children():
        if _is_list(child):
            found += [
                f'{start}{name}.{inner}'
                for inner, module in child.named_children()
                if _is_stage(module)
            ]
        elif _holds_a_list(child):
            found += default_layers(child, f'{start}{name}')
        elif _is_stage(child):
            found.append(f'{start}{name}')
    if not found:
        raise LayerError(f'{type(model).__name__} has no stages that can be guessed; name layers')
    return found


def _is_list(module: nn.Module) -> bool:
    if isinstance(module, ScriptView):
        return module.script_name in ('Sequential', 'ModuleList')
    return isinstance(module, nn.Sequential | nn.ModuleList)


def _holds_a_list(module: nn.Module) -> bool:
    """Whether all stages of a module are those of one list in it."""
    stages = [child for child in module.children() if _is_stage(child)]
    return len(stages) == 1 and _is_list(stages[0]) and len(list(stages[0].children())) > 1


def _is_stage(module: nn.Module) -> bool:
    norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)
    if isinstance(module, ScriptView):
        norm = module.script_name.startswith(NORMS)
    return not norm and any(True for _ in module.parameters())


def default_device() -> str:
    """'cuda' where there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'
