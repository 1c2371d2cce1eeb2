"""What the layers of a network answer to images."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmclarity.utils.models import unwrap


def resolve_layers(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Names of submodules that are given by name or matched by a regular expression.

    Args:
        model (nn.Module): The network.
        layers (Sequence[str]): Dotted names, or expressions that match a whole name, such as
            ``features\\.\\d+``.

    Returns:
        list[str]: In the order of ``named_modules``, each once.

    Raises:
        KeyError: If one names nothing, with the nearest names there are.
        ValueError: If there is none, or an expression cannot be read.
        TypeError: If ``layers`` is a string, not a sequence of them.
    """
    if isinstance(layers, str):
        raise TypeError(
            f'layers must be a sequence of names, got the string {layers!r}; write [{layers!r}]'
        )
    if not layers:
        raise ValueError(
            'layers is empty: name at least one, e.g. those of '
            '[name for name, _ in model.named_modules()]'
        )
    names = [name for name, _ in model.named_modules() if name]
    chosen: set[str] = set()
    for layer in layers:
        if layer in names:
            chosen.add(layer)
            continue
        try:
            matches = [name for name in names if re.fullmatch(layer, name)]
        except re.error as error:
            raise ValueError(
                f'layer {layer!r} is no module and no regular expression: {error}'
            ) from error
        if not matches:
            near = difflib.get_close_matches(layer, names, 5, 0.3) or names[:5]
            raise KeyError(
                f'{type(model).__name__} has no layer {layer!r}; the nearest names are '
                f'{", ".join(near)}'
            )
        chosen.update(matches)
    return [name for name in names if name in chosen]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; modes and random states are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Only if CUDA is in use: reading its states would start it.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors in what a module returned, depth first."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [tensor for item in output for tensor in tensors_of(item)]
    return []


def _pooled(values: Tensor) -> Tensor:
    """Mean over positions (b, channels) of a map, or of tokens (b, tokens, channels)."""
    if values.dim() < 3:
        return values
    return values.mean(1) if values.dim() == 3 else values.flatten(2).mean(2)


class FeatureRecorder:
    """Records chosen layers of any network, and leaves it as it was.

    While it records, the network is in evaluation mode: dropout is off and the statistics of
    batch norm are read and not changed. Hooks are removed, modes and random states restored, even
    after an error.

    Args:
        model (nn.Module): The network; wrappers for several devices are looked through.
        layers (Sequence[str]): See :func:`resolve_layers`.
        pool (str, optional): 'mean' takes the mean over positions, one unit a channel: over all
            axes behind the second, or over the second of three, which are a transformer's
            (b, tokens, channels). None keeps every position. Defaults to None.

    Raises:
        KeyError, ValueError, TypeError: See :func:`resolve_layers`.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], pool: str | None = None) -> None:
        if pool not in (None, 'mean'):
            raise ValueError(f"pool must be None or 'mean', got {pool!r}")
        self.model, self.pool = unwrap(model), pool
        self.names = resolve_layers(self.model, layers)

    def record(
        self, forward: Callable[[Tensor], Any], batches: Iterable[Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """Answers to batches of images.

        The network stays in evaluation mode, with hooks on it, until the last batch has been taken
        or the iterator is closed: whoever may stop early puts it into ``contextlib.closing``.

        Args:
            forward (Callable): What runs the network on a batch: the model itself, or a part.
            batches (Iterable[Tensor]): Images (b, ...).

        Yields:
            dict[str, Tensor]: For each batch (b, units), float32, by layer. The tensors a layer
            returns (a feature pyramid, say) are joined.

        Raises:
            RuntimeError: If a layer is not run, is run several times, or returns nothing with
                one row a stimulus.
        """
        found: dict[str, Tensor] = {}
        modules = dict(self.model.named_modules())
        with undisturbed(self.model):
            handles = [
                modules[name].register_forward_hook(self._hook(name, found)) for name in self.names
            ]
            try:
                for images in batches:
                    found.clear()
                    # Not around the loop: whoever takes the answers may need gradients.
                    with torch.no_grad():
                        forward(images)
                    missing = [name for name in self.names if name not in found]
                    if missing:
                        raise RuntimeError(
                            f'the images did not pass through {missing[0]!r}; '
                            'choose layers of the part of the network that is run'
                        )
                    for name, rows in found.items():
                        if len(rows) != len(images):
                            raise RuntimeError(
                                f'layer {name!r} returns {len(rows)} rows for {len(images)} '
                                'images; choose a layer with one answer an image'
                            )
                    yield {name: found[name] for name in self.names}
            finally:
                for handle in handles:
                    handle.remove()

    def record_images(self, images: Tensor) -> dict[str, Tensor]:
        """Answers (b, units) of the whole network to one batch."""
        with closing(self.record(self.model, [images])) as answers:
            return next(answers)

    def _hook(self, name: str, found: dict[str, Tensor]) -> Callable:

        def keep(module: nn.Module, args: tuple, output: Any) -> None:
            tensors = [t for t in tensors_of(output) if t.dim() > 0 and t.is_floating_point()]
            if not tensors:
                raise RuntimeError(
                    f'layer {name!r} returns no tensor but {type(output).__name__}; choose another'
                )
            if name in found:
                raise RuntimeError(
                    f'layer {name!r} is run several times for one batch; its '
                    'answers cannot be told apart. Choose a layer that is run once'
                )
            if self.pool == 'mean':
                tensors = [_pooled(t) for t in tensors]
            counts = sorted({len(t) for t in tensors})
            if len(counts) > 1:
                raise RuntimeError(
                    f'layer {name!r} returns tensors of {counts} rows; choose a '
                    'layer with one answer an image'
                )
            # A copy: the next layer may work in place.
            found[name] = torch.cat(
                [t.detach().float().reshape(len(t), -1) for t in tensors], 1
            ).clone()

        return keep
