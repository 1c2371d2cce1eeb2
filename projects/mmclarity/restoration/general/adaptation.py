"""The general network trained further on a user's own noisy images, without clean ones.

Afterwards the old and the new weights are compared by an estimate of the true error that needs no
clean image either, and a mixture of the two is kept (Wortsman et al., WiSE-FT, CVPR 2022): only as
much of the new ones as is shown to help.
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
from scipy.ndimage import gaussian_filter, median_filter
from torch import Tensor, nn

from mmclarity.engine.hooks.precision import has_bfloat16_units
from mmclarity.errors import CheckpointError, DataError, UsageError
from mmclarity.utils.files import replacing

from ..ops.registration import register
from .appraisal import BRIGHT, DARK
from .blind_spot import NoisyField, blinded, draw_batch
from .network import GeneralUNet
from .weights import WEIGHTS, load_general, restore_general

__all__ = ['Adaptation', 'AdaptSettings', 'Verdict', 'adapt', 'join_scans']

# Shares of the new weights that are tried.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Standard errors by which new weights have to be better.
SURE = 2.0
# Part of the rows, the last ones, that training does not see, of images that can spare it.
KEPT_BACK, LEAST_ROWS = 5, 64
# Times that pixels are hidden for the estimate of the error, and columns of one sample of it.
ROUNDS, BLOCK = 8, 32
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


@dataclass(frozen=True)
class Verdict:
    """What the estimate of the true error says, on rows that were kept back.

    Attributes:
        share: of the new weights in what is kept; 0 is the network as it was.
        before, after: mean squared error in units of the noise's variance, estimated.
        surety: their difference in its standard errors.
        errors: the estimate at each of :data:`SHARES`.
    """

    share: float
    before: float
    after: float
    surety: float
    errors: tuple[float, ...]

    def describe(self) -> str:
        """One sentence."""
        if not self.share:
            return (
                'the network as it ships does as well on these images (no sure gain on rows kept '
                'back): its weights are kept'
            )
        if self.before > 0:
            gain = f'{10 * math.log10(self.before / self.after):.2f} dB'
        else:  # the noise is not what was measured, and the estimates lie below zero
            less = self.before - self.errors[SHARES.index(self.share)]
            gain = f'{less:.2g} of the variance of noise'
        return (
            f'better on rows kept back by {gain} (estimated without clean images, '
            f'{self.surety:.0f} standard errors); {100 * self.share:.0f} % of the new weights are '
            'kept'
        )


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
) -> Adaptation:
    """Trains the general network further.

    Args:
        fields: noisy images; those with scans are trained against these.
        settings: see :class:`AdaptSettings`.
        start: weights to start from.
        resume: file that the state is kept in every :data:`SAVED_EVERY` steps and that training
            goes on from if it is there. It is removed at the end.
        progress: called with steps done, all steps, and the mean loss of late.

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
    net = load_general(start).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    _train(net, train, settings, resume, progress)
    after = {name: value.clone() for name, value in net.state_dict().items()}
    verdict, state = judge(net.eval(), before, after, held, settings.seed)
    if resume is not None:
        resume.unlink(missing_ok=True)
    scans = any(one.scans for one in fields)
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
    print_of = _fingerprint(fields, settings)
    step = _load(resume, net, optimiser, print_of) if resume is not None else 0
    losses: list[float] = []
    while step < settings.steps:
        for group in optimiser.param_groups:
            group['lr'] = settings.lr * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        # what a step draws depends on its number alone: a resumed training is the same
        rng = np.random.default_rng([settings.seed, step])
        batch = draw_batch(fields, settings.batch, settings.size, rng)
        shown, target = (torch.from_numpy(a)[:, None] for a in (batch.shown, batch.target))
        noise, asked = torch.from_numpy(batch.noise), torch.from_numpy(batch.asked)[:, None]
        with torch.autocast('cpu', torch.bfloat16, enabled=has_bfloat16_units()):
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


