"""RDMs of a network's layers: stimuli are shown, answers kept and multiplied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .models.recorder import FeatureRecorder
from .rdms.accumulator import RDMAccumulator
from .rdms.compute import UndefinedRDMError
from .rdms.memory import Slabs

if TYPE_CHECKING:
    from .data.stimuli import StimulusSet


def network_rdms(
    model: nn.Module,
    layers: Sequence[str],
    stimuli: StimulusSet,
    metric: str = 'correlation',
    batch_size: int = 32,
    device: torch.device | str | None = None,
    spill_dir: str | None = None,
    forward: Callable[[torch.Tensor], Any] | None = None,
    *,
    pool: str | None = None,
    exact: bool = False,
    memory: Slabs | None = None,
    undefined: Callable[[str, str], object] | None = None,
) -> dict[str, np.ndarray]:
    """Show the stimuli to a network and make the RDM of each layer.

    Args:
        model: Called with a batch of images (b, 3, H, W). Its train mode, statistics
            and place are as before afterwards.
        layers: Names or regular expressions, see :class:`FeatureRecorder`.
        stimuli: The n images.
        metric: 'correlation', 'euclidean' or 'cosine': a network gives no repetitions, which
            the others need. Defaults to 'correlation'.
        batch_size: Images shown at once. Defaults to 32.
        device: Where the model is run; it is moved back afterwards. Defaults to where
            it is.
        spill_dir: Folder for what does not fit in memory.
        forward: Called with the images, where only a part of ``model`` is to
            see them. Defaults to ``model``.
        pool: None, 'mean' or 'cls', see :class:`FeatureRecorder`.
        exact: Products in float64, see :class:`RDMAccumulator`; else within 1e-6 of it.
        memory: Where responses are kept; where it does not hold those of all layers, the stimuli
            are shown several times. Who shows them to several networks shares it: the next one
            need not wait for the system. Defaults to its own, half of what is available.
        undefined: Told the name of a layer whose answers have no RDM (constant or not finite), and
            why; its RDM is NaN then, and the other layers have theirs. Without it that is an error.

    Returns:
        Condensed RDM (P,) by layer, in network order.

    Raises:
        KeyError: If a layer is unknown.
        ValueError: If fewer than 3 stimuli are given, a response is constant or not finite (see
            ``undefined``), or the metric needs repetitions.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> from torch import nn
        >>> from mmclarity.rsa import StimulusSet
        >>> from mmclarity.rsa import network_rdms
        >>> rng = np.random.default_rng(0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(4):
        ...         pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        ...         Image.fromarray(pixels).save(f'{folder}/{i}.png')
        ...     net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        ...     rdms = network_rdms(net, ['0', '2'], StimulusSet.from_folder(folder))
        >>> {name: rdm.shape for name, rdm in rdms.items()}
        {'0': (6,), '2': (6,)}
    """
    if batch_size < 1:
        raise ValueError(f'batch_size must be 1 or more, got {batch_size}')
    if metric in ('mahalanobis', 'crossnobis'):
        raise ValueError(
            f'metric={metric!r} needs repeated measurements, and a network responds '
            'the same each time; choose correlation, euclidean or cosine'
        )
    parameter = next(model.parameters(), None)
    home = torch.device('cpu') if parameter is None else parameter.device
    device = home if device is None else torch.device(device)
    recorder = FeatureRecorder(model, layers, pool)
    memory = memory or Slabs()
    rdms: dict[str, np.ndarray] = {}
    with ExitStack() as stack:
        if device != home:  # A network spread over several devices is left as it is.
            stack.callback(model.to, home)
            model.to(device)
        while len(rdms) < len(recorder.names):
            accumulators = {
                name: RDMAccumulator(metric, spill_dir, exact=exact, memory=memory)
                for name in recorder.names
                if name not in rdms
            }
            for accumulator in accumulators.values():
                stack.callback(accumulator.close)
            # Convolutions on the CPU take half the time where channels come last.
            batches = (
                images.to(device, memory_format=torch.channels_last)
                for _, images in stimuli.batches(batch_size)
            )
            # Whatever has batches will do; without a number of stimuli one pass is made.
            count = len(stimuli) if hasattr(stimuli, '__len__') else 0
            _show(recorder, forward or recorder.model, batches, accumulators, count)
            for name, accumulator in accumulators.items():
                try:
                    rdms[name] = accumulator.result()
                except UndefinedRDMError as error:
                    if undefined is None:
                        raise UndefinedRDMError(f'layer {name!r}: {error}') from error
                    undefined(name, str(error))
                    shown = accumulator.count
                    rdms[name] = np.full(shown * (shown - 1) // 2, np.nan)
                except ValueError as error:
                    raise ValueError(f'layer {name!r}: {error}') from error
                accumulator.close()
    return {name: rdms[name] for name in recorder.names}


def _show(
    recorder: FeatureRecorder,
    forward: Callable[[torch.Tensor], Any],
    batches: Iterable[torch.Tensor],
    accumulators: dict[str, RDMAccumulator],
    count: int,
) -> None:
    """One pass of all stimuli; layers for which there is no memory are taken out of the mapping.

    That is known after the first batch. At least one layer stays, in a file if need be.
    """

    def keep(name: str, block: torch.Tensor) -> None:
        if name in accumulators:
            accumulators[name].update(block)

    first = True
    with closing(recorder.record(forward, batches, keep)) as answers:
        for _ in answers:
            if not first:
                continue
            first = False
            room: float = next(iter(accumulators.values())).memory.limit
            for place, (name, accumulator) in enumerate(list(accumulators.items())):
                if place and accumulator.bytes_for(count) > room:
                    accumulators.pop(name).close()
                else:
                    room -= accumulator.bytes_for(count)
