"""Which layers a network has, and what they answer: for choosing among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmclarity.utils.tables import markdown_table

from .recorder import eager, named_layers, tensors_of, undisturbed


@dataclass(frozen=True)
class Layer:
    """One layer, or one of several runs of it.

    Args:
        name: As ``--layers`` takes it; ``name#2`` is the second run.
        kind: Class of the module.
        shapes: Of the tensors that it returns for one image, without the axis of images.
        units: Their number together.
        parameters: Of the module, with what is inside.
    """

    name: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    units: int
    parameters: int


def list_layers(
    model: nn.Module, image: Tensor, forward: Callable[[Tensor], Any] | None = None
) -> list[Layer]:
    """All layers that an image (1, 3, H, W) passes through, in the order of the network.

    Args:
        model: Is left as it was.
        image: One, in a batch.
        forward: Called with it. The model, if not given.
    """
    modules = named_layers(model)
    answers: dict[str, list[tuple[tuple[int, ...], ...]]] = {}

    def hook(name: str) -> Callable:
        def note(module: nn.Module, args: tuple, output: Any) -> None:
            shapes = tuple(tuple(t.shape[1:]) for t in tensors_of(output) if t.dim() > 0)
            if shapes:
                answers.setdefault(name, []).append(shapes)

        return note

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        with undisturbed(model), eager(), torch.no_grad():
            (forward or model)(image)
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for name, module in modules.items():
        runs = answers.get(name, [])
        parameters = sum(p.numel() for p in module.parameters())
        for number, shapes in enumerate(runs, 1):
            units = sum(torch.Size(shape).numel() for shape in shapes)
            label = f'{name}#{number}' if len(runs) > 1 else name
            found.append(Layer(label, type(module).__name__, shapes, units, parameters))
    return found


def layer_table(layers: list[Layer]) -> str:
    """As a Markdown table."""
    rows = [
        (
            layer.name,
            layer.kind,
            ', '.join(' x '.join(map(str, shape)) or '1' for shape in layer.shapes),
            f'{layer.units:,}',
            f'{layer.parameters:,}',
        )
        for layer in layers
    ]
    return markdown_table(('layer', 'kind', 'shape', 'units', 'parameters'), rows)
