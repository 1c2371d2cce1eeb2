"""Train the general restorer further on your own images: noisy ones alone, or with clean ones.

    mmclarity-adapt NOISY/
    mmclarity-restore NOISY/ RESTORED/ --checkpoint NOISY_adapted.safetensors

For images unlike any training: noise of another kind, another material. Pixels are hidden, with as
much of the scan line as shares their noise (which is measured), and the network learns to tell them
from their surroundings. Several scans of one field teach more: give them with --scans, a folder for
each field. It takes minutes.

With slow, clean scans of the same microscope, --clean SLOW/ teaches more: what the quick scans do
to a picture is measured and laid on the clean ones. Best are scans of the same fields under the
same names; --clean takes those of other fields as well.

At the end old and new weights are compared on rows that were kept back, by an estimate of the
error that needs no clean image (where there are pairs, by the slow scans), and as much of the new
ones is kept as is sure to help: nothing, if the network as it ships does as well. Interrupted, the
same command goes on.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmclarity.errors import DataError, UsageError
from mmclarity.utils.devices import check_device
from mmclarity.utils.files import with_own_name

from .main import check_folder, check_free, finish, mistakes

if TYPE_CHECKING:
    from mmclarity.restoration.general.blind_spot import NoisyField
    from mmclarity.restoration.general.microscope import Lesson
    from mmclarity.restoration.io import SEMImage

LEAST_SIDE = 64  # pixels
NO_NOISE = 'has no noise: a mask, a drawing, or restored already'
# Of training, on noisy images alone and with clean ones; and a side of the patches of the latter.
STEPS, STEPS_CLEAN, SIZE_CLEAN = 800, 2000, 128


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the current directory."""
    parser = argparse.ArgumentParser(
        prog='mmclarity-adapt',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'input', type=Path, metavar='NOISY', nargs='+', help='images, or folders of them'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='weights to write, .safetensors; a card goes beside them. Default: '
        'NOISY_adapted.safetensors beside NOISY',
    )
    parser.add_argument(
        '--scans',
        action='store_true',
        help='the images of each folder (or the pages of a file) are scans of one field: learn one '
        'from another',
    )
    parser.add_argument(
        '--clean',
        type=Path,
        metavar='SLOW',
        help='folder of clean images of the same microscope, of other fields or of the same ones',
    )
    parser.add_argument('--steps', type=int, help='of training (default 800; with --clean 2000)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, cuda:1, ...')
    parser.add_argument(
        '--checkpoint', type=Path, help='weights to start from; those of the package by default'
    )
    parser.add_argument('--data-range', type=float, metavar='WHITE', help='as mmclarity-restore')
    parser.add_argument('--channel', type=int, help='as mmclarity-restore')
    parser.add_argument('--crop', choices=['auto', 'none'], default='auto')
    parser.add_argument('--overwrite', action='store_true', help='replace existing weights')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    return finish(run, parse_args(argv), 'mmclarity-adapt')


