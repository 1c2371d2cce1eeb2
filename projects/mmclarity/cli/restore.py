"""Restore electron micrographs: one file, or all images of a folder.

    mmclarity-restore noisy.tif
    mmclarity-restore NOISY RESTORED --uncertainty --recursive
    mmclarity-restore scan1.tif better.tif --combine scan2.tif scan3.tif
    mmclarity-restore --serve

No training is needed: a general network comes with the package. It measures the noise of each
image, says what it found, and warns of images unlike all that it was trained on. A network of your
own, trained for your microscope:

    mmclarity-restore image.tif restored.tif --config CONFIG --checkpoint iter_3000.pth
    mmclarity-restore IMAGES RESTORED --config CONFIG --checkpoint a.pth b.pth c.pth \\
        --uncertainty

For images unlike any training, --adapt first trains the general network on the images themselves,
which takes minutes; the weights go to IN_adapted.safetensors and are used again the next time.

Type, size, resolution, vendor tags and data bar stay as they are, and so do the pages, axes and
calibration of stacks; existing files stay too, unless --overwrite is given. TIFF, PNG and BMP are
written back as what they are; JPEG and, with pip install "mmclarity[formats]", Gatan dm3 and dm4,
Thermo Fisher emd and ser, and other formats become TIFF.

With --uncertainty, NAME_uncertainty.tif tells how far several restorations differ (0 to 1), and
NAME_doubtful.png marks in red the particles that may not be real. Several checkpoints make an
ensemble, whose members are then compared; one is compared with itself on mirror images.

With --combine, several scans of one field become one picture: they are laid on the first one, drift
included, and averaged before the restoration. The exit status is 2 if any image failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmclarity.errors import UsageError
from mmclarity.utils.devices import check_device

from . import serve, workers
from .main import DONE, MISTAKE, finish, message, mistakes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; paths are relative to the current directory."""
    parser = argparse.ArgumentParser(
        prog='mmclarity-restore',
        usage='%(prog)s IN [OUT] [options: see --help]\n       %(prog)s --serve [options]',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('input', type=Path, metavar='IN', nargs='?', help='image or folder')
    parser.add_argument(
        'output',
        type=Path,
        metavar='OUT',
        nargs='?',
        help='image, or folder (made if missing); default: IN_restored beside IN',
    )
    parser.add_argument(
        '--config', help='of a model of your own; also looked for in the repository'
    )
    parser.add_argument(
        '--checkpoint',
        nargs='+',
        metavar='FILE',
        help='weights; several make an ensemble',
    )
    parser.add_argument(
        '--combine',
        nargs='*',
        type=Path,
        metavar='FILE',
        help='further scans of the field of IN, to be used together with it; without names, the '
        'pages of IN, or the files of the folder IN',
    )
    parser.add_argument(
        '--recursive', action='store_true', help='also the folders below IN; they are kept'
    )
    parser.add_argument(
        '--adapt', action='store_true', help='first train on the noisy images themselves (minutes)'
    )
    parser.add_argument('--uncertainty', action='store_true', help='maps and doubtful particles')
    parser.add_argument(
        '--strength',
        type=float,
        default=1.0,
        metavar='FACTOR',
        help='of the general network: above 1 it takes more noise away, below 1 less',
    )
    parser.add_argument(
        '--sharpen',
        action='store_true',
        help='of the general network: edges as narrow as in a slow scan, for a little fidelity',
    )
    parser.add_argument(
        '--slow-levels',
        action='store_true',
        help='give the grey levels that a slow scan would have, of weights that know them: those '
        'that mmclarity-adapt --clean made with pairs',
    )
    parser.add_argument('--quiet', action='store_true', help='no words about each image, no bar')
    parser.add_argument('--overwrite', action='store_true', help='replace existing outputs')
    _work_options(parser)
    _reading_options(parser)
    serve.add_options(parser)
    args, rest = parser.parse_known_args(argv)
    if rest and not any(word.startswith('-') for word in rest):  # of a shell's *.tif
        parser.error(
            f'{len(rest)} names too many, from {rest[0]} on: give IN and OUT, or the folder that '
            'holds the images; scans of one field go behind --combine'
        )
    if dashed := next((word for word in rest if Path(word).exists()), None):
        parser.error(
            f'{dashed}: a name that begins with - is no option as ./{dashed}, or behind --'
        )
    if rest:
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    if args.input is None and not args.serve:
        parser.error('IN is missing: an image or a folder; or --serve, for a page in the browser')
    return args


def _work_options(parser: argparse.ArgumentParser) -> None:
    work = parser.add_argument_group('work')
    work.add_argument('--device', default='cpu', help='cpu (default), cuda, cuda:1, ...')
    work.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        help='precision (default: bfloat16 on a processor that computes in it)',
    )
    work.add_argument(
        '--tile',
        type=int,
        help='pixels a side at most, and the overlap on top (default 2048, less where there is '
        'little memory)',
    )
    work.add_argument(
        '--overlap', type=int, help='of tiles, in pixels (default: as measured for the network)'
    )
    work.add_argument('--batch-size', type=int, help='tiles at once (default 1, and 4 on a GPU)')
    work.add_argument(
        '--workers',
        type=int,
        help='processes for a folder (default: one a core or GPU, as memory and images allow); '
        'torchrun spreads it over machines',
    )


