"""The general network trained further on a user's own noisy images, without clean ones.

Of the new weights only as much is kept as is shown to help: see :mod:`.verdict`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmclarity.engine.hooks.precision import fastest_dtype
from mmclarity.errors import CheckpointError, DataError, UsageError
from mmclarity.utils.files import replacing

from ..ops.registration import register
from .blind_spot import NoisyField, draw_batch
from .network import GeneralUNet
from .verdict import Verdict, judge
from .weights import WEIGHTS, load_general

__all__ = ['AdaptSettings', 'Adaptation', 'adapt', 'join_scans']

# Part of the rows, the last ones, that training does not see, of images that can spare it.
KEPT_BACK, LEAST_ROWS = 5, 64
SAVED_EVERY = 100
# Correlation of two noisy scans of one field, smoothed; those of different ones stay below.
AGREEMENT = 0.3


@dataclass(frozen=True)
class AdaptSettings:
    """How the network is trained further.

    Attributes:
        steps: of training; 800 take some two minutes on two cores with bfloat16 units.
        batch: patches a step.
        size: of patches in pixels.
        lr: highest rate of learning; falls to zero as a cosine.
        seed: of all that is drawn.
    """

    steps: int = 800
    batch: int = 8
    size: int = 96
    lr: float = 2e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('steps', 'batch'):
            if getattr(self, name) < 1:
                raise UsageError(f'{name} must be at least 1, got {getattr(self, name)}')
        if self.size < 32 or self.size % 16:
            raise UsageError(f'size must be a multiple of 16 of at least 32, got {self.size}')
        if not 0 < self.lr < 1:
            raise UsageError(f'lr must lie within 0 and 1, got {self.lr}')


@dataclass
class Adaptation:
    """Weights and what is known of them."""

    state: dict[str, Tensor]
    verdict: Verdict
    settings: AdaptSettings
    images: list[str]
    scans: bool

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Writes half-precision safetensors, and a card beside them (``.md``).

        Args:
            path: of the weights.
            overwrite: replace existing files.
        """
        from safetensors.torch import save_file

        weights = {name: value.half().contiguous() for name, value in self.state.items()}
        about = dict(
            settings=asdict(self.settings), verdict=asdict(self.verdict), images=self.images
        )
        metadata = dict(network='GeneralUNet', adapted=json.dumps(about))
        with replacing(path, overwrite=overwrite) as part:
            save_file(weights, part, metadata=metadata)
        with replacing(path.with_suffix('.md'), overwrite=overwrite) as part:
            part.write_text(self.card(path.name), encoding='utf-8')

    def card(self, name: str) -> str:
        """What the weights are, in Markdown.

        Args:
            name: of the file.
        """
        how = 'against other scans of the same field' if self.scans else 'with blind spots'
        images = ''.join(f'- {image}\n' for image in self.images)
        settings = ', '.join(f'{key} {value}' for key, value in asdict(self.settings).items())
        return (
            f'# {name}\n\n'
            'The general restorer of mmclarity (`GeneralUNet`; see its own card), trained further '
            f'on noisy images alone, {how}.\n\n'
            f'**Found:** {self.verdict.describe()}.\n\n'
            f'**Settings:** {settings}.\n\n'
            f'**Trained on**\n\n{images}\n'
            '**For** images of this microscope at these settings. '
            f'Use: `mmclarity-restore IN --checkpoint {name}`.\n'
        )


def join_scans(fields: Sequence[NoisyField]) -> NoisyField:
    """Scans of one field as one field: the others are moved onto the first.

    Args:
        fields: at least two.

    Raises:
        DataError: fewer than two, sizes differ, or a scan shows another field.
    """
    first, *others = fields
    if not others:
        raise DataError(f'{first.name}: is alone; scans of one field are at least two')
    moved = []
    for other in others:
        if other.levels.shape != first.levels.shape:
            raise DataError(
                f'{other.name}: is {other.levels.shape}, {first.name} {first.levels.shape}; scans '
                'of one field have one size'
            )
        most = min(first.levels.shape) / 8
        found = register(first.levels, other.levels, most)
        if found.confidence < AGREEMENT:  # much noise
            found = register(first.levels, other.levels, most, smooth=4.0)
        if found.confidence < AGREEMENT:
            raise DataError(
                f'{other.name}: does not show the field of {first.name} (agreement '
                f'{found.confidence:.2f}); leave it out, or adapt without scans'
            )
        # both in the grey levels of the first
        levels = (other.levels - other.like.offset) / other.like.gain
        levels = levels * first.like.gain + first.like.offset
        scan = np.full(levels.shape, np.nan, np.float32)
        seen = found.region(levels.shape)
        scan[seen] = found.move(levels)[seen]
        moved.append(scan)
    return replace(first, scans=tuple(moved))