def judge(
    net: GeneralUNet,
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    held: list[NoisyField],
    seed: int = 0,
) -> tuple[Verdict, dict[str, Tensor]]:
    """Chooses how much of the new weights is kept.

    Args:
        net: any weights; in evaluation mode.
        before: weights.
        after: other weights.
        held: what they are judged on.
        seed: see :func:`error_blocks`.

    Returns:
        The verdict, and the mixture.
    """
    errors = []
    for share in SHARES:
        net.load_state_dict(_mixture(before, after, share))
        errors.append(np.concatenate([error_blocks(_as_used(net, one), one, seed) for one in held]))
    means = [float(error.mean()) for error in errors]
    best, surety = 0, 0.0
    for index in range(1, len(SHARES)):
        gain = errors[0] - errors[index]
        spread = float(gain.std(ddof=1) / math.sqrt(len(gain)))
        sure = float(gain.mean()) / max(spread, 1e-12)
        if sure >= SURE and means[index] < means[best]:
            best, surety = index, sure
    verdict = Verdict(SHARES[best], means[0], max(means[best], 1e-6), surety, tuple(means))
    return verdict, _mixture(before, after, SHARES[best])


def _mixture(
    before: dict[str, Tensor], after: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    return {name: torch.lerp(value, after[name], share) for name, value in before.items()}


def _as_used(net: GeneralUNet, one: NoisyField) -> Callable[[np.ndarray], np.ndarray]:
    """Restores levels as images are restored, in two looks: one alone may gain where both lose."""
    like = replace(one.like, low=DARK, high=BRIGHT)  # levels are the network's already

    def restore(levels: np.ndarray) -> np.ndarray:
        return restore_general(net, torch.from_numpy(levels)[None, None], like)[0, 0].numpy()

    return restore


@torch.no_grad()
def error_blocks(
    restore: Callable[[np.ndarray], np.ndarray], one: NoisyField, seed: int = 0
) -> np.ndarray:
    """Estimated squared error in units of the noise's variance, by blocks of columns.

    With noise n of variance s^2, the noisy image y = x + n and the restored f(y),

        E (f - x)^2 = E (f - y)^2 - s^2 + 2 E n f(y).

    The last term tells how much of its own noise a pixel keeps. It is found by giving pixels, with
    the segment that shares their noise, that of another line, y': 2 E n f(y) is the mean of
    (y - y')(f(y) - f(y')), and 2 s^2 that of (y - y')^2, whatever the distribution of the noise.
    (For Gaussian noise this is Stein's unbiased estimate, Ann. Stat. 1981.) With scans no such
    detour is needed: the noise of another scan is independent.

    Args:
        restore: (H, W) float32 in the network's levels to the same.
        one: rows that training did not see.
        seed: of the pixels.

    Returns:
        (K,), at least two.
    """
    restored = restore(one.levels)
    level = np.clip(restored, 0, 1)
    variance = np.maximum(one.like.slope * level + one.like.intercept, 1e-6)
    width = one.levels.shape[1]
    blocks = np.minimum(np.arange(width) // BLOCK, max(2, width // BLOCK) - 1)
    if width < 2 * BLOCK:
        blocks = np.arange(width) * 2 // width
    block = np.broadcast_to(blocks, one.levels.shape)
    if one.scans:
        others = np.stack(one.scans)
        known = np.isfinite(others)
        count = known.sum(0)
        mean = np.where(known, others, 0).sum(0) / np.maximum(count, 1)
        power = np.square(others - one.levels)[known].mean() / 2
        # less the noise of the others' mean
        error = ((restored - mean) ** 2 - power / np.maximum(count, 1)) / variance
        return _by_block(error[count > 0], block[count > 0])
    error = _by_block((restored - one.levels) ** 2 / variance, block)
    rng, signal = np.random.default_rng(seed), _rough_signal(one.levels)
    total, count = np.zeros(len(error)), np.zeros(len(error))
    for _ in range(ROUNDS):
        shown, asked = blinded(one.levels, one.along, one.across, rng, signal)
        noisy = (one.levels - shown)[asked]
        kept = (restored - restore(shown))[asked]
        total += np.bincount(
            block[asked], (noisy * kept - noisy**2 / 2) / variance[asked], len(error)
        )
        count += np.bincount(block[asked], minlength=len(error))
    return error + total / np.maximum(count, 1)


def _rough_signal(levels: np.ndarray) -> np.ndarray:
    """The image without fine detail and without most of its noise, whatever kind that is."""
    return gaussian_filter(median_filter(levels, 5), 1.0)


def _by_block(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    count = np.bincount(block.ravel())
    return np.bincount(block.ravel(), values.ravel()) / np.maximum(count, 1)


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
        state = torch.load(path, weights_only=True)
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