def run(args: argparse.Namespace) -> None:
    """Adapts as the parsed command line says."""
    first = args.input[0]
    out = args.out or default_weights(first)
    reading = dict(
        data_range='measured' if args.data_range is None else args.data_range,
        channel=args.channel,
        crop=args.crop,
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with mistakes(ValueError):
            adapt_files(
                args.input,
                out,
                scans=args.scans,
                clean=args.clean,
                steps=args.steps,
                seed=args.seed,
                start=args.checkpoint,
                device=args.device,
                overwrite=args.overwrite,
                say=_say,
                **reading,
            )


def default_weights(noisy: Path) -> Path:
    """``NOISY_adapted.safetensors`` beside an image or a folder."""
    noisy = with_own_name(noisy)
    return noisy.with_name(f'{noisy.stem}_adapted.safetensors')


def adapt_files(
    inputs: Sequence[Path],
    out: Path,
    *,
    scans: bool = False,
    clean: Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    start: Path | None = None,
    device: str = 'cpu',
    overwrite: bool = False,
    say: Callable[[str], object] = print,
    **reading: object,
) -> Path:
    """Adapts the general network to files and writes its weights and card.

    Args:
        inputs: images or folders.
        out: ``.safetensors``.
        scans: see the command.
        clean: folder of clean images, see the command.
        steps: of training; by default as many as the command says.
        seed: of training.
        start: weights to start from; those of the package by default.
        device: of torch, that trains.
        overwrite: replace ``out``.
        say: called with lines for the user.
        **reading: options of :func:`mmclarity.restoration.io.read_sem`.

    Returns:
        ``out``.

    Raises:
        UsageError: files that are missing, unreadable or do not go together; ``out`` exists; or the
            device is not there.
    """
    from tqdm import tqdm

    from mmclarity.restoration.general.adaptation import AdaptSettings, adapt, adapt_to_clean
    from mmclarity.restoration.general.weights import WEIGHTS

    if out.suffix != '.safetensors':
        raise UsageError(f'{out}: weights are written as .safetensors; give --out such a name')
    if not out.parent.is_dir():
        raise UsageError(f'{out}: no folder {out.parent} to write to; make it first')
    check_folder(out.parent)
    check_free(out, out.with_suffix('.md'), overwrite=overwrite)
    check_device(device)
    if clean is not None and scans:
        raise UsageError('--scans and --clean are two ways of learning; give one of them')
    chosen = dict(seed=seed, size=SIZE_CLEAN) if clean else dict(seed=seed)
    if steps is None:
        steps = STEPS_CLEAN if clean else STEPS
    settings = AdaptSettings(steps=steps, **chosen)
    if clean is None:
        teaching, teach = _fields(inputs, scans, reading, say), adapt
    else:
        teaching, teach = _lesson(inputs, clean, seed, reading, say), adapt_to_clean
    resume = out.with_name(f'.{out.stem}.resume')
    if resume.exists():
        say(f'going on from {resume}')
    bar = tqdm(total=steps, desc='adapting', unit='step', mininterval=1.0)

    def progress(done: int, _: int, loss: float) -> None:
        now = f'loss {loss:.3f}' if done < steps else 'now old and new weights are compared'
        bar.set_postfix_str(now, refresh=False)
        bar.update(done - bar.n)

    with bar:
        try:
            result = teach(teaching, settings, start or WEIGHTS, resume, progress, device)
        except KeyboardInterrupt:
            bar.close()
            if resume.exists():
                say(f'what was learnt is kept in {resume}; the same command goes on from there')
            raise
    result.save(out, overwrite=overwrite)
    say(result.describe())
    say(f'written: {out}')
    return out


def _fields(
    inputs: Sequence[Path], scans: bool, reading: dict, say: Callable[[str], object]
) -> list[NoisyField]:
    from mmclarity.restoration.general.adaptation import join_scans
    from mmclarity.restoration.inference.files import originals, passed_over

    groups = [originals(path) if path.is_dir() else [path] for path in inputs]
    for folder in (path for path in inputs if path.is_dir()):
        if left := passed_over(folder):
            say(left)
    named = {path for path in inputs if not path.is_dir()}
    if scans and len(inputs) > 1 and len(named) == len(inputs):
        groups = [list(inputs)]
    fields = []
    for group in groups:
        found = []
        first: list[SEMImage] | None = [] if scans else None
        for path in group:
            try:
                found += _noisy(path, path in named, reading, say, first)
            except ValueError as error:
                if path in named:
                    raise
                say(f'left out: {error}')
        if found:
            fields += [join_scans(found)] if scans else found
    if not fields:
        raise DataError(f'{inputs[0]}: nothing is left to train on; see the lines above')
    return fields


def _lesson(
    inputs: Sequence[Path], clean: Path, seed: int, reading: dict, say: Callable[[str], object]
) -> Lesson:
    """What a microscope's quick and slow scans teach."""
    from mmclarity.restoration.general.microscope import lesson
    from mmclarity.restoration.inference.files import originals

    if not clean.exists():
        raise DataError(f'{clean}: no such file or folder; --clean names that of the slow scans')
    sides: list[list[SEMImage]] = []
    for side in (inputs, [clean]):
        named = {path for path in side if not path.is_dir()}
        images: list[SEMImage] = []
        for path in (p for one in side for p in (originals(one) if one.is_dir() else [one])):
            try:
                pages = _pages(path, reading, say)
                # a mask among the quick scans would be taken for an exposure without any noise
                images += pages if sides or path in named else _with_noise(pages, say)
            except ValueError as error:
                if path in named:
                    raise
                say(f'left out: {error}')
        if not images:
            raise DataError(f'{side[0]}: nothing is left to learn from; see the lines above')
        sides.append(images)
    say('measuring {} and {}'.format(*map(_counted, sides, ('quick', 'slow'))))
    found = lesson(*sides, seed, say)
    say(f'quick scans: {found.describe()}')
    say(
        f'to learn from: {_counted(found.fields, "slow")}; to judge by: '
        f'{_counted(found.held, "quick")}'
    )
    for note in found.found.notes:
        say(note)
    return found


def _counted(images: Sequence[object], kind: str) -> str:
    return f'{len(images)} {kind} scan{"s" * (len(images) != 1)}'


def _pages(path: Path, reading: dict, say: Callable[[str], object]) -> list[SEMImage]:
    """The pictures of a file that are more than one value."""
    from mmclarity.restoration.io import open_stack

    found = []
    with open_stack(path, **reading) as pages:
        for image in pages:
            if image.is_blank:
                say(f'left out: {image.label}: holds one value only, as with the beam off')
                continue
            if min(image.image.shape) < LEAST_SIDE:
                raise DataError(f'{image.label}: is smaller than 64 x 64 pixels; leave it out')
            found.append(image)
    return found


def _with_noise(images: list[SEMImage], say: Callable[[str], object]) -> list[SEMImage]:
    from mmclarity.restoration.general.appraisal import LEAST_SIGMA
    from mmclarity.restoration.general.appraising import appraise

    found = []
    for image in images:
        if appraise(image.image, image.data_range - image.black, image.black).sigma < LEAST_SIGMA:
            say(f'left out: {image.label}: {NO_NOISE}')
        else:
            found.append(image)
    return found


def _noisy(
    path: Path,
    named: bool,
    reading: dict,
    say: Callable[[str], object],
    first: list[SEMImage] | None,
) -> list[NoisyField]:
    """The pages of a file that can teach; a mask or a clean picture in a folder can not.

    ``first`` is for the first of several scans of one field, None where there are none.
    """
    from mmclarity.restoration.general.appraisal import LEAST_SIGMA
    from mmclarity.restoration.general.blind_spot import noisy_field
    from mmclarity.restoration.inference.combine import check_pages
    from mmclarity.restoration.io import open_stack
    from mmclarity.restoration.io.pairs import with_lines_of

    found = []
    with open_stack(path, **reading) as pages:
        if first is not None:
            check_pages(pages)
        for image in pages:
            if image.is_blank and len(pages) > 1:
                say(f'left out: {image.label}: holds one value only, as with the beam off')
                continue
            if first is not None:
                first[:] = first or [image]
                image = with_lines_of(first[0], image)
            one = noisy_field(image)
            if min(one.levels.shape) < LEAST_SIDE:
                raise DataError(f'{one.name}: is smaller than 64 x 64 pixels; leave it out')
            if one.like.sigma < LEAST_SIGMA and not named:
                say(f'left out: {one.name}: {NO_NOISE}')
                continue
            say(f'{one.name}: {one.like.describe()[0]}')
            found.append(one)
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr)
