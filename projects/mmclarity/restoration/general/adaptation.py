"""The general network trained further on a user's own noisy images, without clean ones.

Of the new weights only as much is kept as is shown to help: see :mod:`.verdict`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmclarity.engine.hooks.precision import autocast_fastest
from mmclarity.errors import DataError, UsageError
from mmclarity.utils.files import replacing, write_text

from ..losses.ssim import mean_ssim
from ..ops.registration import register
from .blind_spot import NoisyField, draw_batch
from .caution import Caution, Scene, choose_caution
from .clean_examples import draw_clean_batch
from .manner import Manner
from .microscope import Lesson
from .network import GeneralUNet
from .resumable import Progress, fingerprint_of, train
from .safeguards import Guarding, needs_guard
from .verdict import Verdict, judge
from .weights import WEIGHTS, load_general

__all__ = ['AdaptSettings', 'Adaptation', 'adapt', 'adapt_to_clean', 'join_scans']

BLIND = 'with blind spots'
# Part of the rows, the last ones, that training does not see, of images that can spare it.
KEPT_BACK, LEAST_ROWS = 5, 64
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
    """Weights and what is known of them.

    Attributes:
        state: weights.
        verdict: how much of them is new, and why.
        settings: of the training.
        images: names of the files that it was made of.
        how: on what it was trained, for the card: 'on noisy images alone, with blind spots'.
        manner: how they are used; where the images do not tell, as the weights of before.
        caution: by what the manner of the second look was chosen anew, if it was.
        guarding: the same of whether they are guarded.
        resume: the state of the training, which is of use until the weights are written.
    """

    state: dict[str, Tensor]
    verdict: Verdict
    settings: AdaptSettings
    images: list[str]
    how: str
    manner: Manner = Manner()
    caution: Caution | None = None
    guarding: Guarding | None = None
    resume: Path | None = None

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Writes half-precision safetensors, and a card beside them (``.md``).

        The state of the training is removed then, and not before: where the disk is full, what was
        learnt is not lost.

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
        metadata |= self.manner.metadata()
        with replacing(path, overwrite=overwrite) as part:
            save_file(weights, part, metadata=metadata)
        write_text(path.with_suffix('.md'), self.card(path.name), overwrite=overwrite)
        if self.resume is not None:
            self.resume.unlink(missing_ok=True)

    def describe(self) -> str:
        """What was found, in a sentence or two."""
        chosen = [part.describe() for part in (self.verdict, self.caution, self.guarding) if part]
        return '; '.join(filter(None, chosen))

    def card(self, name: str) -> str:
        """What the weights are, in Markdown.

        Args:
            name: of the file.
        """
        images = ''.join(f'- {image}\n' for image in self.images)
        settings = ', '.join(f'{key} {value}' for key, value in asdict(self.settings).items())
        return (
            f'# {name}\n\n'
            'The general restorer of mmclarity (`GeneralUNet`; see its own card), trained further '
            f'{self.how}.\n\n'
            f'**Found:** {self.describe()}.\n\n'
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
    progress: Progress | None = None,
    device: str = 'cpu',
) -> Adaptation:
    """Trains the general network further.

    Args:
        fields: noisy images; those with scans are trained against these.
        settings: see :class:`AdaptSettings`.
        start: weights to start from.
        resume: file that the state is kept in every :data:`SAVED_EVERY` steps and at the end, and
            that training goes on from if it is there. :meth:`Adaptation.save` removes it.
        progress: called with steps done, all steps, and the mean loss of late.
        device: of torch, that trains and judges; the weights come back to the CPU.

    Raises:
        DataError: no fields, or a field without contrast.
        CheckpointError: ``resume`` cannot be read, or is of other images, settings or weights.
    """
    settings, fields = settings or AdaptSettings(), list(fields)
    if not fields:
        raise DataError('there is no image to adapt to')
    for one in fields:
        if one.like.high - one.like.low <= 1e-6:
            raise DataError(f'{one.name}: has no contrast; there is nothing to learn from it')
    seen, held = _divide(fields)
    how = 'against other scans of the same field' if any(o.scans for o in fields) else BLIND
    return _adapted(
        lambda net, step: _blind_loss(net, seen, settings, step),
        held,
        settings,
        fingerprint_of(settings, [part for one in seen for part in (one.levels, *one.scans)]),
        [Path(one.name).name for one in fields],
        f'on noisy images alone, {how}',
        (start, resume, progress, device),
    )


def adapt_to_clean(
    lesson: Lesson,
    settings: AdaptSettings,
    start: str | Path = WEIGHTS,
    resume: Path | None = None,
    progress: Progress | None = None,
    device: str = 'cpu',
) -> Adaptation:
    """Trains the general network further on clean images of one microscope, made worse as it does.

    The loss is that of the general network's own training, 1 - SSIM and the mean absolute error.

    Args:
        lesson: from :func:`.microscope.lesson`.
        settings: see :class:`AdaptSettings`.
        start: see :func:`adapt`.
        resume: see :func:`adapt`.
        progress: see :func:`adapt`.
        device: see :func:`adapt`.

    Raises:
        CheckpointError: see :func:`adapt`.
    """

    def loss_of(net: GeneralUNet, step: int) -> Tensor:
        rng = np.random.default_rng([settings.seed, step])
        sizes = settings.batch, settings.size
        batch = draw_clean_batch(lesson.fields, lesson.worse, *sizes, rng, lesson.pairs)
        noisy, clean, noise = (part.to(device) for part in batch)
        out = _shown(net, noisy, noise)
        similar = mean_ssim(out, clean, data_range=1.0, border='reflect').mean()
        return 1 - similar + (out - clean).abs().mean()

    images = [one.levels for one in (*lesson.fields, *lesson.held)]
    images += [one.clean for one in lesson.pairs]
    adapted = _adapted(
        loss_of,
        lesson.held,
        settings,
        fingerprint_of((settings, lesson.worse), images),
        [Path(one.name).name for one in lesson.fields],
        'on clean images of one microscope, made worse as its quick scans are: '
        f'{lesson.describe()}',
        (start, resume, progress, device),
        lesson.scenes,
    )
    if lesson.levels is None:
        return adapted
    return replace(adapted, manner=replace(adapted.manner, levels=lesson.levels))


def _adapted(
    loss_of: Callable[[GeneralUNet, int], Tensor],
    held: list[NoisyField],
    settings: AdaptSettings,
    fingerprint: str,
    names: list[str],
    how: str,
    running: tuple[str | Path, Path | None, Progress | None, str],
    scenes: Sequence[Scene] = (),
) -> Adaptation:
    """Trains, judges, and keeps what helps; ``running`` are the last arguments of :func:`adapt`."""
    start, resume, progress, device = running
    net = load_general(start, device).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fingerprint = fingerprint_of(fingerprint, [value.cpu().numpy() for value in before.values()])
    train(net, lambda step: loss_of(net, step), settings, resume, fingerprint, progress)
    after = {name: value.clone() for name, value in net.state_dict().items()}
    verdict, state = judge(net.eval(), before, after, held, settings.seed)
    chosen: tuple[Caution, Guarding] | tuple[()] = ()
    if scenes and verdict.share:
        chosen = choose_caution(net, before, state, scenes), needs_guard(net, scenes)
        net.manner = replace(net.manner, guarded=chosen[1].guarded)
    state = {name: value.cpu() for name, value in state.items()}
    result = Adaptation(state, verdict, settings, names, how, net.manner, *chosen)
    return replace(result, resume=resume)


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


def _blind_loss(
    net: GeneralUNet, fields: list[NoisyField], settings: AdaptSettings, step: int
) -> Tensor:
    """Squared error at hidden pixels, in units of the noise at each."""
    device = next(net.parameters()).device
    rng = np.random.default_rng([settings.seed, step])
    batch = draw_batch(fields, settings.batch, settings.size, rng)
    drawn = (batch.shown, batch.target, batch.asked, batch.noise)
    shown, target, asked, noise = (torch.from_numpy(part).to(device) for part in drawn)
    shown, target, asked = (part[:, None] for part in (shown, target, asked))
    out = _shown(net, shown, noise)
    # in units of the noise at each pixel, so that dark and bright count alike
    weight = 1 / _variance(out.detach(), noise)
    return ((out - target).square() * weight)[asked].sum() / weight[asked].sum()


def _shown(net: GeneralUNet, noisy: Tensor, noise: Tensor) -> Tensor:
    """What the network answers, in the numbers that are fastest on its device."""
    with autocast_fastest(noisy.device):
        return net(noisy, noise)


def _variance(levels: Tensor, noise: Tensor) -> Tensor:
    """Of the noise, as the network is told, at each pixel; never quite zero."""
    slope, intercept = noise[:, 0, None, None, None], noise[:, 1, None, None, None]
    return (slope * levels.clamp(0, 1) + intercept).clamp(min=1e-6)
