"""Steps of a training that can be interrupted and go on as if it had not been."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mmclarity.errors import CheckpointError
from mmclarity.utils.files import replacing

if TYPE_CHECKING:
    from .adaptation import AdaptSettings

__all__ = ['Progress', 'fingerprint_of', 'train']

# Called with steps done, all steps, and the mean loss of late.
Progress = Callable[[int, int, float], None]
SAVED_EVERY = 100


def train(
    net: nn.Module,
    loss_of: Callable[[int], Tensor],
    settings: AdaptSettings,
    resume: Path | None,
    fingerprint: str,
    progress: Progress | None,
) -> None:
    """Steps whose loss depends on their number alone, so that a resumed training is the same."""
    optimiser = torch.optim.Adam(net.parameters(), settings.lr)
    step = _load(resume, net, optimiser, fingerprint) if resume is not None else 0
    losses: list[float] = []
    if step == settings.steps and progress is not None:  # it was interrupted while it was judged
        progress(step, settings.steps, math.nan)
    while step < settings.steps:
        for group in optimiser.param_groups:
            group['lr'] = settings.lr * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        loss = loss_of(step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        losses.append(loss.item())
        if resume is not None and (step % SAVED_EVERY == 0 or step == settings.steps):
            _save(resume, net, optimiser, step, fingerprint)
        if progress is not None:
            progress(step, settings.steps, float(np.mean(losses[-50:])))


def fingerprint_of(settings: object, images: Sequence[np.ndarray]) -> str:
    """Of the images and the settings, so that a training is resumed by its own images only."""
    digest = hashlib.sha256(repr(settings).encode())
    for image in images:
        digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _save(
    path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, step: int, fingerprint: str
) -> None:
    state = dict(
        net=net.state_dict(), optimiser=optimiser.state_dict(), step=step, images=fingerprint
    )
    with replacing(path) as part:
        torch.save(state, part)


def _load(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, fingerprint: str) -> int:
    """Step to go on from; 0 without a file."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        mine, step = state['images'], int(state['step'])
    except Exception as error:  # torch raises many kinds for damaged files
        raise CheckpointError(
            f'{path}: is no state of an adaptation, or damaged ({type(error).__name__}); remove it '
            'to begin anew'
        ) from error
    if mine != fingerprint:
        raise CheckpointError(
            f'{path}: was begun with other images or settings, or from other weights; go on with '
            'those, or remove the file to begin anew'
        )
    net.load_state_dict(state['net'])
    optimiser.load_state_dict(state['optimiser'])
    return step