def _reading_options(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group('reading')
    reading.add_argument(
        '--data-range',
        type=float,
        metavar='WHITE',
        help='the value that means white, e.g. 4095 for 12 bit data in 16 bit '
        'files. By default what the type can hold; for floating point and signed pixels the '
        'darkest and brightest pixel, which is said. Needed for them with --config',
    )
    reading.add_argument('--channel', type=int, help='of colour images: 0 red, 1 green, 2 blue')
    reading.add_argument(
        '--crop',
        choices=['auto', 'none'],
        default='auto',
        help='none: the whole file is picture, no data bar',
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status: 0, or 2 if anything failed."""
    return finish(restore, parse_args(argv), 'mmclarity-restore')


def restore(args: argparse.Namespace) -> int:
    """Restore what the parsed command line names; returns the exit status."""
    if args.serve:
        serve.check(args)
    elif not args.input.exists():
        raise UsageError(f'{args.input}: no such file or folder')
    elif args.input.is_file() and args.combine is None and not args.overwrite:
        _check_second_name(args.input, args.output)
    with warnings.catch_warnings():
        # Above all this silences what other libraries say about themselves while loading.
        warnings.simplefilter('ignore')
        from mmclarity.restoration.inference.files import default_output, passed_over
        from mmclarity.restoration.inference.restorer import Restorer
        from mmclarity.utils.allocator import keep_freed_memory
    keep_freed_memory()  # else every tile pays for clearing the same pages anew
    reading = dict(data_range=args.data_range, channel=args.channel, crop=args.crop)
    if args.serve:
        return serve.serve_page(args, lambda cls: _restorer(cls, args), reading)
    if args.output is None:
        with mistakes(ValueError, OSError):
            args.output = default_output(args.input, args.combine is not None)
    if args.input.is_dir() and (left := passed_over(args.input, args.recursive)):
        print(left, file=sys.stderr)
    if args.adapt:
        args.checkpoint = [_adapted(args)]
    count = _workers(args)
    if count > 1:
        with _Bars(args.quiet) as bars:
            with workers.told_how_to_go_on(args, bars.say):
                found = workers.restore_by_workers(args, reading, count, bars.say, _restorer)
            return workers.summary(*found, args, bars.say)
    args.device = workers.device_of(args.device, int(os.environ.get('LOCAL_RANK', 0)))
    restorer = _restorer(Restorer, args)
    with warnings.catch_warnings(), _Bars(args.quiet) as bars:
        warnings.showwarning = lambda text, *_, **__: bars.say(f'warning: {text}')
        if not args.quiet:
            restorer.tell = bars.say
        if args.combine is not None:
            return _combined(restorer, args, reading, bars)
        if args.input.is_dir():
            return _folder(restorer, args, reading, bars)
        return _file(restorer, args, reading, bars)


def _check_second_name(source: Path, target: Path | None) -> None:
    """Whether a second original was named where the result's name belongs."""
    if target is not None and target.is_file() and not target.samefile(source):
        raise UsageError(
            f'{target}: exists already, and the second name is that of the result. To restore '
            'several images name their folder; to replace this one say --overwrite'
        )


def _adapted(args: argparse.Namespace) -> Path:
    """Weights of the general network for these images: made now, or the last time."""
    from .adapt import adapt_files, default_weights

    if args.config or args.checkpoint:
        raise UsageError(
            '--adapt trains the general network; leave out --config and --checkpoint, or start '
            'from other weights with mmclarity-adapt --checkpoint'
        )
    out = default_weights(args.input)
    if out.exists() and not args.overwrite:
        print(f'{out}: is there already and used (--overwrite: anew)', file=sys.stderr)
        return out
    white = 'measured' if args.data_range is None else args.data_range
    with mistakes(ValueError):
        return adapt_files(
            [args.input, *(args.combine or ())],
            out,
            scans=args.combine is not None,
            device=args.device,
            overwrite=args.overwrite,
            say=lambda text: print(text, file=sys.stderr),
            data_range=white,
            channel=args.channel,
            crop=args.crop,
        )


def _restorer(cls: type, args: argparse.Namespace) -> Any:
    """The restorer that the command line describes."""
    check_device(args.device)
    with mistakes(ValueError, TypeError, RuntimeError):
        return cls(
            args.config,
            args.checkpoint,
            args.device,
            args.tile,
            args.overlap,
            args.batch_size,
            args.dtype,
            args.strength,
            sharpen=float(args.sharpen),
            slow_levels=args.slow_levels,
        )


def _combined(restorer, args: argparse.Namespace, reading: dict, bars: _Bars) -> int:
    from mmclarity.restoration.inference.files import originals

    with mistakes(OSError):
        scans = [args.input, *args.combine]
        if args.input.is_dir():
            scans = [*originals(args.input), *args.combine]
    return _write(
        lambda target: restorer.combine_files(
            scans, target, args.overwrite, args.uncertainty, bars.of(scans[0]), **reading
        ),
        scans[0],
        args,
        bars,
    )


def _file(restorer, args: argparse.Namespace, reading: dict, bars: _Bars) -> int:
    return _write(
        lambda target: restorer.restore_file(
            args.input, target, args.overwrite, args.uncertainty, bars.of(args.input), **reading
        ),
        args.input,
        args,
        bars,
    )


def _write(
    work: Callable[[Path], list[Path]], source: Path, args: argparse.Namespace, bars: _Bars
) -> int:
    from mmclarity.restoration.inference.files import make_folder
    from mmclarity.restoration.io.files import copy_suffix

    try:
        target = args.output
        if target.is_dir() or not target.suffix:  # no image has a name without ending
            target = target / source.with_suffix(copy_suffix(source)).name
        make_folder(target.parent)
        written = work(target)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        bars.say(f'failed: {message(error) or type(error).__name__}')
        return MISTAKE
    for path in written:
        bars.say(f'written: {path}')
    return DONE


def _folder(restorer, args: argparse.Namespace, reading: dict, bars: _Bars) -> int:
    with mistakes(ValueError, OSError), workers.told_how_to_go_on(args, bars.say):
        report = restorer.restore_folder(
            args.input,
            args.output,
            args.overwrite,
            args.uncertainty,
            lambda path, done, total: bars.of(path)(done, total),
            args.recursive,
            share=workers.rank_of_torchrun(),
            **reading,
        )
    status = workers.summary(report.done, report.failed, report.kept, args, bars.say)
    workers.wait_for_ranks(failed=status != DONE)
    return status


def _workers(args: argparse.Namespace) -> int:
    """How many processes restore the input."""
    if args.workers is not None and args.workers < 1:
        raise UsageError(f'--workers must be at least 1, not {args.workers}')
    alone = workers.rank_of_torchrun()[1] > 1 or args.combine is not None
    if alone or not args.input.is_dir():
        return 1
    if args.workers is not None:
        return args.workers
    from mmclarity.restoration.io.micrograph import READABLE, list_images

    with mistakes(OSError):
        count = len(list_images(args.input, READABLE, args.recursive))
    return workers.default_workers(args.device, count)


class _Bars:
    """One progress bar of tiles at a time, and lines that do not tear it."""

    def __init__(self, quiet: bool = False) -> None:
        self.shown = not quiet
        self.bar = None
        self.path: Path | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def of(self, path: Path) -> Callable[[int, int], None]:
        """The progress callback of one file."""
        from tqdm import tqdm

        def tell(done: int, total: int) -> None:
            if not self.shown:
                return
            if self.bar is None or self.path != path:
                self._close()
                self.path, self.bar = path, tqdm(total=total, desc=path.name, unit='tile')
            self.bar.update(done - self.bar.n)

        return tell

    def say(self, text: str) -> None:
        """Prints a line to the standard error stream, below the bar."""
        self._close()
        print(text, file=sys.stderr)
