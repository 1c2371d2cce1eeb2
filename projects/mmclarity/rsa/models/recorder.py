"""What the layers of a network answer to images."""

from __future__ import annotations

import dataclasses
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

from mmclarity.errors import LayerError
from mmclarity.utils.models import unwrap

from .layer_names import named_layers, resolve_layers, split_call
from .script import ScriptView

POOLS = (None, 'mean', 'cls')
HALF = (torch.float16, torch.bfloat16)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; modes, buffers and random states are as before afterwards."""
    # Frozen scripts have no mode.
    modes = [(m, m.training) for m in model.modules() if hasattr(m, 'training')]
    buffers = _buffers(model)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Only if CUDA is in use: reading its states would start it.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        _restore(buffers)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


# A module, the name and the tensor of one of its buffers, and a copy of what it holds.
_Buffer = tuple[nn.Module, str, 'Tensor | None', 'Tensor | None']


def _buffers(model: nn.Module) -> list[_Buffer]:
    return [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if not isinstance(buffer, UninitializedBuffer)
    ]


def _restore(buffers: Sequence[_Buffer]) -> None:
    """Put buffers back, and say so where the network goes on from one batch to the next."""
    changed = ''
    for module, name, buffer, before in buffers:
        now = dict(module._buffers.items()).get(name)  # those of scripts have no get
        if now is not buffer:
            module._buffers[name] = buffer
        if buffer is None or before is None or now is None:
            continue  # made in the first pass, as positions are
        if now.shape == before.shape and not _same(now, before):
            changed = changed or f'{name!r} of a {type(module).__name__}'
        if not _same(buffer, before):
            with torch.no_grad():
                buffer.copy_(before)
    if changed:
        warnings.warn(
            f'{changed} changed while the network was shown its pictures, though in evaluation '
            'mode: what it answers to one depends on those before or beside it. Let its forward '
            'begin anew each time. Afterwards it is put back',
            stacklevel=4,
        )


def _same(first: Tensor, second: Tensor) -> bool:
    """Equal, where NaN is equal to NaN."""
    if first.is_floating_point():
        first, second = first.nan_to_num(), second.nan_to_num()
    return torch.equal(first, second)


@contextmanager
def eager() -> Iterator[None]:
    """Compiled models run as they were written: compiled code does not stop at hooks."""
    # Whoever compiled a model has loaded the compiler, which takes seconds.
    stance = getattr(torch.compiler, 'set_stance', None) if 'torch._dynamo' in sys.modules else None
    with stance('force_eager') if stance else nullcontext():
        yield


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors in what a module returned, depth first: lists, mappings, data classes."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in dataclasses.fields(output)]
    if isinstance(output, list | tuple):
        return [tensor for item in output for tensor in tensors_of(item)]
    return []


def _pooled(values: Tensor, pool: str | None) -> Tensor:
    """One unit a channel of a map or of tokens (b, tokens, channels), as ``pool`` says."""
    if pool == 'mean' and values.dtype in HALF:
        values = values.float()  # the mean of many positions has more digits than one
    if pool == 'cls' and values.dim() == 3:
        return values[:, 0]
    if pool != 'mean' or values.dim() < 3:
        return values
    if values.dim() == 3:
        return values.mean(1)
    if values.dim() == 4 and values.shape[1] == values.shape[2] != values.shape[3]:
        return values.mean((1, 2))  # (b, H, W, channels), as Swin transformers have it
    return values.flatten(2).mean(2)


def _real(values: Tensor) -> Tensor:
    """Complex answers as real and imaginary parts, each a unit."""
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def _warn_of_batches(modules: Mapping[str, nn.Module]) -> None:
    """Say so where a picture is not answered for itself."""
    for name, module in modules.items():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            warnings.warn(
                f'{name!r} is batch norm without running statistics: what the layers behind it '
                'answer to a picture depends on those shown in the same batch. Show all at once '
                '(batch_size), or train it with track_running_stats=True',
                stacklevel=3,
            )
            return


def _flat(values: Tensor) -> Tensor:
    """(b, units), in the order of memory for maps with channels last.

    The order does not matter to an RDM, and a copy in another takes longer than the layer.
    """
    if values.dim() == 4 and not values.is_contiguous():
        values = values.permute(0, 2, 3, 1)
    return values.reshape(len(values), -1)


class FeatureRecorder:
    """Records chosen layers of any network, and leaves it as it was.

    While it records, the network is in evaluation mode: dropout is off and the statistics of
    batch norm are read and not changed. Hooks are removed, modes, buffers and random states
    restored, even after an error. Values are taken the moment a layer returns them, before a later
    one works on them in place. Images are given to a network in half or double precision as such.

    Args:
        model: The network; wrappers are looked through, see :func:`unwrap`.
        layers: See :func:`resolve_layers`.
        pool: 'mean' takes the mean over positions, one unit a channel: over all axes behind the
            second, or over the second of three, which are a transformer's (b, tokens, channels), or
            the middle two of four where these alone are equal, (b, side, side, channels).
            'cls' takes the first of such tokens. None keeps every position. Defaults to None.

    Raises:
        KeyError, ValueError, TypeError: See :func:`resolve_layers`.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmclarity.rsa import FeatureRecorder
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
        >>> _ = net(torch.rand(1, 3, 16, 16))
        >>> recorder = FeatureRecorder(net, ['1', '3'])
        >>> answers = recorder.record_images(torch.rand(2, 3, 16, 16))
        >>> {name: tuple(answer.shape) for name, answer in answers.items()}
        {'1': (2, 1568), '3': (2, 5)}
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], pool: str | None = None) -> None:
        if pool not in POOLS:
            raise ValueError(f"pool must be None, 'mean' or 'cls', got {pool!r}")
        self.model, self.pool = unwrap(model), pool
        self._given = self.model
        if isinstance(self.model, torch.jit.ScriptModule):
            self.model = ScriptView(self.model)
        self.names = resolve_layers(self.model, layers)
        self._refuse_scripts()

    def _refuse_scripts(self) -> None:
        """Raise a LayerError for layers inside TorchScript parts, which take no hooks."""
        modules = named_layers(self.model)
        for layer in self.names:
            parts = split_call(layer)[0].split('.')
            for depth in range(1, len(parts) + 1):
                outer = '.'.join(parts[:depth])
                if isinstance(modules.get(outer), torch.jit.ScriptModule):
                    raise LayerError(
                        f'layer {layer!r}: {outer!r} is TorchScript, which takes no hooks; replace '
                        'such parts by opened(model) of mmclarity.rsa.models.script first'
                    )

    def record(
        self,
        forward: Callable[[Tensor], Any],
        batches: Iterable[Tensor],
        keep: Callable[[str, Tensor], Any] | None = None,
    ) -> Generator[dict[str, Any], None, None]:
        """Answers to batches of images.

        The network stays in evaluation mode, with hooks on it, until the last batch has been taken
        or the iterator is closed: whoever may stop early puts it into ``contextlib.closing``.

        Args:
            forward: What runs the network on a batch: the model itself, or a part.
            batches: Images (b, ...).
            keep: Called with a layer's name and its values (b, units) of any type, which hold
                only until it returns, with units in any order that is the same each time. What it
                returns stands in the place of the copy. Defaults to a copy.

        Yields:
            For each batch (b, units), float32, by layer. The tensors a layer returns (a feature
            pyramid, say) are joined.

        Raises:
            RuntimeError: If a layer is not run, is run several times and none of them is named, or
                returns nothing with one row a stimulus.
        """
        pass_ = _Pass(self, keep)
        forward = self.model if forward is self._given else forward
        modules = named_layers(self.model)
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), None)
        other = dtype in (*HALF, torch.float64)
        _warn_of_batches(modules)
        with undisturbed(self.model), eager():
            handles = [
                modules[name].register_forward_hook(pass_.hook(name)) for name in pass_.wanted
            ]
            try:
                for images in batches:
                    pass_.begin(len(images))
                    # Not around the loop: whoever takes the answers may need gradients.
                    with torch.no_grad():
                        images = images.to(dtype) if other else images
                        forward(images)
                        if pass_.unsure:
                            pass_.settle(forward, images)
                    yield pass_.answers()
            finally:
                for handle in handles:
                    handle.remove()

    def record_images(self, images: Tensor) -> dict[str, Tensor]:
        """Answers (b, units) of the whole network to one batch."""
        with closing(self.record(self.model, [images])) as answers:
            return next(answers)


