"""The weights that ship with the package: detectors with one trunk, and a head each.

One file of safetensors holds all: names that begin with ``trunk.`` belong to every detector, names
that begin with a detector's name to one. Weights are in half precision, what has one
dimension (norms, biases) in float32. The file's metadata hold, for each detector, its model's
config, test pipeline and classes as the text of Python literals. ``tools/pack_detectors.py``
writes it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmclarity.errors import CheckpointError, UsageError
from mmclarity.utils.models import unwrap

FILE = Path(__file__).parent / 'detectors.safetensors'
#: What ships: two looks at every proposal, without attention among them and with it, and one look.
#: The first is the default.
DETECTORS = ('two_looks', 'context', 'plain')
TRUNK = 'trunk'


def _open(path: Path):
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f'{path}: reading it takes a further package: pip install safetensors'
        ) from error
    if not path.is_file():
        raise CheckpointError(f'{path}: no such file; install the package again')
    try:
        return safe_open(path, framework='pt')
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path}: cannot be read: {error}; install again') from error


def _known(name: str) -> str:
    if name not in DETECTORS:
        raise UsageError(f'no detector called {name!r} ships; there are {", ".join(DETECTORS)}')
    return name


def shipped_weights(name: str = DETECTORS[0], path: str | Path = FILE) -> dict[str, Tensor]:
    """The state dict of a shipped detector, in float32; counts are whole numbers.

    Args:
        name: One of ``DETECTORS``.
        path: The file.

    Raises:
        UsageError: If there is no such detector.
        CheckpointError: If the file is missing or damaged.

    Examples:
        >>> from mmclarity.detection.shipped import shipped_weights
        >>> weights = shipped_weights('plain')
        >>> tuple(weights['roi_head.bbox_head.fc_cls.weight'].shape)
        (11, 512)
    """
    parts = (f'{TRUNK}.', f'{_known(name)}.')
    with _open(Path(path)) as file:
        found = {
            key.partition('.')[2]: file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118  (no mapping)
            if key.startswith(parts)
        }
    return {
        key: value.float() if value.is_floating_point() else value for key, value in found.items()
    }


def shipped_config(name: str = DETECTORS[0], path: str | Path = FILE) -> dict[str, Any]:
    """What a shipped detector is built from.

    Args:
        name: One of ``DETECTORS``.
        path: The file.

    Returns:
        ``model`` (config), ``pipeline`` (list of transforms, for testing), ``dataset`` (type),
        ``metainfo`` (classes, palette).

    Raises:
        UsageError: If there is no such detector.
        CheckpointError: If the file is missing or damaged.

    Examples:
        >>> from mmclarity.detection.shipped import shipped_config
        >>> told = shipped_config()
        >>> told['config'], told['metainfo']['classes'][:3]
        ('two_looks_frcnn_bdd100k_fine.py', ('pedestrian', 'rider', 'car'))
    """
    with _open(Path(path)) as file:
        text = (file.metadata() or {}).get(_known(name))
    if text is None:
        raise CheckpointError(f'{path}: holds no config of {name!r}; install the package again')
    return ast.literal_eval(text)


def load_shipped(model: nn.Module, path: str | Path = FILE) -> str:
    """Load the shipped weights that belong to a model into it.

    Args:
        model: A detector as configs/frcnn_bdd100k_fine.py or one with two looks describes it.
        path: The file.

    Returns:
        Which of ``DETECTORS`` it is.

    Raises:
        CheckpointError: If the model is none of them, or the file is missing or damaged.

    Examples:
        >>> from mmdet.registry import MODELS
        >>> from mmengine.config import ConfigDict
        >>> from mmclarity.detection.shipped import load_shipped, shipped_config
        >>> model = MODELS.build(ConfigDict(shipped_config('plain')['model'], _scope_='mmdet'))
        >>> load_shipped(model)
        'plain'
    """
    model = unwrap(model)
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    for name in DETECTORS:
        weights = shipped_weights(name, path)
        if {key: value.shape for key, value in weights.items()} == wanted:
            model.load_state_dict(weights)
            return name
    configs = ', '.join(
        f'{shipped_config(name, path).get("config", "?")} ({name})' for name in DETECTORS
    )
    raise CheckpointError(
        f'the shipped weights belong to other models than this one: {configs}; their ten classes '
        'are of the road. For classes of your own, train on from them: '
        'docs/user_guides/your_own_data.md'
    )


def split_weights(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """State dicts of several detectors as one, what all have in common stored once.

    Args:
        states: By the detector's name.

    Returns:
        Names with the prefixes ``trunk.`` or the detector's; in half precision, one-dimensional
        values in float32, counters as they are.

    Raises:
        UsageError: If backbone, neck or RPN differ, or a value is too large for half precision.
    """
    packed = {}
    first, *others = states.values()
    for detector, state in states.items():
        for key, value in state.items():
            shared = not key.startswith('roi_head.')
            if shared and not all(torch.equal(other[key], first[key]) for other in others):
                raise UsageError(f'{key} differs: the detectors must have the same trunk')
            if shared and state is not first:
                continue
            half = value.dim() > 1 and value.is_floating_point()
            small = value.half() if half else value.clone()
            if not torch.isfinite(small).all():
                raise UsageError(f'{detector}: {key} has values beyond half precision')
            packed[f'{TRUNK if shared else detector}.{key}'] = small.contiguous()
    return packed