def adapt(
    fields: Sequence[NoisyField],
    settings: AdaptSettings | None = None,
    start: str | Path = WEIGHTS,
    resume: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    device: str = 'cpu',
) -> Adaptation:
    """Trains the general network further.

    Args:
        fields: noisy images; those with scans are trained against these.
        settings: see :class:`AdaptSettings`.
        start: weights to start from.
        resume: file that the state is kept in every :data:`SAVED_EVERY` steps and that training
            goes on from if it is there. It is removed at the end.
        progress: called with steps done, all steps, and the mean loss of late.
        device: of torch, that trains and judges; the weights come back to the CPU.

    Raises:
        DataError: no fields, or a field without contrast.
        CheckpointError: ``resume`` cannot be read, or is of other images or settings.
    """
    settings, fields = settings or AdaptSettings(), list(fields)
    if not fields:
        raise DataError('there is no image to adapt to')
    for one in fields:
        if one.like.high - one.like.low <= 1e-6:
            raise DataError(f'{one.name}: has no contrast; there is nothing to learn from it')
    train, held = _divide(fields)
    net = load_general(start, device).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    _train(net, train, settings, resume, progress)
    after = {name: value.clone() for name, value in net.state_dict().items()}
    verdict, state = judge(net.eval(), before, after, held, settings.seed)
    if resume is not None:
        resume.unlink(missing_ok=True)
    scans = any(one.scans for one in fields)
    state = {name: value.cpu() for name, value in state.items()}
    return Adaptation(state, verdict, settings, [Path(one.name).name for one in fields], scans)


def _divide(fields: list[NoisyField]) -> tuple[list[NoisyField], list[NoisyField]]:
    """What is trained on, and the last rows of it that are kept back."""
    train, held = [], []
    for one in fields:
        height = len(one.levels)
        cut = height - max(LEAST_ROWS, height // KEPT_BACK)
        if cut < 2 * LEAST_ROWS:  # too small to be divided
            train.append(one)
            held.append(one)
            continue
        for part, rows in ((train, slice(0, cut)), (held, slice(cut, height))):
            part.append(
                replace(one, levels=one.levels[rows], scans=tuple(scan[rows] for scan in one.scans))
            )
    return train, held


def _train(
    net: GeneralUNet,
    fields: list[NoisyField],
    settings: AdaptSettings,
    resume: Path | None,
    progress: Callable[[int, int, float], None] | None,
) -> None:
    optimiser = torch.optim.Adam(net.parameters(), settings.lr)
    device = next(net.parameters()).device
    dtype = fastest_dtype(str(device))
    print_of = _fingerprint(fields, settings)
    step = _load(resume, net, optimiser, print_of) if resume is not None else 0
    losses: list[float] = []
    while step < settings.steps:
        for group in optimiser.param_groups:
            group['lr'] = settings.lr * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        # what a step draws depends on its number alone: a resumed training is the same
        rng = np.random.default_rng([settings.seed, step])
        batch = draw_batch(fields, settings.batch, settings.size, rng)
        drawn = (batch.shown, batch.target, batch.asked, batch.noise)
        shown, target, asked, noise = (torch.from_numpy(part).to(device) for part in drawn)
        shown, target, asked = (part[:, None] for part in (shown, target, asked))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            out = net(shown, noise)
        # in units of the noise at each pixel, so that dark and bright count alike
        weight = 1 / _variance(out.detach(), noise)
        loss = ((out - target).square() * weight)[asked].sum() / weight[asked].sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        losses.append(loss.item())
        if resume is not None and step % SAVED_EVERY == 0 and step < settings.steps:
            _save(resume, net, optimiser, step, print_of)
        if progress is not None:
            progress(step, settings.steps, float(np.mean(losses[-50:])))


def _variance(levels: Tensor, noise: Tensor) -> Tensor:
    """Of the noise, as the network is told, at each pixel; never quite zero."""
    slope, intercept = noise[:, 0, None, None, None], noise[:, 1, None, None, None]
    return (slope * levels.clamp(0, 1) + intercept).clamp(min=1e-6)


def _fingerprint(fields: list[NoisyField], settings: AdaptSettings) -> str:
    """Of the images and the settings, so that a training is resumed by its own images only."""
    digest = hashlib.sha256(repr(settings).encode())
    for one in fields:
        for image in (one.levels, *one.scans):
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
            f'{path}: was begun with other images or settings; go on with those, or remove the '
            'file to begin anew'
        )
    try:
        net.load_state_dict(state['net'])
        optimiser.load_state_dict(state['optimiser'])
    except (RuntimeError, ValueError) as error:  # the network that ships has become another
        raise CheckpointError(
            f'{path}: was begun from weights of another width; go on from those, or remove the '
            'file to begin anew'
        ) from error
    return step