class _Pass:
    """What the hooks of a recorder see in one pass of a batch."""

    def __init__(
        self, recorder: FeatureRecorder, keep: Callable[[str, Tensor], Any] | None
    ) -> None:
        self.names, self.pool, self.keep = recorder.names, recorder.pool, keep
        # By module: the numbers of the runs that are wanted; None where there should be one.
        self.wanted: dict[str, set[int | None]] = {}
        for layer in self.names:
            name, call = split_call(layer)
            self.wanted.setdefault(name, set()).add(call)
        # By layer, of each of its tensors: whether the images are in the second axis.
        self.turned: dict[str, list[bool]] = {}
        self.unsure: dict[str, list[Tensor]] = {}
        self.learning = False

    def begin(self, images: int) -> None:
        self.images = images
        self.found: dict[str, Any] = {}
        self.runs: Counter[str] = Counter()

    def answers(self) -> dict[str, Any]:
        for name, count in self.runs.items():
            if count > 1 and None in self.wanted[name]:
                raise RuntimeError(
                    f'layer {name!r} is run several times for one batch; its answers cannot be '
                    f'told apart. Choose a run, {name}#1 to {name}#{count}'
                )
        for name in self.names:
            if name not in self.found:
                raise RuntimeError(
                    f'the images did not pass through {name!r}; choose layers of the part of the '
                    'network that is run, and of those that are called as modules: where only the '
                    'weights are used (out_proj of nn.MultiheadAttention), the layer around it'
                )
        return {name: self.found[name] for name in self.names}

    def hook(self, name: str) -> Callable:
        def take(module: nn.Module, args: tuple, output: Any) -> None:
            self.runs[name] += 1
            run = self.runs[name]
            if None in self.wanted[name] and run == 1:
                self.found[name] = self._values(name, name, output)
            if run in self.wanted[name]:
                self.found[f'{name}#{run}'] = self._values(name, f'{name}#{run}', output)

        return take

    def _values(self, name: str, key: str, output: Any) -> Any:
        every = [t for t in tensors_of(output) if t.dim() > 0]
        tensors = [t for t in every if t.is_floating_point() or t.is_complex()]
        if not tensors:
            kinds = {str(t.dtype).removeprefix('torch.') for t in every}
            what = f'only {", ".join(sorted(kinds))}' if every else f'a {type(output).__name__}'
            raise RuntimeError(
                f'layer {name!r} returns no tensor of real or complex numbers but {what}; choose '
                'another'
            )
        turned = [self._second(t) for t in tensors]
        if self.learning:
            self.turned[key] = turned
            return None
        if any(t.dim() == 3 and len(t) == t.shape[1] == self.images > 1 for t in tensors):
            if key not in self.turned:
                self.unsure[key] = [t.detach().clone() for t in tensors]
                return None
            turned = self.turned[key]
        return self._kept(name, key, tensors, turned)

    def _second(self, values: Tensor) -> bool:
        """Some transformers have the tokens first, (tokens, b, channels)."""
        return values.dim() == 3 and len(values) != self.images and values.shape[1] == self.images

    def settle(self, forward: Callable[[Tensor], Any], images: Tensor) -> None:
        """Find out by one image less which axis is the images', where both have their number.

        Else the RDM would be one of tokens.
        """
        waiting, found, runs = self.unsure, self.found, self.runs
        self.unsure, self.learning = {}, True
        self.begin(len(images) - 1)
        forward(images[:-1])
        self.begin(len(images))
        self.found, self.runs, self.learning = found, runs, False
        for key, tensors in waiting.items():
            found[key] = self._kept(split_call(key)[0], key, tensors, self.turned[key])

    def _kept(self, name: str, key: str, tensors: list[Tensor], turned: list[bool]) -> Any:
        tensors = [t.transpose(0, 1) if turn else t for t, turn in zip(tensors, turned)]
        tensors = [_real(_pooled(t.detach(), self.pool)) for t in tensors]
        counts = sorted({len(t) for t in tensors})
        if len(counts) > 1:
            raise RuntimeError(
                f'layer {name!r} returns tensors of {counts} rows; choose a '
                'layer with one answer an image'
            )
        if counts[0] != self.images:
            raise RuntimeError(
                f'layer {name!r} returns {counts[0]} rows for {self.images} images; choose a layer '
                'with one answer an image'
            )
        if not any(t.numel() for t in tensors):
            raise RuntimeError(f'layer {name!r} returns no units for these images; choose another')
        if self.keep is not None:
            rows = [_flat(t) for t in tensors]
            return self.keep(key, rows[0] if len(rows) == 1 else torch.cat(rows, 1))
        # A copy: the next layer may work in place.
        return torch.cat([t.float().reshape(len(t), -1) for t in tensors], 1).clone()
